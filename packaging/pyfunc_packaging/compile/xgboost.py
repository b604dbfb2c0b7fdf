"""Compile XGBoost, which computes in float32, addition by addition."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import ints
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.single import expf, single
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.tree_nodes import BRANCH_LT
from pyfunc_packaging.compile.trees import Tree, tree_ensemble

IDENTITY = {
    "reg:squarederror",
    "reg:squaredlogerror",
    "reg:absoluteerror",
    "reg:quantileerror",
    "reg:pseudohubererror",
}
EXPONENTIAL = {"count:poisson", "reg:gamma", "reg:tweedie"}
LOGISTIC = {"binary:logistic", "reg:logistic"}


def _margins(model: Any, table: Table, context: Context) -> tuple[Var, int, str]:
    """Sums of the trees as float32, how many a row, and the name of the objective."""
    booster = model.get_booster()
    learner = json.loads(bytes(booster.save_raw("json")))["learner"]
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        raise context.error(f"booster={kind!r} is not compiled, only gbtree is")
    forest = learner["gradient_booster"]["model"]
    base = _base(booster)
    trees = [Tree.constant(float(value), target=target) for target, value in enumerate(base)]
    _, end = model._get_iteration_range(None)  # up to the best one, where training stopped early
    count = forest["iteration_indptr"][end] if end else len(forest["trees"])
    for tree, target in zip(forest["trees"][:count], forest["tree_info"], strict=False):
        trees.append(_tree(tree, target, context))
    x = op.cast(table.x, to=np.float32)
    nan = table.nan or not np.isnan(model.missing)
    if not np.isnan(model.missing):
        x = op.where(op.equal(x, single(model.missing)), single(np.nan), x)
    total = tree_ensemble(x, trees, targets=len(base), mode=BRANCH_LT, nan=nan, context=context)
    return total, len(base), learner["objective"]["name"]


def _base(booster: Any) -> Any:
    """What the sums begin with, as float32: the answer of a model whose leaves are all zero."""
    model = json.loads(bytes(booster[0:1].save_raw("json")))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        leaf = np.array(tree["left_children"]) < 0
        tree["split_conditions"] = np.where(leaf, 0.0, tree["split_conditions"]).tolist()
    empty = type(booster)()
    empty.load_model(bytearray(json.dumps(model).encode()))
    row = np.zeros((1, booster.num_features()), dtype=np.float32)
    return empty.inplace_predict(row, predict_type="margin", validate_features=False).ravel()


def _tree(tree: Any, target: int, context: Context) -> Tree:
    if int(tree["tree_param"]["size_leaf_vector"]) > 1:
        raise context.error("multi_strategy='multi_output_tree' is not compiled")
    if any(tree["split_type"]):
        raise context.error("splits by category are not compiled; encode the categories")
    conditions = np.array(tree["split_conditions"], dtype=np.float32).astype(np.float64)
    return Tree(
        left=np.array(tree["left_children"]),
        right=np.array(tree["right_children"]),
        feature=np.array(tree["split_indices"]),
        threshold=conditions,
        missing_left=np.array(tree["default_left"], dtype=bool),
        value=conditions,  # of leaves
        target=target,
        rows=np.array(tree["sum_hessian"]),
    )


def _result(values: Var, width: int) -> Table:
    return Table.of(op.cast(values, to=np.float64), width)


def _sigmoid(x: Var) -> Var:
    one = single(1.0)
    return op.div(one, op.add(expf(op.min([op.neg(x), single(88.7)])), one))


def _softmax(x: Var) -> Var:
    axis = ints([1])
    powers = expf(op.sub(x, op.reduce_max(x, axis)))
    total = op.reduce_sum(op.cast(powers, to=np.float64), axis)
    return op.div(powers, op.cast(total, to=np.float32))


def _regressor(model: Any, table: Table, context: Context) -> Table:
    margins, width, objective = _margins(model, table, context)
    if objective in IDENTITY:
        return _result(margins, width)
    if objective in EXPONENTIAL:
        return _result(expf(margins), width)
    if objective in LOGISTIC:
        return _result(_sigmoid(margins), width)
    raise context.error(f"the objective {objective!r} is not compiled")


@shared
def _scores(model: Any, table: Table, context: Context) -> tuple[Var, int]:
    """Probabilities of the classes, or of the second of two, as float32."""
    margins, width, objective = _margins(model, table, context)
    if objective == "multi:softprob":
        return _softmax(margins), width
    if objective == "binary:logistic" and width == 1:
        return _sigmoid(margins), width
    raise context.error(f"the objective {objective!r} is not compiled")


def _probabilities(model: Any, table: Table, context: Context) -> Table:
    scores, width = _scores(model, table, context)
    if width == 1:
        scores = op.concat([op.sub(single(1.0), scores), scores], axis=1)
    return _result(scores, max(width, 2))


def _classifier(model: Any, table: Table, context: Context) -> Table:
    scores, width = _scores(model, table, context)
    if width > 1:
        return most_likely(model.classes_, scores, context)
    second = op.greater(scores, single(0.5))
    return labels(model.classes_, op.cast(second, to=np.int64), context)


for _class in ("XGBRegressor", "XGBRFRegressor"):
    register_compiler(f"xgboost.sklearn.{_class}", _regressor, method="predict")
for _class in ("XGBClassifier", "XGBRFClassifier"):
    register_compiler(f"xgboost.sklearn.{_class}", _probabilities, method="predict_proba")
    register_compiler(f"xgboost.sklearn.{_class}", _classifier, method="predict")
