"""numpy's functions on recorded objects.

Each takes the recorded object that is asked, then what numpy's function takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import spox.opset.ai.onnx.v21 as op

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.elementwise import Unsupported, cast, choose, constant
from pyfunc_packaging.compile.gappy import GappyInts, tainted, without_gaps
from pyfunc_packaging.compile.recording import Traced, kind_of, merged, sampled
from pyfunc_packaging.compile.recording_columns import each
from pyfunc_packaging.compile.reductions import reduce_row
from pyfunc_packaging.compile.table import Block, Kind, Table


def astype(self: Traced, dtype: Any) -> Any:
    """Values as another type: float64, int64 or bool."""
    sample = sampled(lambda x: x.astype(dtype), self)

    def make(kind: Kind, block: Block) -> Block:
        nan, inf = (block.nan, block.inf) if kind == "float" else (False, False)
        if block.kind == "float" and kind == "float":
            return Block(block.var, 1, nan=nan, inf=inf)
        if isinstance(block, GappyInts) and kind == "int" and not block.exact:
            if block.whole is None or block.gaps is None:
                raise Unsupported(
                    "integers that pandas makes floats of in some batches alone become integers;"
                    " use .astype(float) before"
                )
            floats = cast(Block(block.var, 1), "int")
            return Block(op.where(block.gaps, floats, block.whole), 1, "int", nan=False, inf=False)
        if block.kind == "text" and kind == "text":
            return Block(block.var, 1, "text", nan=block.nan, inf=False)
        return Block(cast(block, kind), 1, kind, nan=nan, inf=inf)

    kinds = {block.kind for block in self._table.blocks}
    if (
        len(kinds) == 1
        and self._table.width > 1
        and len({*self._kinds(sample)}) == 1
        and "text" not in kinds
        and not (kinds == {"float"} and self._kinds(sample)[0] == "int")
    ):
        with self._explained():
            block, kind = merged(self._table), self._kinds(sample)[0]
            floats = block.kind == kind == "float"
            result = Block(
                cast(block, kind), block.width, kind, nan=floats and block.nan, inf=floats
            )
        return self._wrap(Table((result,)), sample)
    return each(self, sample, make, self, certain=True)


def where(self: Traced, condition: Any, x: Any = None, y: Any = None) -> Any:
    """``np.where`` with three arguments."""
    if x is None or y is None:
        self._refuse("np.where without two choices")
    for operand in (condition, x, y):
        self._operand(operand, (condition, x, y))
        if np.ndim(operand) and not isinstance(operand, Traced):
            self._refuse("a constant array in np.where is not recorded")
    if not isinstance(condition, Traced):
        self._refuse("np.where with a constant condition")
    sample = sampled(np.where, condition, x, y)
    check_texts(self, (x, y))

    def make(kind: Kind, true: Block, first: Block, second: Block) -> Block:
        return choose(true.var, first, second, kind)

    return each(self, sample, make, _truth(condition), x, y)


def _truth(condition: Traced) -> Any:
    """A condition as booleans."""
    booleans = all(kind == "bool" for kind in condition._kinds(condition._sample))
    return condition if booleans else astype(condition, bool)


def check_texts(self: Traced, operands: Sequence[Any]) -> None:
    """Numpy chooses among texts of its own, which lose a NUL at their end."""
    if any(isinstance(operand, str) and operand.endswith("\0") for operand in operands):
        self._refuse("a text that ends with NUL, which numpy leaves out")


def select(self: Traced, condlist: Any, choicelist: Any, default: Any = 0) -> Any:
    """``np.select``: the first condition that holds decides."""
    conditions, choices = list(condlist), list(choicelist)
    for operand in (*conditions, *choices, default):
        self._operand(operand, (*conditions, *choices))
        if np.ndim(operand) and not isinstance(operand, Traced):
            self._refuse("a constant array in np.select is not recorded")
    plain = [o._sample if isinstance(o, Traced) else o for o in (*conditions, *choices)]
    samples = [np.asarray(p) if isinstance(p, pd.Series) else p for p in plain]
    sample = sampled(np.select, samples[: len(conditions)], samples[len(conditions) :], default)

    check_texts(self, (*choices, default))
    truths = [_truth(c) if isinstance(c, Traced) else constant(bool(c)) for c in conditions]

    def make(kind: Kind, result: Block, *blocks: Block) -> Block:
        pairs = zip(blocks[: len(truths)], blocks[len(truths) :], strict=True)
        for true, choice in reversed(list(pairs)):
            result = choose(true.var, choice, result, kind)
        return result

    return each(self, sample, make, default, *truths, *choices)


def clip(self: Traced, a: Any, a_min: Any = None, a_max: Any = None, **options: Any) -> Any:
    """``np.clip``."""
    low = options.pop("min", a_min)
    high = options.pop("max", a_max)
    if options:
        self._refuse(f"np.clip with {sorted(options)}")
    if not isinstance(a._sample, np.ndarray):
        return a.clip(low, high)
    result = a if low is None else a._apply("maximum", np.maximum, a, low)
    return result if high is None else result._apply("minimum", np.minimum, result, high)


def rounded(traced: Traced, decimals: int = 0) -> Any:
    """``np.round``: half to even, by way of a multiple for decimals."""
    if not isinstance(decimals, int | np.integer) or not 0 <= decimals <= 22:
        traced._refuse(f"rounding to {decimals!r} decimals")
    sample = sampled(lambda x: x.round(int(decimals)), traced)

    def make(kind: Kind, block: Block) -> Block:
        if isinstance(block, GappyInts):
            return block  # whole numbers in any case
        if kind != "float":
            if block.kind != kind:
                raise Unsupported("rounding that changes the type")
            return block
        factor = const(10.0**decimals)
        var = op.round(op.mul(block.var, factor)) if decimals else op.round(block.var)
        return Block(op.div(var, factor) if decimals else var, 1)

    return each(traced, sample, make, traced)


def _round(self: Traced, a: Any, decimals: int = 0) -> Any:
    return a.round(decimals)


def nan_to_num(
    self: Traced,
    x: Any,
    copy: bool = True,
    nan: float = 0.0,
    posinf: Any = None,
    neginf: Any = None,
) -> Any:
    """``np.nan_to_num``."""
    if not copy:
        self._refuse("np.nan_to_num in place")
    sample = sampled(np.nan_to_num, x, nan=nan, posinf=posinf, neginf=neginf)
    limits = np.finfo(np.float64)
    high = limits.max if posinf is None else posinf
    low = limits.min if neginf is None else neginf

    def make(kind: Kind, block: Block) -> Block:
        if kind != "float" or block.kind != "float":
            return Block(cast(block, kind), 1, kind, nan=False, inf=False)
        var = op.where(op.isnan(block.var), const(nan), block.var)
        var = op.where(op.equal(block.var, const(np.inf)), const(high), var)
        return Block(op.where(op.equal(block.var, const(-np.inf)), const(low), var), 1)

    return each(self, sample, make, x)


def isin(self: Traced, element: Any, test_elements: Any, **options: Any) -> Any:
    """``np.isin``."""
    if options or isinstance(test_elements, Traced) or not isinstance(element, Traced):
        self._refuse("np.isin with options or with data to look in")
    return member(element, np.asarray(test_elements).ravel().tolist())


def member(traced: Traced, values: Sequence[Any]) -> Any:
    """Whether each cell is one of some values, a missing one not among them."""
    if any(value is None or (np.ndim(value) == 0 and pd.isna(value)) for value in values):
        traced._refuse("isin() with a missing value")
    sample = sampled(
        lambda x: np.isin(x, values) if isinstance(x, np.ndarray) else x.isin(values), traced
    )

    def make(kind: Kind, found: Block) -> Block:
        same = None
        for value in dict.fromkeys(values):
            other = constant(value)
            if (other.kind == "text") != (found.kind == "text"):
                raise Unsupported("isin() with text among numbers, or numbers among text")
            common: Kind = "text" if found.kind == "text" else "float"
            if found.kind == other.kind == "int":
                common = "int"
            equal = op.equal(cast(found, common), cast(other, common))
            same = equal if same is None else op.or_(same, equal)
        if same is None:
            raise Unsupported("isin() with no value")
        return Block(same, 1, "bool", nan=False, inf=False)

    return each(traced, sample, make, traced)


def digitize(self: Traced, x: Any, bins: Any, right: bool = False) -> Any:
    """``np.digitize`` with increasing bins."""
    edges = np.asarray(bins, dtype=np.float64)
    if isinstance(bins, Traced) or edges.ndim != 1 or not (np.diff(edges) >= 0).all():
        self._refuse("np.digitize with bins that are not constant and increasing")
    if not isinstance(x, Traced) or x._table.width != 1 or not edges.size:
        self._refuse("np.digitize of several columns, or without bins")
    sample = sampled(np.digitize, x, bins=bins, right=right)
    if isinstance(sample, np.ndarray) and x.ndim != 1:
        self._refuse("np.digitize of two dimensions")

    def make(kind: Kind, block: Block) -> Block:
        cells = cast(block, "float")
        row = const(edges.reshape(1, -1))
        # numpy puts NaN behind the last edge
        below = op.not_(op.less_or_equal(cells, row) if right else op.less(cells, row))
        count = op.reduce_sum(op.cast(below, to=np.int64), ints([1]), keepdims=True)
        return Block(count, 1, "int", nan=False, inf=False)

    return each(self, sample, make, x)


def _columns(self: Traced, parts: Any) -> list[Traced]:
    columns = list(parts)
    if not all(isinstance(part, Traced) for part in columns):
        self._refuse("data beside constants in one array")
    return columns


def _beside(self: Traced, parts: Sequence[Traced], join: Callable[[Any], Any]) -> Any:
    """Columns side by side in one array, of their common type."""
    sample = join([part._sample for part in parts])
    tables = [part._table for part in parts]
    joined = Table.beside(tables)
    with self._explained():
        kind = kind_of(sample)
        joined = settled(joined)
        if all(block.kind == kind for block in joined.blocks):
            return self._wrap(joined, sample)
        blocks = tuple(
            Block(cast(block, kind), block.width, kind, nan=block.nan, inf=block.inf)
            for block in joined.blocks
        )
        return self._wrap(Table(blocks), sample)


def settled(table: Table) -> Table:
    """Columns in one array: a float among them makes floats of all."""
    columns = table.columns()
    if table.width == 1 or not any(isinstance(block, GappyInts) for block in columns):
        return table
    if any(block.kind == "float" and not isinstance(block, GappyInts) for block in columns):
        return Table(tuple(without_gaps(block) for block in columns))
    return Table(tuple(tainted(block.to_float()) for block in columns))


def column_stack(self: Traced, tup: Any) -> Any:
    """``np.column_stack``."""
    return _beside(self, _columns(self, tup), np.column_stack)


def hstack(self: Traced, tup: Any) -> Any:
    """``np.hstack`` of arrays of two dimensions; others it would put below each other."""
    return concatenate(self, tup, axis=1)


def concatenate(self: Traced, arrays: Any, axis: int = 0) -> Any:
    """``np.concatenate`` along the columns."""
    parts = _columns(self, arrays)
    if axis not in (1, -1) or any(part.ndim != 2 for part in parts):
        self._refuse("rows below each other")
    return _beside(self, parts, lambda samples: np.concatenate(samples, axis=1))


def stack(self: Traced, arrays: Any, axis: int = 0) -> Any:
    """``np.stack`` of columns."""
    parts = _columns(self, arrays)
    if axis not in (1, -1) or any(part.ndim != 1 for part in parts):
        self._refuse("rows below each other")
    return _beside(self, parts, lambda samples: np.stack(samples, axis=1))


def reduction(name: str) -> Callable[..., Any]:
    """``np.sum`` and its kin, over the columns."""

    def function(self: Traced, a: Any, axis: Any = None, **options: Any) -> Any:
        keepdims = options.pop("keepdims", False)
        if options:
            self._refuse(f"np.{name} with {sorted(options)}")
        if not isinstance(a._sample, np.ndarray):
            return getattr(a, name)(axis=axis)
        if a.ndim != 2 or axis not in (1, -1):
            self._refuse(f"{name} over the rows, which depends on the batch")
        sample = sampled(lambda x: getattr(x, name)(axis=1, keepdims=bool(keepdims)), a)
        with self._explained():
            block = reduce_row(name, a._table, kind_of(sample), skip_missing=False)
        return self._wrap(Table((block,)), sample)

    return function


def like(value: Any) -> Callable[..., Any]:
    """``np.zeros_like`` and its kin."""

    def function(self: Traced, a: Any, fill_value: Any = value, dtype: Any = None) -> Any:
        if self._table.width != 1:
            self._refuse("a constant like several columns")
        sample = sampled(lambda x: np.full_like(np.asarray(x), fill_value, dtype=dtype), a)
        table = self._constant(sample.ravel()[0])
        return self._wrap(table, sample)

    return function


def _shape(self: Traced, a: Any) -> Any:
    return a.shape


def _ndim(self: Traced, a: Any) -> int:
    return int(a.ndim)


def _infinite(*, negative: bool) -> Callable[..., Any]:
    def function(self: Traced, x: Any) -> Any:
        infinite = x._apply("isinf", np.isinf, x)
        return infinite & (x < 0 if negative else x > 0)

    return function


FUNCTIONS: Mapping[Any, Callable[..., Any]] = {
    np.all: reduction("all"),
    np.any: reduction("any"),
    np.around: _round,
    np.clip: clip,
    np.column_stack: column_stack,
    np.concatenate: concatenate,
    np.digitize: digitize,
    np.full_like: like(None),
    np.hstack: hstack,
    np.isin: isin,
    np.isneginf: _infinite(negative=True),
    np.isposinf: _infinite(negative=False),
    np.max: reduction("max"),
    np.amax: reduction("max"),
    np.mean: reduction("mean"),
    np.min: reduction("min"),
    np.amin: reduction("min"),
    np.nan_to_num: nan_to_num,
    np.ndim: _ndim,
    np.ones_like: like(1),
    np.prod: reduction("prod"),
    np.round: _round,
    np.select: select,
    np.shape: _shape,
    np.stack: stack,
    np.sum: reduction("sum"),
    np.where: where,
    np.zeros_like: like(0),
}
