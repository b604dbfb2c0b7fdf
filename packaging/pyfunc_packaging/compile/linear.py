"""Compile linear models: one matrix product, one sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn import linear_model, svm
from sklearn.cross_decomposition import PLSRegression
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table

#: Linear regressors whose prediction is the decision function itself.
REGRESSORS = (
    linear_model.ARDRegression,
    linear_model.BayesianRidge,
    linear_model.ElasticNet,
    linear_model.ElasticNetCV,
    linear_model.HuberRegressor,
    linear_model.Lars,
    linear_model.LarsCV,
    linear_model.Lasso,
    linear_model.LassoCV,
    linear_model.LassoLars,
    linear_model.LassoLarsCV,
    linear_model.LassoLarsIC,
    linear_model.LinearRegression,
    linear_model.MultiTaskElasticNet,
    linear_model.MultiTaskElasticNetCV,
    linear_model.MultiTaskLasso,
    linear_model.MultiTaskLassoCV,
    linear_model.OrthogonalMatchingPursuit,
    linear_model.OrthogonalMatchingPursuitCV,
    linear_model.QuantileRegressor,
    linear_model.Ridge,
    linear_model.RidgeCV,
    linear_model.SGDRegressor,
    linear_model.TheilSenRegressor,
    svm.LinearSVR,
)

#: A regressor that scikit-learn 1.10 will no longer have.
DEPRECATED = "PassiveAggressiveRegressor"

#: Generalised linear models with the logarithm as link.
LOG_LINKED = (linear_model.GammaRegressor, linear_model.PoissonRegressor)


def dense(coefficients: Any) -> npt.NDArray[np.float64]:
    """Coefficients as a matrix of shape (targets, features), also after ``sparsify``."""
    full = coefficients.toarray() if hasattr(coefficients, "toarray") else coefficients
    return np.atleast_2d(np.asarray(full, dtype=np.float64))


def product(x: Var, coefficients: Any, intercept: Any) -> Var:
    """``x @ coefficients.T + intercept``, of shape (n, targets)."""
    weights = dense(coefficients)
    offset = np.broadcast_to(np.asarray(intercept, dtype=np.float64).ravel(), (len(weights),))
    return op.add(op.matmul(x, const(weights.T)), const(offset))


@shared
def decision(model: Any, table: Table, context: Context) -> Table:
    """``X @ coef_.T + intercept_``, of shape (n, targets)."""
    weights = dense(model.coef_)
    return Table.of(product(context.finite(table).var, weights, model.intercept_), len(weights))


def _log_linked(model: Any, table: Table, context: Context) -> Table:
    return Table.of(op.exp(decision(model, table, context).x), 1)


def _tweedie(model: linear_model.TweedieRegressor, table: Table, context: Context) -> Table:
    linear = decision(model, table, context)
    identity = model.link == "identity" or (model.link == "auto" and model.power <= 0)
    return linear if identity else Table.of(op.exp(linear.x), 1)


def _ransac(model: linear_model.RANSACRegressor, table: Table, context: Context) -> Table:
    # the inner model was fitted on an array
    return context.compile(model.estimator_, table.unnamed(), method="predict", step="estimator")


def _partial_least_squares(model: PLSRegression, table: Table, context: Context) -> Table:
    centred = op.sub(context.finite(table).var, const(model._x_mean))
    return Table.of(product(centred, model.coef_, model.intercept_), len(model.coef_))


for _class in REGRESSORS:
    register_compiler(_class, decision, method="predict")
if hasattr(linear_model, DEPRECATED):
    register_compiler(getattr(linear_model, DEPRECATED), decision, method="predict")
for _class in LOG_LINKED:
    register_compiler(_class, _log_linked, method="predict")
register_compiler(linear_model.TweedieRegressor, _tweedie, method="predict")
register_compiler(linear_model.RANSACRegressor, _ransac, method="predict")
register_compiler(PLSRegression, _partial_least_squares, method="predict")
