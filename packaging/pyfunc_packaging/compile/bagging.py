"""Compile bagging: the mean of estimators, each on columns of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.ensemble import BaggingClassifier, BaggingRegressor
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.forests import (
    TREE_CLASSIFIERS,
    TREE_REGRESSORS,
    allows_missing,
    rounded,
    tree_of,
)
from pyfunc_packaging.compile.labels import most_likely
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble


def summed(parts: Sequence[Var]) -> Var:
    """The sum of tensors of one shape, from the first to the last."""
    return parts[0] if len(parts) == 1 else op.sum(parts)


def votes(labels: Table, classes: int, weight: float = 1.0) -> Var:
    """A weight in the column that each label says, else zero; labels are 0 to classes - 1."""
    columns = ints(range(classes))
    hit = op.equal(op.cast(labels.blocks[0].var, to=np.int64), columns)
    return op.where(hit, const(weight), const(0.0))


def _mean(model: Any, table: Table, context: Context, method: str) -> Table:
    """The mean of what the estimators return, which comes from the same columns for each."""
    table = table.unnamed()
    results = [
        context.compile(estimator, _part(table, features), method=method, step=f"estimator {i}")
        for i, (estimator, features) in _members(model)
    ]
    total = summed([result.x for result in results])
    return Table.of(op.div(total, const(float(len(results)))), results[0].width)


def _members(model: Any) -> Iterator[tuple[int, tuple[Any, Any]]]:
    return enumerate(zip(model.estimators_, model.estimators_features_, strict=True))


def _part(table: Table, features: Any) -> Table:
    chosen = [int(feature) for feature in features]
    return table if chosen == list(range(table.width)) else table.take(chosen)


def _mean_of_trees(model: Any, table: Table, context: Context, targets: int) -> Table:
    """All trees in one operator, with their features numbered as the table's."""
    used = np.unique(np.concatenate(model.estimators_features_))
    x = rounded(
        _part(table.unnamed(), used),
        context,
        allow_missing=allows_missing(model.estimators_[0]),
    )
    trees = _renumbered(model, used, targets)
    total = tree_ensemble(x.x, trees, targets=targets, nan=x.nan, context=context)
    return Table.of(op.div(total, const(float(len(model.estimators_)))), targets, inf=False)


def _renumbered(model: Any, used: Any, targets: int) -> Iterator[Tree]:
    for _, (estimator, features) in _members(model):
        fitted = estimator.tree_
        values = fitted.value.reshape(len(fitted.value), -1)
        position = np.searchsorted(used, np.asarray(features))
        for column in range(values.shape[1]):
            # a classifier may have been given rows of some classes only
            target = int(estimator.classes_[column]) if hasattr(estimator, "classes_") else column
            part = tree_of(fitted, values[:, column], target=target)
            feature = np.where(part.left < 0, 0, position[np.maximum(part.feature, 0)])
            tree = Tree(**{**vars(part), "feature": feature})
            yield tree.pruned() if targets > 1 else tree


def _all(model: Any, classes: tuple[type, ...]) -> bool:
    return all(type(estimator) in classes for estimator in model.estimators_)


def _regressor(model: BaggingRegressor, table: Table, context: Context) -> Table:
    if _all(model, TREE_REGRESSORS):
        return _mean_of_trees(model, table, context, model.estimators_[0].n_outputs_)
    return _mean(model, table, context, "predict")


@shared
def _probabilities(model: BaggingClassifier, table: Table, context: Context) -> Table:
    count = int(model.n_classes_)
    if _all(model, TREE_CLASSIFIERS):
        return _mean_of_trees(model, table, context, count)
    table = table.unnamed()
    parts = []
    for number, (estimator, features) in _members(model):
        part, step = _part(table, features), f"estimator {number}"
        if not hasattr(estimator, "predict_proba"):
            labels = context.compile(estimator, part, method="predict", step=step)
            parts.append(votes(labels, count))
            continue
        chances = context.compile(estimator, part, method="predict_proba", step=step).x
        if len(estimator.classes_) < count:
            # columns of zeros for the classes that it was not given
            place = np.zeros((len(estimator.classes_), count))
            place[np.arange(len(place)), estimator.classes_.astype(int)] = 1.0
            chances = op.matmul(chances, const(place))
        parts.append(chances)
    mean = op.div(summed(parts), const(float(len(parts))))
    return Table.of(mean, count, inf=False)


def _classifier(model: BaggingClassifier, table: Table, context: Context) -> Table:
    return most_likely(model.classes_, _probabilities(model, table, context).x, context)


def _decision(model: BaggingClassifier, table: Table, context: Context) -> Table:
    return _mean(model, table, context, "decision_function")


register_compiler(BaggingRegressor, _regressor, method="predict")
register_compiler(BaggingClassifier, _probabilities, method="predict_proba")
register_compiler(BaggingClassifier, _classifier, method="predict")
register_compiler(BaggingClassifier, _decision, method="decision_function")
