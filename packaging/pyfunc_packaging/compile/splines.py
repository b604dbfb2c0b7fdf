"""Compile B-splines, by de Boor's recurrence as scipy computes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn.preprocessing import SplineTransformer
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints, remainder
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.discretizing import search_sorted
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table, is_missing

Array = npt.NDArray[np.float64]


def _spline(estimator: SplineTransformer, table: Table, context: Context) -> Table:
    zeros = estimator.handle_missing == "zeros"
    if zeros:  # scikit-learn then lets infinity pass as well
        block = table.floats
        if block.inf and estimator.extrapolation not in ("constant", "error"):
            raise context.error("infinite values are extrapolated, which is not compiled")
    else:
        block = context.finite(table)
    if estimator.extrapolation == "constant" and estimator.degree == 0:
        raise context.error("constant extrapolation of degree 0 is not compiled")
    basis = _Basis(estimator)
    x = block.var
    low, high = basis.ends()
    if estimator.extrapolation == "error":
        context.refuse(op.or_(op.less(x, const(low)), op.greater(x, const(high))))
    if estimator.extrapolation == "periodic":
        period = high - low
        turned = op.add(const(low), remainder(op.sub(x, const(low)), const(period)))
        result = basis.values(
            turned if period.all() else op.where(op.const(period > 0), turned, const(0.0))
        )
    elif estimator.extrapolation in ("constant", "linear"):
        result = _extrapolated(estimator, basis, x)
    else:
        result = basis.values(x)
    if zeros and block.nan:
        result = op.where(op.unsqueeze(is_missing(block), ints([-1])), const(0.0), result)
    if not estimator.include_bias:
        result = op.gather(result, ints(list(range(basis.splines - 1))), axis=2)
    width = int(estimator.n_features_out_)
    flat = op.reshape(result, ints([-1, width]))
    # polynomials of huge numbers overflow
    continued = estimator.extrapolation == "continue"
    return Table(
        (Block(flat, width, nan=continued, inf=continued or estimator.extrapolation == "linear"),),
        output_names(estimator, table),
    )


class _Basis:
    """The basis functions of all features.

    Parameters
    ----------
    estimator : SplineTransformer
        Fitted.
    """

    def __init__(self, estimator: SplineTransformer) -> None:
        self.functions = estimator.bsplines_
        self.degree = int(estimator.degree)
        self.knots: Array = np.array([spline.t for spline in self.functions])
        self.splines = int(self.functions[0].c.shape[1])
        #: A sum over all functions, as scipy computes it, turns to NaN where one is infinite.
        self.sums = estimator.extrapolation == "continue" and not estimator.sparse_output

    def ends(self) -> tuple[Array, Array]:
        """First and last knot of every feature, without those added for extrapolation."""
        last = self.knots.shape[1] - self.degree - 1
        return self.knots[:, self.degree], self.knots[:, last]

    def values(self, x: Var) -> Var:
        """What the functions are at x of shape (n, k): float64 of shape (n, k, splines)."""
        degree, (features, count) = self.degree, self.knots.shape
        intervals = range(degree, count - degree - 1)
        inner = self.knots[:, degree + 1 : count - degree - 1]
        reached = op.cast(search_sorted(x, list(inner)), to=np.int64)
        row = op.add(reached, ints([feature * len(intervals) for feature in range(features)]))
        h = self._recurrence(op.unsqueeze(x, ints([-1])), row, intervals)
        # which of the degree + 1 functions that are not zero here is the one with each number
        layers = [self._numbers(interval) for interval in intervals]
        nothing = op.mul(h, const(0.0))
        h = op.concat([h, op.reduce_sum(nothing, ints([-1]))], axis=-1)
        result = None
        for layer in zip(*layers, strict=True):
            index = op.gather(op.const(np.array(layer, dtype=np.int64)), reached, axis=0)
            part = op.gather_elements(h, index, axis=-1)
            result = part if result is None else op.add(result, part)
        assert result is not None
        return op.add(result, op.reduce_sum(nothing, ints([-1]))) if self.sums else result

    def _recurrence(self, x: Var, row: Var, intervals: range) -> Var:
        """The degree + 1 functions that are not zero at x, of shape (n, k, degree + 1)."""
        degree = self.degree
        if degree == 0:
            return op.add(op.mul(x, const(0.0)), const(1.0))
        near = np.array(
            [
                knots[interval - degree + 1 : interval + degree + 1]
                for knots in self.knots
                for interval in intervals
            ]
        )
        below, above = near[:, :degree], near[:, degree:]
        to_right = op.sub(op.gather(const(above), row, axis=0), x)
        from_left = op.sub(x, op.gather(const(below), row, axis=0))
        h = const(1.0)
        for step in range(1, degree + 1):
            span = above[:, :step] - below[:, degree - step :]
            span[span == 0] = np.inf  # functions between equal knots are zero
            weight = op.div(h, op.gather(const(span), row, axis=0))
            right = op.mul(weight, _part(to_right, 0, step, degree))
            left = op.mul(weight, _part(from_left, degree - step, degree, degree))
            h = op.add(
                op.pad(left, ints([0, 0, 1, 0, 0, 0]), const(0.0)),
                op.pad(right, ints([0, 0, 0, 0, 0, 1]), const(0.0)),
            )
        return h

    def _numbers(self, interval: int) -> tuple[list[int], list[int]] | tuple[list[int]]:
        """For every function, its number among those not zero in an interval, or that of zero.

        Two of them where periodic functions come round to themselves.
        """
        zero = self.degree + 1
        layers = [[zero] * self.splines, [zero] * self.splines]
        for number in range(self.degree + 1):
            function = (interval - self.degree + number) % self.splines
            layers[layers[0][function] != zero][function] = number
        if self.splines > self.degree:
            return (layers[0],)
        return layers[0], layers[1]


def _part(x: Var, start: int, stop: int, width: int) -> Var:
    """Columns of the last axis."""
    if (start, stop) == (0, width):
        return x
    return op.slice(x, ints([start]), ints([stop]), ints([-1]))


def _extrapolated(estimator: SplineTransformer, basis: _Basis, x: Var) -> Var:
    """Constant or straight beyond the ends."""
    linear = estimator.extrapolation == "linear"
    degree = basis.degree
    ends, values, slopes = [], [], []
    for function in basis.functions:
        low, high = function.t[degree], function.t[-degree - 1]
        if linear and degree <= 1:
            # scikit-learn raises a low degree for good: the next feature has other ends
            degree += 1
        first = np.arange(basis.splines) < degree
        ends.append((low, high))
        values.append([function(low) * first, function(high) * first[::-1]])
        slopes.append([function(low, nu=1) * first, function(high, nu=1) * first[::-1]])
    low, high = const(np.array(ends)[:, 0]), const(np.array(ends)[:, 1])
    result = basis.values(op.min([op.max([x, low]), high]))
    for side, end, beyond in ((0, low, op.less(x, low)), (1, high, op.greater(x, high))):
        continued = const(np.array(values)[:, side])
        if linear:
            distance = op.unsqueeze(op.sub(x, end), ints([-1]))
            continued = op.add(continued, op.mul(distance, const(np.array(slopes)[:, side])))
        result = op.where(op.unsqueeze(beyond, ints([-1])), continued, result)
    return result


register_compiler(SplineTransformer, _spline)
