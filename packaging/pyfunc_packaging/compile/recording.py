"""Objects that record what a Python function does to a table or an array.

A recorded object holds two things: the columns in the graph, and a *sample*, a real pandas or
numpy object of a few made-up rows. Every operation is done on the sample by pandas or numpy
itself, which settles types, names and errors, and is added to the graph. No value of the sample
is ever handed out.
"""

from __future__ import annotations

import inspect
import operator
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NoReturn

import numpy as np
import pandas as pd
import spox.opset.ai.onnx.v21 as op

from pyfunc_packaging.compile.elementwise import ALWAYS_FLOAT, Unsupported, constant, emit
from pyfunc_packaging.compile.gappy import GappyInts, is_whole, tainted
from pyfunc_packaging.compile.recorders import Explained, Recorder, Shape
from pyfunc_packaging.compile.table import Block, ForeignBlock, Kind, Table

#: Methods whose result depends on more than one row.
_OF_ALL_ROWS = frozenset(
    """
    all any argmax argmin bfill corr count cov cummax cummin cumprod cumsum describe diff dropna
    drop_duplicates duplicated ewm expanding factorize ffill groupby head idxmax idxmin interpolate
    kurt max mean median min mode nlargest nsmallest nunique pct_change prod ptp quantile rank
    rolling sample sem shift skew sort sort_index sort_values std sum tail unique value_counts var
    """.split()  # noqa: SIM905 - a list would take a screen
)


def kind_of(cells: Any) -> Kind:
    """Kind of a Series or array that an operation made."""
    dtype = cells.dtype
    kinds: dict[str, Kind] = {"float64": "float", "int64": "int", "bool": "bool"}
    if str(dtype) in kinds:
        return kinds[str(dtype)]
    values: Any = np.asarray(cells, dtype=object).ravel() if dtype.kind in "OU" else []
    missing = pd.isna(values)
    if len(values) and all(isinstance(v, str) or m for v, m in zip(values, missing, strict=True)):
        return "text"
    reason = f"the result has the type {dtype}, which is not compiled"
    if dtype.kind in "biuf" or pd.api.types.infer_dtype(values, skipna=True) == "boolean":
        reason += "; use .astype(float) before"
    raise Unsupported(reason)


def is_narrow(cells: Any) -> bool:
    """Whether there are numbers smaller than those of 64 bits, or unsigned ones."""
    dtypes = cells.dtypes if isinstance(cells, pd.DataFrame) else [cells.dtype]
    return any(dtype.kind in "iuf" and str(dtype) not in ("int64", "float64") for dtype in dtypes)


def merged(table: Table) -> Block:
    """All columns, which are of one kind, as one block."""
    if len(table.blocks) == 1:
        return table.blocks[0]
    var = op.concat([block.var for block in table.blocks], axis=1)
    return Block(var, table.width, table.blocks[0].kind, nan=table.nan, inf=table.inf)


def compute(name: str, operands: Sequence[Any], kinds: Sequence[Kind]) -> Table:
    """One of numpy's elementwise functions on tables and constants.

    Columns of one kind are computed together, others one by one.
    """
    tables = [operand for operand in operands if isinstance(operand, Table)]
    by_batch = name not in ALWAYS_FLOAT and "float" in kinds
    uniform = len({*kinds}) == 1 and all(
        len({block.kind for block in table.blocks}) == 1
        and (table.width == 1 or not any(isinstance(b, GappyInts) for b in table.blocks))
        and not (by_batch and table.width > 1 and all(map(is_whole, table.blocks)))
        for table in tables
    )
    if uniform:
        blocks = [merged(o) if isinstance(o, Table) else constant(o) for o in operands]
        values = [None if isinstance(o, Table) or np.ndim(o) else o for o in operands]
        result = emit(name, blocks, values, kinds[0])
        return Table((result,)) if result.width == len(kinds) else _widened(result, len(kinds))
    parts = []
    for position, kind in enumerate(kinds):
        columns = [_column(operand, position) for operand in operands]
        blocks = [o.blocks[0] if isinstance(o, Table) else constant(o) for o in columns]
        parts.append(
            emit(name, blocks, [None if isinstance(o, Table) else o for o in columns], kind)
        )
    return Table(tuple(parts))


