"""Float32 arithmetic, for libraries that compute in it.

Two float32 results are equal or differ by 6e-8, so a graph is equal to such a library only where
it rounds as that does.
"""

from __future__ import annotations

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints

#: The C library's `expf` (glibc since 2.27, after Arm's optimized routines) takes
#: exp(x) = 2**(k / STEPS) * p(r) in float64, with these coefficients of the polynomial p.
STEPS = 32
POLYNOMIAL = (
    float.fromhex("0x1.c6af84b912394p-5") / STEPS**3,
    float.fromhex("0x1.ebfce50fac4f3p-3") / STEPS**2,
    float.fromhex("0x1.62e42ff0c52d6p-1") / STEPS,
)
SCALE = float.fromhex("0x1.71547652b82fep+0") * STEPS
#: Below and above, the result is zero and infinity.
LOWEST, HIGHEST = -104.0, 89.0


def expf(x: Var) -> Var:
    """``expf`` of the C library.

    Correctly rounded results would differ from it in one case of ten thousand.

    Parameters
    ----------
    x : Var of float32

    Returns
    -------
    Var of float32
    """
    wide = op.clip(op.cast(x, to=np.float64), const(LOWEST), const(HIGHEST))
    z = op.mul(wide, const(SCALE))
    k = op.round(z)
    r = op.sub(z, k)
    first = int(np.floor(LOWEST * SCALE))
    powers = 2.0 ** (np.arange(first, int(np.ceil(HIGHEST * SCALE)) + 1) / STEPS)
    power = op.gather(const(powers), op.sub(op.cast(k, to=np.int64), ints(first)), axis=0)
    cubic, square, linear = (const(coefficient) for coefficient in POLYNOMIAL)
    high = op.add(op.mul(cubic, r), square)
    low = op.add(op.mul(linear, r), const(1.0))
    y = op.add(op.mul(high, op.mul(r, r)), low)
    return op.cast(op.mul(y, power), to=np.float32)


def single(value: float) -> Var:
    """A float32 constant."""
    return op.const(np.float32(value))
