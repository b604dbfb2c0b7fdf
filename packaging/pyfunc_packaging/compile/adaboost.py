"""Compile AdaBoost: a weighted median of regressors, a weighted vote of classifiers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.ensemble import AdaBoostClassifier, AdaBoostRegressor
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.bagging import summed
from pyfunc_packaging.compile.forests import (
    TREE_CLASSIFIERS,
    TREE_REGRESSORS,
    rounded,
    tree_of,
)
from pyfunc_packaging.compile.links import decided
from pyfunc_packaging.compile.probabilities import softmax
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import DTYPES, Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble


def _checked(table: Table, context: Context) -> Table:
    """AdaBoost wants finite numbers, whatever its estimators take."""
    context.refuse_missing(table)
    context.refuse_infinite(table)
    blocks = tuple(type(b)(b.var, b.width, b.kind, nan=False, inf=False) for b in table.blocks)
    return Table(blocks)


def _regressor(model: AdaBoostRegressor, table: Table, context: Context) -> Table:
    each = _predictions(model, _checked(table, context), context)
    count = len(model.estimators_)
    # TopK of all is a sort, the smallest first
    ordered, order = op.top_k(each, ints([count]), axis=1, largest=0, sorted=1)
    weights = op.gather(const(model.estimator_weights_), order, axis=0)
    cumulated = op.cumsum(weights, op.const(np.int64(1)))
    last = op.gather(cumulated, ints([count - 1]), axis=1)
    above = op.greater_or_equal(cumulated, op.mul(const(0.5), last))
    median = op.arg_max(op.cast(above, to=np.int32), axis=1, keepdims=True)
    return Table.of(op.gather_elements(ordered, median, axis=1), 1, inf=False)


def _predictions(model: AdaBoostRegressor, table: Table, context: Context) -> Var:
    """What each estimator predicts, of shape (n, estimators)."""
    count = len(model.estimators_)
    if all(type(estimator) in TREE_REGRESSORS for estimator in model.estimators_):
        x = rounded(table, context, allow_missing=False).x
        trees = [
            tree_of(estimator.tree_, estimator.tree_.value[:, 0, 0], target=target)
            for target, estimator in enumerate(model.estimators_)
        ]
        return tree_ensemble(x, trees, targets=count, nan=False, context=context)
    parts = [
        context.compile(estimator, table, method="predict", step=f"estimator {number}").x
        for number, estimator in enumerate(model.estimators_)
    ]
    return op.concat(parts, axis=1) if count > 1 else parts[0]


@shared
def _decision(model: AdaBoostClassifier, table: Table, context: Context) -> Table:
    count = int(model.n_classes_)
    if count < 2:
        raise context.error("was trained on one class only")
    table = _checked(table, context)
    if all(type(estimator) in TREE_CLASSIFIERS for estimator in model.estimators_):
        x = rounded(table, context, allow_missing=False).x
        total = tree_ensemble(x, _votes(model), targets=count, nan=False, context=context)
    else:
        total = summed(
            [
                _vote(model, estimator, weight, table, context)
                for estimator, weight in zip(
                    model.estimators_, model.estimator_weights_, strict=False
                )
            ]
        )
    scores = op.div(total, const(model.estimator_weights_.sum()))
    if count > 2:
        return Table.of(scores, count, inf=False)
    first, second = (op.gather(scores, ints([column]), axis=1) for column in (0, 1))
    return Table.of(op.sub(second, first), 1, inf=False)


def _votes(model: AdaBoostClassifier) -> Iterator[Tree]:
    """For each class a tree that votes for it or against it."""
    count = int(model.n_classes_)
    for estimator, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        chosen = estimator.classes_[estimator.tree_.value[:, 0, :].argmax(axis=1)]
        for target, label in enumerate(model.classes_):
            values = np.where(chosen == label, weight, -1 / (count - 1) * weight)
            yield tree_of(estimator.tree_, values, target=target).pruned()


def _vote(
    model: AdaBoostClassifier, estimator: Any, weight: float, table: Table, context: Context
) -> Var:
    block = context.compile(estimator, table, method="predict").blocks[0]
    classes = np.asarray(model.classes_).astype(DTYPES[block.kind]).reshape(1, -1)
    hit = op.equal(block.var, op.const(classes))
    return op.where(hit, const(weight), const(-1 / (len(model.classes_) - 1) * weight))


def _classifier(model: AdaBoostClassifier, table: Table, context: Context) -> Table:
    scores = _decision(model, table, context)
    return decided(model.classes_, scores, context, ties=0)


def _probabilities(model: AdaBoostClassifier, table: Table, context: Context) -> Table:
    scores = _decision(model, table, context).x
    count = int(model.n_classes_)
    if count == 2:
        scores = op.div(op.concat([op.neg(scores), scores], axis=1), const(2.0))
    else:
        scores = op.div(scores, const(count - 1.0))
    return Table.of(softmax(scores), count, inf=False)


register_compiler(AdaBoostRegressor, _regressor, method="predict")
register_compiler(AdaBoostClassifier, _decision, method="decision_function")
register_compiler(AdaBoostClassifier, _probabilities, method="predict_proba")
register_compiler(AdaBoostClassifier, _classifier, method="predict")