def _widened(block: Block, width: int) -> Table:
    raise Unsupported(f"one column where {width} were expected")


def _column(operand: Any, position: int) -> Any:
    if isinstance(operand, Table):
        return operand.take([position if operand.width > 1 else 0])
    return operand if np.ndim(operand) == 0 else operand[position]


def sampled(function: Callable[..., Any], *operands: Any, **options: Any) -> Any:
    """Call a function of pandas or numpy on the samples."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(*(o._sample if isinstance(o, Traced) else o for o in operands), **options)


class Traced:
    """A recorded object: columns in the graph, and a sample of what the function would see."""

    #: Recorded class for each class of sample.
    classes: ClassVar[dict[type, type[Traced]]] = {}

    _table: Table
    _sample: Any
    _recorder: Recorder

    def __init__(self, recorder: Recorder, table: Table, sample: Any) -> None:
        object.__setattr__(self, "_recorder", recorder)
        object.__setattr__(self, "_table", table)
        object.__setattr__(self, "_sample", sample)

    # so that `isinstance(X, pd.DataFrame)` takes the branch that it will take
    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._sample)

    def _wrap(self, table: Table, sample: Any) -> Any:
        """A recorded object of the sample's class."""
        width = sample.shape[1] if np.ndim(sample) == 2 else 1
        assert table.width == width
        return Traced.classes[type(sample)](self._recorder, table, sample)

    def _refuse(self, reason: str) -> NoReturn:
        if [type(block) for block in self._table.blocks] == [ForeignBlock]:
            with self._explained():  # of such a column nothing is recorded
                self._table.check_inputs()
        self._recorder.refuse(reason)

    def _apply(
        self, name: str, function: Callable[..., Any], *operands: Any, exact: bool = True
    ) -> Any:
        """Record an elementwise function; ``function`` does it on samples."""
        operands = tuple(self._operand(operand, operands) for operand in operands)
        with self._explained():
            for operand in operands:
                if isinstance(operand, Traced):
                    operand._table.check_inputs()
        sample = sampled(function, *operands)
        if sample is NotImplemented:
            return sample
        if type(sample) not in Traced.classes:
            self._refuse(f"{name} returns {type(sample).__name__}, which is not recorded")
        tables = [o._table if isinstance(o, Traced) else _plain(o) for o in operands]
        blocks = [block for t in tables if isinstance(t, Table) for block in t.blocks]
        gappy = any(isinstance(block, GappyInts) for block in blocks)
        divides = name in ("floor_divide", "remainder")
        # numpy divides integers by zero, and raises them to powers, in a way of its own
        if gappy and (divides or name == "power") and isinstance(sample, np.ndarray):
            self._refuse(f"{name} of an array whose type depends on whether a value is missing")
        with self._explained():
            if divides and not isinstance(sample, np.ndarray) and all(map(is_whole, blocks)):
                return self._divided(name, operands, tables, sample)
            return self._wrap(compute(name, tables, self._kinds(sample)), sample)

    def _divided(self, name: str, operands: Sequence[Any], tables: Sequence[Any], by: Any) -> Any:
        """A division of whole numbers, of which pandas makes floats where a divisor is zero."""
        floats = any(
            not isinstance(operand, Traced) and np.asarray(operand).dtype.kind == "f"
            for operand in operands
        )
        divisor = operands[1]
        if floats or (not isinstance(divisor, Traced) and np.all(np.asarray(divisor) != 0)):
            return self._wrap(compute(name, tables, self._kinds(by)), by)
        narrow = any(is_narrow(o._sample) for o in operands if isinstance(o, Traced))
        if narrow and name == "floor_divide":
            raise Unsupported(f"{name} of integers smaller than int64; use .astype(float) before")
        sample = by.astype(np.float64)  # as with a divisor of zero among the rows
        table = compute(name, tables, self._kinds(sample))
        if narrow or table.width > 1:  # a zero in one column makes floats of its neighbours too
            table = Table(tuple(tainted(block, narrow=narrow) for block in table.columns()))
        return self._wrap(table, sample)

    def _kinds(self, sample: Any) -> list[Kind]:
        """Kind of each column of a sample."""
        with self._explained():
            if isinstance(sample, pd.DataFrame):
                return [kind_of(sample.iloc[:, i]) for i in range(sample.shape[1])]
            width = sample.shape[1] if sample.ndim == 2 else 1
            return [kind_of(sample)] * width

    def _explained(self) -> Explained:
        return Explained(self._recorder)

    def _operand(self, operand: Any, operands: Sequence[Any]) -> Any:
        """Check that an operand goes row by row with the others."""
        first = self._sample
        if isinstance(operand, Traced):
            other = operand._sample
            if isinstance(first, pd.DataFrame) and isinstance(other, pd.DataFrame):
                if list(first.columns) != list(other.columns):
                    self._refuse("tables with different columns in one operation are not recorded")
            elif isinstance(first, pd.DataFrame) or isinstance(other, pd.DataFrame):
                self._refuse("a table and a column in one operation are not recorded")
            elif np.ndim(first) != np.ndim(other):
                self._refuse("arrays of one and of two dimensions in one operation")
            return operand
        if isinstance(operand, list | tuple):
            array = np.asarray(operand)
            operand = np.asarray(operand, dtype=object) if array.dtype.kind == "U" else array
        if isinstance(operand, pd.Series) and isinstance(first, pd.DataFrame):
            if list(operand.index) != list(first.columns):
                self._refuse("a constant Series whose index is not the table's columns")
            return operand
        if isinstance(operand, pd.Series | pd.DataFrame | pd.Index):
            self._refuse(f"a constant {type(operand).__name__} in an operation is not recorded")
        if np.ndim(operand):
            widths = [o._table.width for o in operands if isinstance(o, Traced)]
            shape = np.shape(operand)
            if np.ndim(first) != 2 or shape not in ((max(widths),), (1, max(widths))):
                self._refuse(f"a constant array of shape {shape} in an operation is not recorded")
        return operand

    def _binary(name: str, function: Callable[[Any, Any], Any]) -> Any:  # type: ignore[misc]  # noqa: N805
        def method(self: Traced, other: Any) -> Any:
            return self._apply(name, function, self, other)

        return method

    def _reflected(name: str, function: Callable[[Any, Any], Any]) -> Any:  # type: ignore[misc]  # noqa: N805
        def method(self: Traced, other: Any) -> Any:
            return self._apply(name, function, other, self)

        return method

    def _unary(name: str, function: Callable[[Any], Any]) -> Any:  # type: ignore[misc]  # noqa: N805
        def method(self: Traced) -> Any:
            return self._apply(name, function, self)

        return method

    __add__, __radd__ = _binary("add", operator.add), _reflected("add", operator.add)
    __sub__, __rsub__ = _binary("subtract", operator.sub), _reflected("subtract", operator.sub)
    __mul__, __rmul__ = _binary("multiply", operator.mul), _reflected("multiply", operator.mul)
    __truediv__ = _binary("divide", operator.truediv)
    __rtruediv__ = _reflected("divide", operator.truediv)
    __floordiv__ = _binary("floor_divide", operator.floordiv)
    __rfloordiv__ = _reflected("floor_divide", operator.floordiv)
    __mod__, __rmod__ = _binary("remainder", operator.mod), _reflected("remainder", operator.mod)
    __rpow__ = _reflected("power", operator.pow)
    __and__, __rand__ = (
        _binary("bitwise_and", operator.and_),
        _reflected("bitwise_and", operator.and_),
    )
    __or__, __ror__ = _binary("bitwise_or", operator.or_), _reflected("bitwise_or", operator.or_)
    __xor__, __rxor__ = (
        _binary("bitwise_xor", operator.xor),
        _reflected("bitwise_xor", operator.xor),
    )
    __lt__, __le__ = _binary("less", operator.lt), _binary("less_equal", operator.le)
    __gt__, __ge__ = _binary("greater", operator.gt), _binary("greater_equal", operator.ge)
    __eq__, __ne__ = _binary("equal", operator.eq), _binary("not_equal", operator.ne)
    __neg__, __pos__ = _unary("negative", operator.neg), _unary("positive", operator.pos)
    __invert__, __abs__ = _unary("invert", operator.invert), _unary("absolute", operator.abs)
    __hash__ = None  # type: ignore[assignment]

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, float) and other == 0.5:
            return self._apply("sqrt", lambda x: x**0.5, self)
        return self._apply("power", operator.pow, self, other)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options:
            self._refuse(f"np.{ufunc.__name__}.{method} with {sorted(options)} is not recorded")
        first = next(i for i in inputs if isinstance(i, Traced))
        if isinstance(first._sample, np.ndarray):  # pandas goes before numpy
            first = next(
                (i for i in inputs if isinstance(i, Traced) and hasattr(i._sample, "index")), first
            )
        return first._apply(ufunc.__name__, ufunc, *inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        from pyfunc_packaging.compile.recording_functions import FUNCTIONS

        if function not in FUNCTIONS:
            self._refuse(f"np.{function.__name__} is not compiled")
        return FUNCTIONS[function](self, *args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        # where there is no such attribute, raise what pandas raises
        attribute = getattr(self._sample, name)

        def refused(*args: Any, **kwargs: Any) -> NoReturn:
            if name in _OF_ALL_ROWS and kwargs.get("axis") not in (1, "columns"):
                self._refuse(f".{name}() of all rows, which depends on the batch")
            self._refuse(f".{name} is not compiled")

        # a method is refused where it is called, for the sake of `hasattr`
        return refused if inspect.isroutine(attribute) else refused()

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_"):
            self._refuse(f"setting the attribute {name!r} is not compiled")
        object.__setattr__(self, name, value)

    def _branch(what: str) -> Any:  # type: ignore[misc]  # noqa: N805
        def method(self: Traced, *args: Any, **kwargs: Any) -> Any:
            self._refuse(f"{what}, which depends on the rows")

        return method

    __bool__ = _branch("a branch on the data")
    __len__ = _branch("len() asks for the number of rows")
    __iter__ = _branch("a loop over the rows")
    __contains__ = _branch("`in` looks for a value among the rows")
    __float__ = _branch("float() of the data")
    __int__ = _branch("int() of the data")
    __index__ = _branch("the data as an index")
    __str__ = _branch("str() of the data")
    __format__ = _branch("the data in a text")
    __array__ = _branch("the data go into code that is not recorded")
    __reduce_ex__ = _branch("the data are pickled")
    __setitem__ = _branch("an assignment to single cells")
    __delitem__ = _branch("a deletion")
    __getitem__ = _branch("a selection")

    def __copy__(self) -> Any:
        return self._wrap(self._table, self._sample.copy())

    def __deepcopy__(self, memo: Any) -> Any:
        return self._wrap(self._table, self._sample.copy())

    def __repr__(self) -> str:
        return f"<recorded {type(self._sample).__name__}>"

    @property
    def shape(self) -> Any:
        """Shape, of which the number of rows is not known."""
        return Shape(self._recorder, np.shape(self._sample)[1:])

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return np.ndim(self._sample)

    def _constant(self, value: Any) -> Table:
        """A constant as a column with one value a row."""
        with self._explained():
            block = constant(value)
            if np.ndim(value):
                raise Unsupported("a constant array as a column is not recorded")
        if not self._table.width:
            self._refuse("a constant column in a table without columns")
        with self._explained():
            var = op.expand(block.var, self._table.column_shape)
        return Table((replace(block, var=var),))


def _plain(operand: Any) -> Any:
    """A constant operand as numpy has it."""
    values = operand.to_numpy() if isinstance(operand, pd.Series) else operand
    return np.ravel(values) if np.ndim(values) else values
