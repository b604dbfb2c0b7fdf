"""Numpy's elementwise functions in ONNX operators, float64 in and out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var


def const(value: Any) -> Var:
    """A float64 constant: a scalar, a row of shape (k,), or a matrix."""
    return op.const(np.asarray(value, dtype=np.float64))


def texts(value: Any) -> Var:
    """A constant of text: one, or an array-like of several."""
    return op.const(np.asarray(value, dtype=object))  # numpy's own texts end before a last NUL


def ints(value: Sequence[Any] | int) -> Var:
    """An int64 constant, for axes, shapes and positions."""
    return op.const(np.asarray(value, dtype=np.int64))


def log1p(x: Var) -> Var:
    """``log(1 + x)``, exact for small x too.

    After HP-15C Advanced Functions Handbook (1982), as in Goldberg, "What Every Computer
    Scientist Should Know About Floating-Point Arithmetic" (1991), theorem 4.
    """
    one = const(1.0)
    u = op.add(x, one)
    corrected = op.mul(op.log(u), op.div(x, op.sub(u, one)))  # in an order that cannot overflow
    plain = op.or_(op.isinf(u), op.equal(u, const(0.0)))
    return op.where(op.equal(u, one), x, op.where(plain, op.log(u), corrected))


def expm1(x: Var) -> Var:
    """``exp(x) - 1``, exact for small x too.

    After Kahan; see Higham, "Accuracy and Stability of Numerical Algorithms" (2002), 1.14.1.
    """
    one = const(1.0)
    u = op.exp(x)
    below = op.sub(u, one)
    corrected = op.mul(below, op.div(x, op.log(u)))  # in an order that cannot overflow
    ends = op.or_(op.isinf(u), op.equal(below, const(-1.0)))
    return op.where(op.equal(u, one), x, op.where(ends, below, corrected))


def minimum(a: Var, b: Var) -> Var:
    """``np.minimum``: NaN where either is NaN."""
    return op.min([a, b])


def maximum(a: Var, b: Var) -> Var:
    """``np.maximum``: NaN where either is NaN."""
    return op.max([a, b])


def _fmod(a: Var, b: Var) -> tuple[Var, Var]:
    """The exact rest with the dividend's sign, and whether the divisor has the other sign."""
    rest = op.mod(a, b, fmod=1)
    other_sign = op.xor(op.less(rest, const(0.0)), op.less(b, const(0.0)))
    return rest, op.and_(is_nonzero(rest), other_sign)


def remainder(a: Var, b: Var) -> Var:
    """``np.remainder``: the sign of the divisor, as in Python."""
    rest, wrong = _fmod(a, b)
    # even a zero has the divisor's sign, which shows where one divides by it (and which ONNX
    # Runtime's `Where` keeps in its second branch alone)
    return op.where(is_nonzero(rest), op.where(wrong, op.add(rest, b), rest), op.div(const(0.0), b))


def floor_divide(a: Var, b: Var) -> Var:
    """``np.floor_divide``, which rounds the exact quotient down; by zero as division."""
    rest, wrong = _fmod(a, b)
    one = const(1.0)
    quotient = op.div(op.sub(a, rest), b)
    quotient = op.where(wrong, op.sub(quotient, one), quotient)
    down = op.floor(quotient)
    # as numpy: the quotient is an integer but for rounding, so take the nearest
    near = op.where(op.greater(op.sub(quotient, down), const(0.5)), op.add(down, one), down)
    divided = op.div(a, b)
    signed_zero = op.div(divided, const(np.inf))
    near = op.where(is_nonzero(near), near, signed_zero)
    return op.where(op.equal(b, const(0.0)), divided, near)


def is_nonzero(x: Var) -> Var:
    """Where a number counts as true: everywhere but at zero, NaN included."""
    return op.cast(x, to=np.bool_)
