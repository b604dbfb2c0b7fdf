"""Logarithms to the bases 2 and 10, exact beside powers of the base as well.

A quotient of logarithms is off by a unit or two in the last place, which is nothing, but where
one asks for the number of digits: `floor` of what should be a whole number.
"""

from __future__ import annotations

import functools
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const

Array = npt.NDArray[np.float64]

#: How far from a power of the base, relative to it, a logarithm may round to a whole number.
_BESIDE = 1e-11
#: Exponents of 10 whose powers are float64 of full precision.
_LOWEST, _HIGHEST = -307, 308
#: log10(2) in two parts, and 1 / log(10), as C libraries have them.
_LOG10_2_HIGH = float.fromhex("0x1.34413509f6p-2")
_LOG10_2_LOW = float.fromhex("0x1.9fef311f12b36p-42")
_PER_LOG10 = float.fromhex("0x1.bcb7b1526e50ep-2")


def log2(x: Var) -> Var:
    """``np.log2``."""
    plain = op.div(op.log(x), const(np.log(2.0)))
    whole = op.round(plain)
    beyond = _beyond(x, op.pow(const(2.0), whole))
    near = op.add(whole, op.mul(_log1p(beyond), const(1 / np.log(2.0))))
    return op.where(op.less(op.abs(beyond), const(_BESIDE)), near, plain)


def log10(x: Var) -> Var:
    """That of the C library, as ``np.log10`` is on CPUs without AVX-512.

    Beside powers of ten it is computed as in fdlibm, from which C libraries have theirs: by the
    logarithm of x without its power of two, which is rounded to float64, and by that power.
    """
    plain = op.div(op.log(x), const(np.log(10.0)))
    nearest = op.clip(op.round(plain), const(_LOWEST), const(_HIGHEST))
    row = op.cast(op.sub(nearest, const(_LOWEST)), to=np.int64)
    row = op.where(op.isnan(plain), op.const(np.int64(0)), row)
    power, high, low, shift = (op.gather(const(column), row) for column in _powers_of_ten())
    beyond = _beyond(x, power)
    log = op.add(high, op.add(low, _log1p(beyond)))
    scaled = op.add(op.mul(shift, const(_LOG10_2_LOW)), op.mul(log, const(_PER_LOG10)))
    near = op.add(scaled, op.mul(shift, const(_LOG10_2_HIGH)))
    return op.where(op.less(op.abs(beyond), const(_BESIDE)), near, plain)


def _beyond(x: Var, power: Var) -> Var:
    """How far x is from a power of the base, relative to it."""
    return op.div(op.sub(x, power), power)


def _log1p(x: Var) -> Var:
    """Of tiny numbers."""
    return op.mul(x, op.sub(const(1.0), op.mul(x, const(0.5))))


@functools.cache
def _powers_of_ten() -> Any:
    """Of each power: itself, the logarithm of its mantissa in two parts, its power of two."""
    rows = []
    with localcontext() as context:
        context.prec = 60
        for exponent in range(_LOWEST, _HIGHEST + 1):
            power = float(Fraction(10) ** exponent)
            # as in fdlibm: between 1 and 2, of powers below 1 between 1/2 and 1
            shift = int(np.frexp(power)[1]) - (exponent >= 0)
            mantissa = Fraction(power) / Fraction(2) ** shift
            log = (Decimal(mantissa.numerator) / Decimal(mantissa.denominator)).ln()
            rows.append((power, float(log), float(log - Decimal(float(log))), float(shift)))
    return np.array(rows).T
