"""Compile gradient boosting on plain decision trees."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.ensemble._gb import _init_raw_predictions
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.forests import rounded, tree_of
from pyfunc_packaging.compile.links import decided, inverse
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble


@shared
def raw_predictions(model: Any, table: Table, context: Context) -> Table:
    """The sum of the first guess and all trees, before any link function."""
    table = rounded(table, context, allow_missing=False)
    count = model.estimators_.shape[1]
    trees = [
        tree_of(
            estimator.tree_,
            model.learning_rate * estimator.tree_.value[:, 0, 0],
            target=target,
        )
        for stage in model.estimators_
        for target, estimator in enumerate(stage)
    ]
    guess = None
    if isinstance(model.init_, DummyRegressor | DummyClassifier):
        row = np.zeros((1, model.n_features_in_))
        first = _init_raw_predictions(row, model.init_, model._loss, is_classifier(model))
        # the sum begins with it, so that it is rounded as scikit-learn's
        trees = [Tree.constant(value, target=k) for k, value in enumerate(first[0])] + trees
    elif model.init_ != "zero":
        guess = _first_guess(model, table, context)
    total = tree_ensemble(table.x, trees, targets=count, nan=False, context=context)
    if guess is not None:
        total = op.add(guess, total)
    return Table.of(total, count, inf=False)


def _first_guess(model: Any, table: Table, context: Context) -> Var:
    """Raw scores of the estimator that boosting starts from."""
    if not is_classifier(model):
        return context.compile(model.init_, table, method="predict", step="init").x
    chances = context.compile(model.init_, table, method="predict_proba", step="init").x
    epsilon = np.finfo(np.float64).eps
    if model.estimators_.shape[1] == 1:
        chances = op.gather(chances, op.const(np.array([1])), axis=1)
    chances = op.clip(chances, const(epsilon), const(1 - epsilon))
    if model.estimators_.shape[1] == 1:
        odds = op.log(op.div(chances, op.sub(const(1.0), chances)))
        half = type(model._loss.link).__name__ == "HalfLogitLink"
        return op.mul(const(0.5), odds) if half else odds
    logs = op.log(chances)
    return op.sub(logs, op.reduce_mean(logs, op.const(np.array([1])), keepdims=True))


def _probabilities(model: Any, table: Table, context: Context) -> Table:
    return inverse(model._loss, raw_predictions(model, table, context), context)


def _classifier(model: Any, table: Table, context: Context) -> Table:
    raw = raw_predictions(model, table, context)
    return decided(model.classes_, raw, context, ties=1)


register_compiler(GradientBoostingRegressor, raw_predictions, method="predict")
register_compiler(GradientBoostingClassifier, raw_predictions, method="decision_function")
register_compiler(GradientBoostingClassifier, _probabilities, method="predict_proba")
register_compiler(GradientBoostingClassifier, _classifier, method="predict")
