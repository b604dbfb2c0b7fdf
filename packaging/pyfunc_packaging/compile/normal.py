"""The normal distribution, for which ONNX has no operator in float64.

Both functions are interpolated between values that scipy computes, by polynomials in barycentric
form (Berrut and Trefethen, "Barycentric Lagrange Interpolation", 2004): a division and a matrix
product, to within a few units of the last place.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from scipy import special
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints

Array = npt.NDArray[np.float64]

#: Smallest probability, on either side, that `quantile` takes.
SMALLEST = 5e-8
_POINTS = 40
#: `probability` is constant beyond, where less than `SMALLEST` is left.
_FARTHEST = 5.5


def quantile(p: Var) -> Var:
    """The value below which a part p of the standard normal distribution lies.

    Parameters
    ----------
    p : Var of float64, shape (n, k)
        From `SMALLEST` to ``1 - SMALLEST``, or NaN.
    """
    half = const(0.5)
    rarer = op.min([p, op.sub(const(1.0), p)])
    depth = op.sqrt(op.mul(op.log(rarer), const(-2.0)))

    def ratio(depths: Array) -> Array:
        """``quantile(p) / (p - 1/2)``: smooth, and it lets the quantile vanish where it should."""
        parts = np.exp(-(depths**2) / 2)
        central = np.isclose(parts, 0.5, rtol=0, atol=1e-9)
        with np.errstate(invalid="ignore"):
            values = special.ndtri(parts) / (parts - 0.5)
        result: Array = np.where(central, np.sqrt(2 * np.pi), values)
        return result

    lowest, highest = np.sqrt(-2 * np.log([0.5, SMALLEST]))
    return op.mul(op.sub(p, half), _interpolate(ratio, depth, lowest, highest))


def probability(x: Var) -> Var:
    """The part of the standard normal distribution that lies below x.

    Parameters
    ----------
    x : Var of float64, shape (n, k)
    """
    near = op.clip(op.abs(x), const(0.0), const(_FARTHEST))
    rarer = _interpolate(lambda sizes: special.ndtr(-sizes), near, 0.0, _FARTHEST)
    return op.where(op.less(x, const(0.0)), rarer, op.sub(const(1.0), rarer))


def _interpolate(function: Callable[[Array], Array], x: Var, lowest: float, highest: float) -> Var:
    """A smooth function of x of shape (n, k), between values at Chebyshev's points."""
    angles = np.linspace(0.0, np.pi, _POINTS)
    points = (lowest + highest) / 2 - (highest - lowest) / 2 * np.cos(angles)
    weights = (-1.0) ** np.arange(_POINTS)
    weights[[0, -1]] /= 2
    distance = op.sub(op.unsqueeze(x, ints([-1])), const(points))
    # on a point itself: so near to it that the others do not count
    distance = op.where(op.equal(distance, const(0.0)), const(1e-200), distance)
    sums = op.matmul(
        op.div(const(weights), distance),
        const(np.column_stack([function(points), np.ones(_POINTS)])),
    )
    above, below = (op.gather(sums, op.const(np.int64(part)), axis=-1) for part in (0, 1))
    return op.div(above, below)
