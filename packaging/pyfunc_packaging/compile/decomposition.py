"""Compile linear projections: principal components and their relatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from scipy import linalg, sparse
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table


def _result(estimator: Any, table: Table, var: Var) -> Table:
    width = int(estimator.components_.shape[0])
    # sums of huge numbers may overflow, to infinity and on to NaN
    return Table((Block(var, width),), output_names(estimator, table))


def _components(estimator: Any) -> Any:
    """The matrix that rows are multiplied by, of shape (features, components)."""
    matrix = estimator.components_
    dense = matrix.toarray() if sparse.issparse(matrix) else np.asarray(matrix)
    return dense.astype(np.float64).T


def _principal(estimator: PCA | IncrementalPCA, table: Table, context: Context) -> Table:
    components = _components(estimator)
    var = op.matmul(context.finite(table).var, const(components))
    var = op.sub(var, const(np.reshape(estimator.mean_, (1, -1)) @ components))
    if estimator.whiten:
        scale = np.sqrt(estimator.explained_variance_)
        var = op.div(var, const(np.maximum(scale, np.finfo(scale.dtype).eps)))
    return _result(estimator, table, var)


def _projection(estimator: Any, table: Table, context: Context) -> Table:
    """Nothing but a product: what has no mean."""
    return _result(
        estimator, table, op.matmul(context.finite(table).var, const(_components(estimator)))
    )


def _independent(estimator: FastICA, table: Table, context: Context) -> Table:
    var = context.finite(table).var
    if estimator.whiten:
        var = op.sub(var, const(estimator.mean_))
    return _result(estimator, table, op.matmul(var, const(_components(estimator))))


def _factors(estimator: FactorAnalysis, table: Table, context: Context) -> Table:
    weights = estimator.components_ / estimator.noise_variance_
    identity = np.eye(len(estimator.components_))
    covariance = linalg.inv(identity + np.dot(weights, estimator.components_.T))
    var = op.sub(context.finite(table).var, const(estimator.mean_))
    var = op.matmul(op.matmul(var, const(weights.T)), const(covariance))
    return _result(estimator, table, var)


register_compiler(PCA, _principal)
register_compiler(IncrementalPCA, _principal)
register_compiler(TruncatedSVD, _projection)
register_compiler(GaussianRandomProjection, _projection)
register_compiler(SparseRandomProjection, _projection)
register_compiler(FastICA, _independent)
register_compiler(FactorAnalysis, _factors)
