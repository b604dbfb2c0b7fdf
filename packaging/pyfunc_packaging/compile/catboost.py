"""Compile CatBoost, which compares in float32 and sums in float64."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.probabilities import complement, expit, softmax
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble

IDENTITY = {
    "Expectile",
    "Huber",
    "LogCosh",
    "LogLinQuantile",
    "Lq",
    "MAE",
    "MAPE",
    "MultiQuantile",
    "MultiRMSE",
    "Quantile",
    "RMSE",
}
EXPONENTIAL = {"Poisson", "Tweedie"}
#: Losses of two classes, in which the score is of the second one.
BINARY = {"CrossEntropy", "Logloss"}


@shared
def _raw(model: Any, table: Table, context: Context) -> tuple[Table, str]:
    """Sums of the trees, and the name of the loss."""
    for kind in ("categorical", "text", "embedding"):
        short = "cat" if kind == "categorical" else kind
        if getattr(model, f"get_{short}_feature_indices")():
            raise context.error(f"{kind} features are not compiled, only numbers are")
    forest = _exported(model)
    scale, bias = forest["scale_and_bias"]
    missing_left = np.array(
        [
            feature["nan_value_treatment"] != "AsTrue"
            for feature in forest["features_info"]["float_features"]
        ]
    )
    trees = []
    for tree in forest.get("oblivious_trees", ()):
        trees += _oblivious(tree, missing_left, targets=len(bias))
    for tree in forest.get("trees", ()):
        trees += _branching(tree, missing_left, targets=len(bias))
    x = op.cast(op.cast(table.x, to=np.float32), to=np.float64)
    trees = trees or [Tree.constant(0.0)]
    total = tree_ensemble(x, trees, targets=len(bias), nan=table.nan, context=context)
    if scale != 1.0:
        total = op.mul(total, const(scale))
    return Table.of(op.add(total, const(bias)), len(bias), inf=False), _loss(model)


def _exported(model: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return json.loads(path.read_text(encoding="utf-8"))


def _loss(model: Any) -> str:
    """The loss without its parameters, such as ``Quantile`` for ``Quantile:alpha=0.3``."""
    return str(model.get_all_params()["loss_function"]).split(":")[0]


def _oblivious(
    tree: Mapping[str, Any], missing_left: npt.NDArray[np.bool_], *, targets: int
) -> list[Tree]:
    """A tree that asks one question a level; a leaf's number has one bit for each answer."""
    splits = tree["splits"][::-1]  # the first answer is the lowest bit
    inner = 2 ** len(splits) - 1
    repeats = 2 ** np.arange(len(splits))
    number = np.arange(2 * inner + 1)
    feature = np.zeros(len(number), dtype=np.int64)
    threshold = np.zeros(len(number))
    feature[:inner] = np.repeat([split["float_feature_index"] for split in splits], repeats)
    threshold[:inner] = np.repeat([split["border"] for split in splits], repeats)
    leaves = np.reshape(tree["leaf_values"], (-1, targets))
    known = tree.get("leaf_weights", ())  # not of every imported model
    rows = [np.array(known if len(known) == inner + 1 else np.zeros(inner + 1), np.float64)]
    while len(rows[0]) > 1:
        rows.insert(0, rows[0].reshape(-1, 2).sum(axis=1))
    return [
        Tree(
            left=np.where(number < inner, 2 * number + 1, -1),
            right=np.where(number < inner, 2 * number + 2, -1),
            feature=feature,
            threshold=threshold,
            missing_left=missing_left[feature],
            value=np.concatenate([np.zeros(inner), leaves[:, target]]),
            target=target,
            rows=np.concatenate(rows),
        )
        for target in range(targets)
    ]


def _branching(
    root: Mapping[str, Any], missing_left: npt.NDArray[np.bool_], *, targets: int
) -> list[Tree]:
    """A tree of ``grow_policy="Depthwise"`` or ``"Lossguide"``."""
    nodes = [root]
    left, right, feature, threshold, values = [], [], [], [], []
    for node in nodes:  # which grows on the way
        split = node.get("split", {"float_feature_index": 0, "border": 0.0})
        feature.append(split["float_feature_index"])
        threshold.append(split["border"])
        inner = "split" in node
        left.append(len(nodes) if inner else -1)
        right.append(len(nodes) + 1 if inner else -1)
        values.append(np.zeros(targets) if inner else np.ravel(node["value"]))
        if inner:
            nodes += [node["left"], node["right"]]
    rows = np.array([node.get("weight", 0.0) for node in nodes])
    for position in range(len(nodes) - 1, -1, -1):
        if left[position] >= 0:
            rows[position] = rows[left[position]] + rows[right[position]]
    return [
        Tree(
            left=np.array(left),
            right=np.array(right),
            feature=np.array(feature),
            threshold=np.array(threshold),
            missing_left=missing_left[feature],
            value=np.array(values)[:, target],
            target=target,
            rows=rows,
        )
        for target in range(targets)
    ]


def _regressor(model: Any, table: Table, context: Context) -> Table:
    raw, loss = _raw(model, table, context)
    if loss in IDENTITY:
        return raw
    if loss in EXPONENTIAL:
        return Table.of(op.exp(raw.x), raw.width)
    raise context.error(f"the loss {loss} is not compiled")


def _probabilities(model: Any, table: Table, context: Context) -> Table:
    raw, loss = _raw(model, table, context)
    if loss in BINARY:
        return Table.of(complement(expit(raw.x)), 2, inf=False)
    if loss == "MultiClass":
        return Table.of(softmax(raw.x), raw.width, inf=False)
    if loss == "MultiClassOneVsAll":
        return Table.of(expit(raw.x), raw.width, inf=False)
    raise context.error(f"the loss {loss} is not compiled")


def _classifier(model: Any, table: Table, context: Context) -> Table:
    raw, loss = _raw(model, table, context)
    if loss in BINARY:
        second = op.greater(raw.x, _border(model))
        return labels(model.classes_, op.cast(second, to=np.int64), context)
    if loss in ("MultiClass", "MultiClassOneVsAll"):
        return most_likely(model.classes_, raw.x, context)
    raise context.error(f"the loss {loss} is not compiled")


def _border(model: Any) -> Var:
    """The score beyond which the second class is chosen, from its probability."""
    probability = model.get_probability_threshold()
    with np.errstate(divide="ignore"):
        return const(-np.log(1.0 / np.float64(probability) - 1.0))


register_compiler("catboost.core.CatBoostRegressor", _regressor, method="predict")
register_compiler("catboost.core.CatBoostClassifier", _probabilities, method="predict_proba")
register_compiler("catboost.core.CatBoostClassifier", _classifier, method="predict")
