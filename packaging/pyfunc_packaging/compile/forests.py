"""Compile decision trees and forests, which see their features as float32.

scikit-learn rounds features to float32 and compares them with float64 thresholds; numbers that
float32 cannot hold are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn import ensemble, tree
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.labels import most_likely
from pyfunc_packaging.compile.registry import Compiler, Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble

TREE_REGRESSORS = (tree.DecisionTreeRegressor, tree.ExtraTreeRegressor)
TREE_CLASSIFIERS = (tree.DecisionTreeClassifier, tree.ExtraTreeClassifier)
FOREST_REGRESSORS = (ensemble.RandomForestRegressor, ensemble.ExtraTreesRegressor)
FOREST_CLASSIFIERS = (ensemble.RandomForestClassifier, ensemble.ExtraTreesClassifier)


def rounded(table: Table, context: Context, *, allow_missing: bool) -> Table:
    """A table rounded to float32, refused where that is not finite.

    Parameters
    ----------
    table : Table
    context : Context
    allow_missing : bool
        Whether the estimator takes missing values.

    Returns
    -------
    Table
        Of float64 all the same, for the sake of thresholds.
    """
    if not allow_missing:
        context.refuse_missing(table)
    narrow = op.cast(table.x, to=np.float32)
    if any(block.kind == "float" for block in table.blocks):
        context.refuse(op.isinf(narrow))
    wide = op.cast(narrow, to=np.float64)
    return Table.of(wide, table.width, nan=allow_missing and table.nan, inf=False)


def allows_missing(estimator: Any) -> bool:
    """Whether an estimator takes missing values, which depends on its parameters."""
    return bool(estimator.__sklearn_tags__().input_tags.allow_nan)


def tree_of(fitted: Any, values: Any, *, target: int = 0) -> Tree:
    """A scikit-learn tree with values of our own.

    Parameters
    ----------
    fitted : sklearn.tree._tree.Tree
        ``tree_`` of an estimator.
    values : ndarray of float64, shape (nodes,)
        What each leaf contributes.
    target : int
    """
    return Tree(
        left=fitted.children_left,
        right=fitted.children_right,
        feature=fitted.feature,
        threshold=fitted.threshold,
        missing_left=fitted.missing_go_to_left.astype(bool),
        value=values,
        target=target,
        rows=fitted.weighted_n_node_samples,
    )


def _sum(trees: list[Any], table: Table, context: Context, *, allow_missing: bool) -> Var:
    """The sum of trees for each output of a regressor, or for each class of a classifier."""
    first = trees[0].tree_
    if first.n_outputs > 1 and first.max_n_classes > 1:
        raise context.error("classifies several outputs at once")
    targets = first.n_outputs * first.max_n_classes
    x = rounded(table, context, allow_missing=allow_missing)
    return tree_ensemble(
        x.x, _by_target(trees, targets), targets=targets, nan=x.nan, context=context
    )


def _by_target(trees: list[Any], targets: int) -> Iterator[Tree]:
    """For each output of each tree a tree of its own, as the operator wants it."""
    for estimator in trees:
        values = estimator.tree_.value.reshape(-1, targets)
        for target in range(targets):
            part = tree_of(estimator.tree_, values[:, target], target=target)
            # where it is about one class of several, whole branches may say no
            yield part.pruned() if targets > 1 else part


@shared
def _tree(estimator: Any, table: Table, context: Context) -> Table:
    total = _sum([estimator], table, context, allow_missing=allows_missing(estimator))
    return Table.of(total, _width(estimator), inf=False)


@shared
def _forest(estimator: Any, table: Table, context: Context) -> Table:
    trees = estimator.estimators_
    total = _sum(trees, table, context, allow_missing=allows_missing(trees[0]))
    mean = op.div(total, const(float(len(trees))))
    return Table.of(mean, _width(estimator), inf=False)


def _width(estimator: Any) -> int:
    return int(estimator.n_outputs_ * getattr(estimator, "n_classes_", 1))


def _classifier(probabilities: Compiler) -> Compiler:
    def predict(estimator: Any, table: Table, context: Context) -> Table:
        scores = probabilities(estimator, table, context).x
        return most_likely(estimator.classes_, scores, context)

    return predict


for _class in TREE_REGRESSORS:
    register_compiler(_class, _tree, method="predict")
for _class in TREE_CLASSIFIERS:
    register_compiler(_class, _tree, method="predict_proba")
    register_compiler(_class, _classifier(_tree), method="predict")
for _class in FOREST_REGRESSORS:
    register_compiler(_class, _forest, method="predict")
for _class in FOREST_CLASSIFIERS:
    register_compiler(_class, _forest, method="predict_proba")
    register_compiler(_class, _classifier(_forest), method="predict")
