"""Sines, cosines and their kin in float64, which ONNX Runtime has in part or roughly only."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile import arithmetic as ar
from pyfunc_packaging.compile.arithmetic import const


def arctan(x: Var) -> Var:
    """``np.arctan``: ONNX Runtime's, which is of float32, and one step to correct it.

    From the tangent's addition theorem: with ``t = tan(a)``, ``a - b`` is the arc tangent of
    ``(t cos b - sin b) / (cos b + t sin b)``, and equal to that where it is tiny.
    """
    steep = op.greater(op.abs(x), const(1.0))
    t = op.where(steep, op.reciprocal(x), x)
    near = op.cast(op.atan(op.cast(t, to=np.float32)), to=np.float64)
    sin, cos = op.sin(near), op.cos(near)
    rest = op.div(op.sub(op.mul(t, cos), sin), op.add(cos, op.mul(t, sin)))
    angle = op.add(near, rest)
    return op.where(steep, op.sub(op.mul(op.sign(x), const(np.pi / 2)), angle), angle)


def arcsin(x: Var) -> Var:
    """``np.arcsin``."""
    one = const(1.0)
    return arctan(op.div(x, op.sqrt(op.mul(op.sub(one, x), op.add(one, x)))))


def arccos(x: Var) -> Var:
    """``np.arccos``."""
    one = const(1.0)
    half = arctan(op.sqrt(op.div(op.sub(one, x), op.add(one, x))))
    return op.mul(half, const(2.0))


def _is_negative(x: Var) -> Var:
    """Where the sign bit is set, minus zero included."""
    zero = const(0.0)
    return op.or_(op.less(x, zero), op.less(op.reciprocal(x), zero))


def arctan2(y: Var, x: Var) -> Var:
    """``np.arctan2``, in all quadrants."""
    high, wide = op.abs(y), op.abs(x)
    most, least = ar.maximum(high, wide), ar.minimum(high, wide)
    same = op.equal(most, least)  # both zero or both infinite have no quotient
    ratio = op.where(same, op.sign(most), op.div(least, most))
    angle = arctan(ratio)
    angle = op.where(op.greater(high, wide), op.sub(const(np.pi / 2), angle), angle)
    angle = op.where(_is_negative(x), op.sub(const(np.pi), angle), angle)
    return op.where(_is_negative(y), op.neg(angle), angle)


def hypot(a: Var, b: Var) -> Var:
    """``np.hypot``, which does not overflow."""
    a, b = op.abs(a), op.abs(b)
    most, least = ar.maximum(a, b), ar.minimum(a, b)
    ratio = op.where(op.equal(most, const(0.0)), most, op.div(least, most))
    plain = op.mul(most, op.sqrt(op.add(const(1.0), op.mul(ratio, ratio))))
    endless = op.or_(op.isinf(a), op.isinf(b))
    return op.where(endless, const(np.inf), plain)


def sinh(x: Var) -> Var:
    """``np.sinh``."""
    half = ar.expm1(op.abs(x))
    plain = op.div(op.add(half, op.div(half, op.add(half, const(1.0)))), const(2.0))
    large = op.exp(op.sub(op.abs(x), const(np.log(2.0))))
    size = op.where(op.greater(op.abs(x), const(700.0)), large, plain)
    return op.where(op.less(x, const(0.0)), op.neg(size), size)


def cosh(x: Var) -> Var:
    """``np.cosh``."""
    half = op.exp(op.sub(op.abs(x), const(np.log(2.0))))
    return op.add(half, op.div(const(0.25), half))


def _sines() -> tuple[float, float, float]:
    """Pi in three parts, the first two so short that their multiples are exact."""
    pi = Fraction("3.14159265358979323846264338327950288419716939937510582097494459")
    first = Fraction(round(pi * 2**31), 2**31)
    second = Fraction(round((pi - first) * 2**64), 2**64)
    return float(first), float(second), float(pi - first - second)


def _sine(x: Var, half_turns: Var, plain: Var) -> Var:
    """``sin(x - half_turns * pi)`` or its negative where the half turns are odd.

    ONNX Runtime's sines have 16 digits of 1, and none where they are nearly 0.
    """
    rest = x
    for part in _sines():
        rest = op.sub(rest, op.mul(half_turns, const(part)))
    whole = op.ceil(half_turns)
    odd = op.sub(whole, op.mul(const(2.0), op.floor(op.mul(whole, const(0.5)))))
    sine = op.mul(op.sin(rest), op.sub(const(1.0), op.mul(const(2.0), odd)))
    return op.where(op.less(op.abs(x), const(1e6)), sine, plain)


def sin(x: Var) -> Var:
    """``np.sin``, accurate where it is nearly 0 too."""
    return _sine(x, op.round(op.mul(x, const(1 / np.pi))), op.sin(x))


def cos(x: Var) -> Var:
    """``np.cos``, accurate where it is nearly 0 too."""
    half = const(0.5)
    turns = op.sub(op.round(op.add(op.mul(x, const(1 / np.pi)), half)), half)
    return _sine(x, turns, op.cos(x))
