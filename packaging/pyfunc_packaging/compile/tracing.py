"""Compile Python functions by running them once on objects that record what is done to them.

What a recording claims is checked at once: the function itself and the recorded graph are both
given made-up rows, with missing, infinite, huge and tiny values where there can be any, and with
the numbers and texts that the function's code mentions. A graph that differs is not used.

Limits. A function is taken for what it does with a table: what it reads from elsewhere (a file,
the clock, a global that changes later) is read once, when it is compiled. What it writes elsewhere
is written then, and not in serving.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pandas as pd
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, Var, argument, build

from pyfunc_packaging.compile import recording_frames
from pyfunc_packaging.compile.gappy import GappyInts, with_gaps
from pyfunc_packaging.compile.recorders import NotRecorded, Recorder, is_users, place
from pyfunc_packaging.compile.recording import Traced
from pyfunc_packaging.compile.registry import Context
from pyfunc_packaging.compile.samples import make_samples
from pyfunc_packaging.compile.table import Block, ForeignBlock, Kind, Table
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.frame import to_frame
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import INEXACT_OPTIMIZERS, MISSING_TEXT, input_dtype, to_input

Array = npt.NDArray[Any]
Function = Callable[[Any], Any]

#: How far a recording may be from the function on made-up rows, relative: this finds what is
#: recorded wrongly; roundings are for the proof of the whole model.
TOLERANCE = 1e-6
#: What is beside numbers beyond this may cancel out: there, a difference is relative to them.
HUGE = 1e15
ROUNDING = 1e-12

#: Rows that are compared each in a batch of its own.
ALONE = 10

_TYPES: dict[Kind, str] = {"float": "double", "int": "long", "bool": "boolean", "text": "string"}


def trace(function: Function, table: Table, context: Context, *, what: str = "") -> Traced:
    """Record a function of a DataFrame (of an array, where the table has no names).

    Parameters
    ----------
    function : callable
        Takes one argument.
    table : Table
    context : Context
    what : str
        What the function is for, for messages; the step is named anyway.

    Returns
    -------
    Traced
        What the function returned.

    Raises
    ------
    NotCompilable
        With the line of the function that cannot be recorded.
    """
    try:
        return _trace(function, table, context)
    except NotCompilable as error:
        if what:
            raise context.error(f"{what}: {error.reason}") from error
        raise


def _trace(function: Function, table: Table, context: Context) -> Traced:
    if table.width == 0:
        raise context.error("there is no column")
    columns = _described(table)
    values = make_samples(columns, function)
    frame = to_frame(columns, values)
    if table.names is None:
        sample = _common_array(frame, table, context)
    else:
        frame.columns = pd.Index(table.names)
        sample = frame
    blocks = table.columns()
    inputs = {}
    for position, (column, block) in enumerate(zip(columns, blocks, strict=True)):
        if isinstance(block, ForeignBlock):
            continue
        inputs[column.name] = var = argument(Tensor(input_dtype(column), ("n", 1)))
        blocks[position] = Block(
            var, 1, block.kind, nan=block.nan, inf=block.inf, origin=block.origin
        )
    own = Table(tuple(blocks), table.names)
    first = _record(function, _alike(own, sample), sample, context)
    check = _Check(function, first, inputs, context)

    def given(rows: dict[str, Array]) -> Any:
        frame = to_frame(columns, rows)
        frame.columns = pd.Index(table.names or frame.columns)
        return frame if table.names is not None else frame.to_numpy()

    def feeds(rows: dict[str, Array]) -> dict[str, Array]:
        fed = [column for column in columns if column.name in inputs]
        return {column.name: to_input(column, rows[column.name]) for column in fed}

    check.compare([(sample, feeds(values))])
    # pandas has other types in some batches: where no value is missing, no number is zero, or
    # no condition holds for any row
    if any(column.nullable for column in columns):
        complete = make_samples([replace(c, nullable=False) for c in columns], function)
        check.compare([(given(complete), feeds(complete))])
    usual = make_samples([replace(c, nullable=False) for c in columns], function, usual=True)
    check.compare([(given(usual), feeds(usual))])
    rows = [_row(values, row) for row in range(ALONE)] + [_row(usual, row) for row in range(2)]
    check.compare([(given(row), feeds(row)) for row in rows])
    second = _record(function, _alike(table, sample), sample, context)
    if not _same(first._sample, second._sample):
        raise context.error("the function returns something else each time")
    return second


def _row(values: dict[str, Array], row: int) -> dict[str, Array]:
    return {name: cells[row : row + 1] for name, cells in values.items()}


def _described(table: Table) -> list[Column]:
    """A column of the schema for each column, with a name of its own."""
    columns = []
    for position, block in enumerate(table.columns()):
        origin = block.origin or Column(
            "",
            _TYPES[block.kind],
            nullable=block.nan,
            dtype="object" if block.kind == "text" else None,
            missing="NaN" if block.kind == "text" else None,
            finite=not block.inf,
        )
        columns.append(replace(origin, name=f"x{position}"))
    return columns


def _common_array(frame: pd.DataFrame, table: Table, context: Context) -> Array:
    """The array that scikit-learn makes of columns side by side."""
    table.check_inputs()
    kinds = {block.kind for block in table.blocks}
    if len(kinds) > 1 and not kinds <= {"float", "int"}:
        raise context.error(f"an array of {' and '.join(sorted(kinds))} is not compiled")
    array: Array = frame.to_numpy()
    if array.dtype not in (np.float64, np.int64, np.bool_) and kinds != {"text"}:
        raise context.error(f"an array of {array.dtype} is not compiled")
    return array


def _alike(table: Table, sample: Any) -> Table:
    """An array has one type, and so have its columns."""
    table = with_gaps(table)
    gappy = any(isinstance(block, GappyInts) for block in table.blocks)
    if isinstance(sample, np.ndarray) and sample.dtype == np.float64 and not gappy:
        return Table((table.floats,)) if len(table.blocks) > 1 else table
    return table.unnamed()


def _record(function: Function, table: Table, sample: Any, context: Context) -> Traced:
    """Run the function on a recorded object."""
    assert recording_frames  # which registers the classes
    recorder = Recorder(_call.__code__)
    recorded = Traced.classes[type(sample)](recorder, table, sample.copy())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = _call(function, recorded)
    except NotRecorded as error:
        raise context.error(recorder.refusal or str(error)) from error
    except Exception as error:
        raise context.error(recorder.refusal or _described_error(error)) from error
    if recorder.refusal:
        raise context.error(recorder.refusal)  # the function caught the exception
    if not isinstance(result, Traced):
        kind = type(result).__name__
        raise context.error(f"the function returns {kind}, which does not come from its argument")
    if result._recorder is not recorder:
        raise context.error("the function returns what it was given in another call")
    return result


def _call(function: Function, recorded: Traced) -> Any:
    return function(recorded)


def _described_error(error: Exception) -> str:
    """An error of the function, with its line."""
    text = f"{type(error).__name__}: {error}".splitlines()[0]
    line = _users_line(error.__traceback__)
    return f"{line}: {text}" if line else text


def _users_line(trace: TracebackType | None) -> str:
    frames = [(frame.f_code, line) for frame, line in traceback.walk_tb(trace)]
    users = [(code, line) for code, line in frames if is_users(code)]
    return place(*users[-1]) if users else ""


# --- the check --------------------------------------------------------------------------------


class _Check:
    """Compares a recording with the function.

    Parameters
    ----------
    function : callable
    result : Traced
        What was recorded of it.
    arguments : dict of str to Var
    context : Context
    """

    def __init__(
        self, function: Function, result: Traced, arguments: dict[str, Var], context: Context
    ) -> None:
        self._function, self._result, self._context = function, result, context
        self._floors: dict[int, float] = {}
        blocks = enumerate(result._table.columns())
        outputs = {p: op.identity(b.var) for p, b in blocks if not isinstance(b, ForeignBlock)}
        if not outputs:
            raise context.error("no column is left")
        self._positions = list(outputs)
        named = {f"y{position}": var for position, var in outputs.items()}
        proto = build(arguments, named, drop_unused_inputs=True)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            proto.SerializeToString(),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=INEXACT_OPTIMIZERS,
        )

    def compare(self, batches: Sequence[tuple[Any, dict[str, Array]]]) -> None:
        """Compare them on some batches of rows, each with what the graph is fed."""
        names = {node.name for node in self._session.get_inputs()}
        results = [
            (self._call(given), self._session.run(None, {n: fed[n] for n in names}))
            for given, fed in batches
        ]
        for number, position in enumerate(self._positions):
            wanted = [_column(expected, position) for expected, _ in results]
            found = [arrays[number] for _, arrays in results]
            if any(
                len(w) != len(f) or f.shape[1:] != (1,) for w, f in zip(wanted, found, strict=True)
            ):
                raise self._context.error("the function returns another number of rows")
            rows = [(given, row) for given, _ in batches for row in range(len(given))]
            self._compare(position, np.concatenate(wanted), np.concatenate(found)[:, 0], rows)

    def _call(self, given: Any) -> Any:
        sample = self._result._sample
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                expected = self._function(given.copy())
        except Exception as error:
            raise self._context.error(f"on made-up rows: {_described_error(error)}") from error
        if type(expected) is not type(sample) or np.shape(expected)[1:] != np.shape(sample)[1:]:
            raise self._context.error("the function returned something else when it was recorded")
        return expected

    def _compare(
        self, position: int, wanted: Array, found: Array, rows: Sequence[tuple[Any, int]]
    ) -> None:
        """Compare one column of the result."""
        if found.dtype == object:
            missing = pd.isna(wanted)
            equal = found == MISSING_TEXT
            equal[~missing] = found[~missing] == wanted[~missing]
            equal &= missing == (found == MISSING_TEXT)
        else:
            numbers = pd.Series(wanted).to_numpy(dtype=np.float64, na_value=np.nan)
            floor = self._floors.setdefault(position, _floor(numbers))
            equal = _near(numbers, found.astype(np.float64), floor)
            for place in np.flatnonzero(~equal).tolist():
                # sums of huge numbers that cancel out depend on the order
                largest = _largest(*rows[place])
                equal[place] = largest > HUGE and _near(
                    numbers[place], float(found[place]), largest * ROUNDING / TOLERANCE
                )
        if not equal.all():
            place = np.flatnonzero(~equal).tolist()[0]
            given, row = rows[place]
            raise self._context.error(
                f"the recorded function differs from the function in"
                f" {_names(self._result._sample)[position]}: of {_shown(given, row)} the function"
                f" makes {wanted[place]!r}, the graph {found[place].item()!r}"
            )


def _column(result: Any, position: int) -> Array:
    """One column of a result, as objects."""
    cells = result.iloc[:, position] if isinstance(result, pd.DataFrame) else result
    array = np.asarray(cells, dtype=object)
    return array[:, position] if array.ndim == 2 else array


def _near(numbers: Any, cells: Any, floor: float) -> Any:
    scale = np.maximum(np.abs(numbers), floor)
    with np.errstate(all="ignore"):
        near = np.abs(cells - numbers) <= TOLERANCE * scale
    return near | (cells == numbers) | (np.isnan(cells) & np.isnan(numbers))


def _largest(given: Any, row: int) -> float:
    """The largest finite number of a row, in magnitude."""
    cells = given.iloc[row] if isinstance(given, pd.DataFrame) else given[row]
    sizes = [abs(float(cell)) for cell in cells if isinstance(cell, int | float | np.number)]
    return max((size for size in sizes if np.isfinite(size)), default=0.0)


def _shown(given: Any, row: int) -> str:
    """A row of numbers and texts, shortened."""
    cells = given.iloc[row].to_dict() if isinstance(given, pd.DataFrame) else given[row].tolist()
    text = repr(cells)
    return text if len(text) < 200 else text[:200] + " …"


def _floor(numbers: Array) -> float:
    usual = np.abs(numbers[np.isfinite(numbers)])
    return float(1e-6 * np.median(usual)) if usual.size else 0.0


def _names(sample: Any) -> Sequence[str]:
    if isinstance(sample, pd.DataFrame):
        return [f"column {name!r}" for name in sample.columns]
    return [
        f"column {position}" for position in range(np.shape(sample)[1] if sample.ndim == 2 else 1)
    ]


def _same(first: Any, second: Any) -> bool:
    """Whether two samples are equal, types included."""
    if type(first) is not type(second) or np.shape(first) != np.shape(second):
        return False
    if isinstance(first, pd.DataFrame | pd.Series):
        return bool(first.equals(second))
    if first.dtype.kind == "f":
        return bool(np.array_equal(first, second, equal_nan=True))
    return bool(pd.Series(first.ravel()).equals(pd.Series(second.ravel())))
