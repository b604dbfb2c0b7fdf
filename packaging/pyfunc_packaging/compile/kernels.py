"""Compile kernel ridge regression and the mean of Gaussian processes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn.gaussian_process import GaussianProcessRegressor, kernels
from sklearn.kernel_ridge import KernelRidge
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.distances import in_pieces, squared_distances
from pyfunc_packaging.compile.linear import product
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Table

FloatArray = npt.NDArray[np.float64]


def _ridge(model: KernelRidge, table: Table, context: Context) -> Table:
    if model.kernel not in ("linear", "rbf", "poly", "polynomial", "sigmoid"):
        raise context.error(f"kernel={model.kernel!r} is not compiled")
    rows = np.asarray(model.X_fit_, dtype=np.float64)
    weights = np.asarray(model.dual_coef_).reshape(len(rows), -1)
    x, width = context.finite(table).var, weights.shape[1]
    if model.kernel == "linear":
        return Table.of(product(x, (rows.T @ weights).T, 0.0), width)
    gamma = 1.0 / rows.shape[1] if model.gamma is None else model.gamma

    def predict(x: Var) -> Var:
        if model.kernel == "rbf":
            similar = op.exp(op.mul(const(-gamma), squared_distances(x, rows)))
        else:
            inner = op.mul(op.matmul(x, const(rows.T)), const(gamma))
            scaled = op.add(inner, const(model.coef0))
            sigmoid = model.kernel == "sigmoid"
            similar = op.tanh(scaled) if sigmoid else op.pow(scaled, const(float(model.degree)))
        return op.matmul(similar, const(weights))

    return Table.of(in_pieces(predict, x, len(rows)), width)


def _similarity(kernel: Any, x: Var, rows: FloatArray, context: Context) -> Var:
    """A kernel between new rows and training rows: of shape (n, rows), or a scalar."""
    if isinstance(kernel, kernels.Sum | kernels.Product):
        parts = [_similarity(part, x, rows, context) for part in (kernel.k1, kernel.k2)]
        return op.add(*parts) if isinstance(kernel, kernels.Sum) else op.mul(*parts)
    if type(kernel) is kernels.ConstantKernel:
        return const(kernel.constant_value)
    if type(kernel) is kernels.WhiteKernel:  # noise of the training rows, none between rows
        return const(0.0)
    if type(kernel) is kernels.DotProduct:
        return op.add(op.matmul(x, const(rows.T)), const(kernel.sigma_0**2))
    if type(kernel) is kernels.RBF:
        scale = np.asarray(kernel.length_scale, dtype=np.float64)
        squared = squared_distances(op.div(x, const(scale)), rows / scale)
        return op.exp(op.mul(const(-0.5), squared))
    if type(kernel) is kernels.RationalQuadratic:
        width = 2 * kernel.alpha * kernel.length_scale**2
        base = op.add(const(1.0), op.div(squared_distances(x, rows), const(width)))
        return op.pow(base, const(-kernel.alpha))
    raise context.error(f"kernel={kernel!r} is not compiled")


def _process(model: GaussianProcessRegressor, table: Table, context: Context) -> Table:
    rows = np.asarray(model.X_train_, dtype=np.float64)
    weights = np.asarray(model.alpha_).reshape(len(rows), -1)

    def predict(x: Var) -> Var:
        similar = _similarity(model.kernel_, x, rows, context)
        # a kernel of constants alone is no matrix yet
        everywhere = op.add(similar, op.matmul(x, const(np.zeros_like(rows.T))))
        mean = op.matmul(everywhere, const(weights))
        return op.add(op.mul(const(model._y_train_std), mean), const(model._y_train_mean))

    result = in_pieces(predict, context.finite(table).var, len(rows))
    return Table.of(result, weights.shape[1])


register_compiler(KernelRidge, _ridge, method="predict")
register_compiler(GaussianProcessRegressor, _process, method="predict")
