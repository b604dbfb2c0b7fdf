"""Compile power transforms: Yeo-Johnson and Box-Cox, there and back."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn.preprocessing import PowerTransformer
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, expm1, log1p
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table

Array = npt.NDArray[np.float64]

#: `scipy.special.boxcox` computes otherwise where a power would exceed float64.
_LARGEST_EXPONENT = 709.78
_LARGEST = 1.79e308


def _power(estimator: PowerTransformer, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    lambdas = np.asarray(estimator.lambdas_, dtype=np.float64)
    if estimator.method == "box-cox":
        context.refuse(op.less_or_equal(block.var, const(0.0)))
        var = _box_cox(block.var, lambdas)
    else:
        var = _yeo_johnson(block.var, lambdas)
    result = Table((Block(var, block.width, nan=block.nan),))
    if estimator.standardize:
        result = context.compile(estimator._scaler, result, step="standardize")
    return Table(result.blocks, output_names(estimator, table))


def _inverse(estimator: PowerTransformer, table: Table, context: Context) -> Table:
    if estimator.standardize:
        table = context.compile(
            estimator._scaler, table, method="inverse_transform", step="standardize"
        )
        block = table.floats
    else:
        block = context.finite(table, allow_missing=True)
    lambdas = np.asarray(estimator.lambdas_, dtype=np.float64)
    inverse = _box_cox_inverse if estimator.method == "box-cox" else _yeo_johnson_inverse
    # NaN comes out where the power of a negative number would be needed
    return Table((Block(inverse(block.var, lambdas), block.width),))


def _exponents(lambdas: Array) -> tuple[Array, Array]:
    """Exponents of Yeo-Johnson above and below zero; 0 where a logarithm stands for them."""
    eps = np.finfo(np.float64).eps
    above = np.where(np.abs(lambdas) < eps, 0.0, lambdas)
    below = np.where(np.abs(lambdas - 2) <= eps, 0.0, 2 - lambdas)
    return above, below


def _yeo_johnson(x: Var, lambdas: Array) -> Var:
    """Symmetric but for the exponent, so that both sides are computed at once."""
    above, below = _exponents(lambdas)
    positive = op.greater_or_equal(x, const(0.0))
    exponent = op.where(positive, const(above), const(below))
    logarithm = log1p(op.abs(x))
    size = op.div(expm1(op.mul(exponent, logarithm)), exponent)
    if not (above.all() and below.all()):
        size = op.where(op.equal(exponent, const(0.0)), logarithm, size)
    return op.where(positive, size, op.neg(size))


def _yeo_johnson_inverse(x: Var, lambdas: Array) -> Var:
    above, below = _exponents(lambdas)
    positive = op.greater_or_equal(x, const(0.0))
    size = op.where(positive, x, op.neg(x))
    exponent = op.where(positive, const(above), const(below))
    with np.errstate(divide="ignore"):
        root = op.where(positive, const(1 / above), const(1 / below))
    one = const(1.0)
    grown = op.pow(op.add(op.mul(size, exponent), one), root)
    if not (above.all() and below.all()):
        grown = op.where(op.equal(exponent, const(0.0)), op.exp(size), grown)
    grown = op.sub(grown, one)
    return op.where(positive, grown, op.neg(grown))


def _box_cox(x: Var, lambdas: Array) -> Var:
    logarithm = op.log(x)
    exponent = op.mul(const(lambdas), logarithm)
    with np.errstate(divide="ignore"):
        reciprocal, log_size = 1 / lambdas, np.log(np.abs(lambdas))
    result = op.div(expm1(exponent), const(lambdas))
    if np.abs(lambdas).max() > _LARGEST_EXPONENT / 746:  # no logarithm is beyond 746
        grown = op.exp(op.sub(exponent, const(log_size)))
        huge = op.sub(op.mul(const(np.sign(lambdas)), grown), const(reciprocal))
        result = op.where(op.less(exponent, const(_LARGEST_EXPONENT)), result, huge)
    tiny = np.abs(lambdas) < 1e-19
    return op.where(op.const(tiny), logarithm, result) if tiny.any() else result


def _box_cox_inverse(x: Var, lambdas: Array) -> Var:
    scaled = op.mul(const(lambdas), x)
    with np.errstate(divide="ignore"):
        reciprocal, log_size = 1 / lambdas, np.log(np.abs(lambdas))
    result = op.exp(op.div(log1p(scaled), const(lambdas)))
    sign = const(np.sign(lambdas))
    log_shifted = op.log(op.mul(sign, op.add(x, const(reciprocal))))
    huge = op.exp(op.div(op.add(log_shifted, const(log_size)), const(lambdas)))
    result = op.where(op.less(scaled, const(_LARGEST)), result, huge)
    zero = lambdas == 0
    return op.where(op.const(zero), op.exp(x), result) if zero.any() else result


register_compiler(PowerTransformer, _power)
register_compiler(PowerTransformer, _inverse, method="inverse_transform")
