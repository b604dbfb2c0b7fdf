"""Compile the transform to quantiles: a search, an interpolation, and back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from scipy import special
from sklearn.preprocessing import QuantileTransformer
from spox import Var

from pyfunc_packaging.compile import normal
from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.discretizing import search_sorted
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table

Array = npt.NDArray[np.float64]

#: How near to a column's ends scikit-learn takes a value for the end itself.
_NEAR = 1e-7
#: What it then makes of the ends of a normal distribution.
_ENDS = special.ndtri([_NEAR - np.spacing(1), 1 - (_NEAR - np.spacing(1))])


def _quantile(estimator: QuantileTransformer, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    x = block.var
    references = np.asarray(estimator.references_, dtype=np.float64)
    quantiles = np.asarray(estimator.quantiles_, dtype=np.float64).T
    lowest, highest = const(quantiles[:, 0]), const(quantiles[:, -1])
    result = _interpolated(x, quantiles, references)
    if estimator.output_distribution == "normal":
        near = const(_NEAR)
        least, most = (const(end) for end in _ENDS)
        parts = op.clip(result, const(_NEAR / 2), const(1 - _NEAR / 2))
        result = op.clip(normal.quantile(parts), least, most)
        result = op.where(op.greater(op.add(x, near), highest), most, result)
        result = op.where(op.less(op.sub(x, near), lowest), least, result)
    else:
        # one quantile alone is both ends, and the lower one counts
        most = const(references[-1])
        result = op.where(op.greater_or_equal(x, highest), most, result)
        result = op.where(op.less_or_equal(x, lowest), const(0.0), result)
    return Table(
        (Block(result, block.width, nan=block.nan, inf=False),), output_names(estimator, table)
    )


def _interpolated(x: Var, quantiles: Array, references: Array) -> Var:
    """Where values lie among the quantiles of their columns, for values between the ends.

    scikit-learn takes the mean of two interpolations, from below and from above, so that a value
    on which several quantiles fall gets their middle.
    """
    tables = [_between(column, references) for column in quantiles]
    reached = op.cast(search_sorted(x, list(quantiles)), to=np.int64)
    row = op.add(reached, ints([position * len(tables[0]) for position in range(len(tables))]))
    columns = np.concatenate(tables).T
    below, above, start, end, slope, middle = (op.gather(const(cells), row) for cells in columns)
    upwards = op.add(op.mul(slope, op.sub(x, below)), start)
    downwards = op.sub(op.mul(slope, op.sub(above, x)), end)
    mean = op.mul(const(0.5), op.sub(upwards, downwards))
    return op.where(op.equal(x, below), middle, mean)


def _between(quantiles: Array, references: Array) -> Array:
    """What interpolating needs, by the number of quantiles that a value reaches."""
    first = np.searchsorted(quantiles, quantiles, side="left")
    rows = np.zeros((len(quantiles) + 1, 6))
    inner = rows[1:-1]
    inner[:, 0], inner[:, 1] = quantiles[:-1], quantiles[1:]
    inner[:, 2], inner[:, 3] = references[:-1], references[1:]
    with np.errstate(divide="ignore"):  # never reached between two quantiles that are equal
        inner[:, 4] = np.diff(references) / np.diff(quantiles)
    inner[:, 5] = 0.5 * (references[:-1] + references[first[:-1]])
    return rows


def _inverse(estimator: QuantileTransformer, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    references = np.asarray(estimator.references_, dtype=np.float64)
    quantiles = np.asarray(estimator.quantiles_, dtype=np.float64).T
    x = block.var
    if estimator.output_distribution == "normal":
        parts = normal.probability(x)
        low = _boundary(lambda value: bool(special.ndtr(value) - _NEAR < 0))
        high = _boundary(lambda value: not special.ndtr(value) + _NEAR > 1)
        below, above = op.less(x, const(low)), op.greater_or_equal(x, const(high))
    else:
        parts = op.clip(x, const(0.0), const(1.0))
        below, above = op.less_or_equal(x, const(0.0)), op.greater_or_equal(x, const(1.0))
    result = _from_parts(parts, quantiles, references)
    result = op.where(above, const(quantiles[:, -1]), result)
    result = op.where(below, const(quantiles[:, 0]), result)
    return Table((Block(result, block.width, nan=block.nan, inf=False),))


def _from_parts(parts: Var, quantiles: Array, references: Array) -> Var:
    """The values below which the given parts of each column lie."""
    last = len(references) - 1
    if last == 0:
        return op.add(op.mul(parts, const(0.0)), const(quantiles[:, 0]))
    start = op.cast(op.floor(op.mul(parts, const(float(last)))), to=np.int64)
    start = op.clip(start, op.const(np.int64(0)), op.const(np.int64(last - 1)))
    slopes = np.diff(quantiles) / np.diff(references)
    offsets = ints([position * last for position in range(len(quantiles))])
    row = op.add(start, offsets)
    slope = op.gather(const(slopes.ravel()), row)
    value = op.gather(const(quantiles[:, :-1].ravel()), row)
    return op.add(op.mul(slope, op.sub(parts, op.gather(const(references), start))), value)


def _boundary(holds: Callable[[float], bool]) -> float:
    """The smallest number for which a condition that holds for small ones does not hold."""
    low, high = -10.0, 10.0
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return high
        low, high = (middle, high) if holds(middle) else (low, middle)


register_compiler(QuantileTransformer, _quantile)
register_compiler(QuantileTransformer, _inverse, method="inverse_transform")
