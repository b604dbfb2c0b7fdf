"""Compile histogram gradient boosting, with native categories and missing values."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from pyfunc_packaging.compile.composition import choose
from pyfunc_packaging.compile.links import decided, inverse
from pyfunc_packaging.compile.memberships import Memberships
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble


@shared
def raw_predictions(model: Any, table: Table, context: Context) -> Table:
    """The sum of the trees and the baseline, before any link function."""
    if model._preprocessor is not None:
        table = _preprocessed(model._preprocessor, table, context)
    x = table.x
    members = Memberships(table.width)
    # the sum begins with the baseline, so that it is rounded as scikit-learn's
    baseline = np.ravel(model._baseline_prediction)
    trees = [Tree.constant(value, target=target) for target, value in enumerate(baseline)]
    for iteration in model._predictors:
        for target, predictor in enumerate(iteration):
            trees.append(_tree(predictor, target, members))
    x = members.beside(table.x)
    count = model.n_trees_per_iteration_
    total = tree_ensemble(x, trees, targets=count, nan=table.nan, context=context)
    return Table.of(total, count, inf=False)


def _preprocessed(preprocessor: ColumnTransformer, table: Table, context: Context) -> Table:
    """Codes of categories first, then the other columns as they are."""
    parts = []
    for name, part, columns in preprocessor.transformers_:
        chosen = choose(preprocessor, table, columns, context)
        # what is done to numbers is a check of their dtype
        parts.append(context.compile(part, chosen, step=name) if name == "encoder" else chosen)
    return Table.beside([part for part in parts if part.width])


def _tree(predictor: Any, target: int, members: Memberships) -> Tree:
    nodes = predictor.nodes
    leaf = nodes["is_leaf"].astype(bool)
    categorical = nodes["is_categorical"].astype(bool) & ~leaf
    feature = nodes["feature_idx"].astype(np.int64)
    threshold = nodes["num_threshold"].astype(np.float64)
    missing_left = nodes["missing_go_to_left"].astype(bool)
    for node in np.flatnonzero(categorical):
        bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
        codes = [code for code in range(256) if bits[code // 32] >> (code % 32) & 1]
        feature[node] = members.column(
            int(feature[node]), codes, missing_left=bool(missing_left[node])
        )
        threshold[node] = 0.5
    return Tree(
        left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
        right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
        feature=feature,
        threshold=threshold,
        missing_left=missing_left,
        value=nodes["value"].astype(np.float64),
        target=target,
        rows=nodes["count"],
    )


def _predictions(model: Any, table: Table, context: Context) -> Table:
    return inverse(model._loss, raw_predictions(model, table, context), context)


def _classifier(model: Any, table: Table, context: Context) -> Table:
    raw = raw_predictions(model, table, context)
    return decided(model.classes_, raw, context, ties=0)


register_compiler(HistGradientBoostingRegressor, _predictions, method="predict")
register_compiler(HistGradientBoostingClassifier, raw_predictions, method="decision_function")
register_compiler(HistGradientBoostingClassifier, _predictions, method="predict_proba")
register_compiler(HistGradientBoostingClassifier, _classifier, method="predict")
