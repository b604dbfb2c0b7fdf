"""Compile isotonic regression: straight lines between points."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn.isotonic import IsotonicRegression
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.distances import in_pieces
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Table


def _line(x: Var, inner: npt.NDArray[np.float64]) -> Var:
    """On which line each cell lies: the number of inner points at or below it."""
    reached = op.greater_or_equal(x, const(inner.reshape(1, -1)))
    return op.reduce_sum(op.cast(reached, to=np.int64), ints([1]))


def _isotonic(model: IsotonicRegression, table: Table, context: Context) -> Table:
    if table.width != 1:
        raise context.error(f"expected one column, found {table.width}")
    points, values = np.asarray(model.X_thresholds_), np.asarray(model.y_thresholds_)
    if points.dtype != np.float64:
        raise context.error(f"was trained on {points.dtype} and computes in it")
    x = context.finite(table).var
    low, high = const(model.X_min_), const(model.X_max_)
    outside = op.or_(op.less(x, low), op.greater(x, high))
    if model.out_of_bounds == "raise":
        context.refuse(outside)
    inside = op.clip(x, low, high)
    if len(points) == 1:
        line = op.add(op.mul(inside, const(0.0)), const(values))
    else:
        position = in_pieces(lambda cells: _line(cells, points[1:-1]), inside, len(points))
        slopes = np.diff(values) / np.diff(points)
        start, base, slope = (
            op.gather(const(row), position, axis=0) for row in (points[:-1], values[:-1], slopes)
        )
        line = op.add(op.mul(slope, op.sub(inside, start)), base)
        line = op.where(op.equal(inside, const(points[-1])), const(values[-1]), line)
    if model.out_of_bounds == "nan" and len(points) > 1:
        line = op.where(outside, const(np.nan), line)
    return Table.of(line, 1, nan=model.out_of_bounds == "nan", inf=False)


register_compiler(IsotonicRegression, _isotonic, method="predict")
