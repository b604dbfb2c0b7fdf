"""Compile LightGBM, which computes in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.encoding import position_of
from pyfunc_packaging.compile.labels import most_likely
from pyfunc_packaging.compile.memberships import Memberships
from pyfunc_packaging.compile.probabilities import complement, expit, softmax
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Block, Table
from pyfunc_packaging.compile.trees import Tree, tree_ensemble
from pyfunc_packaging.errors import NotCompilable

#: Numbers so small are zero to LightGBM (`kZeroThreshold`, a float32).
ZERO = float(np.float32(1e-35))
#: What it writes for an infinite threshold, which parts missing values from all others.
INFINITE = 1e300

IDENTITY = {"regression", "regression_l1", "huber", "fair", "quantile", "mape", "lambdarank"}
EXPONENTIAL = {"poisson", "gamma", "tweedie"}


def _raw(model: Any, table: Table, context: Context) -> tuple[Table, list[str]]:
    """Sums of the trees, and the words that describe the objective."""
    booster = model.booster_
    dump = booster.dump_model()
    table = _coded(booster.pandas_categorical or [], table, context)
    members = Memberships(table.width)
    targets = int(dump["num_tree_per_iteration"])
    zeros: dict[int, bool] = {}
    trees = [
        _tree(info["tree_structure"], number % targets, members, zeros, context)
        for number, info in enumerate(dump["tree_info"])
    ]
    x = members.beside(_without_zeros(table.x, zeros, table.width))
    nan = table.nan or any(zeros.values())
    total = tree_ensemble(x, trees, targets=targets, nan=nan, context=context)
    if dump["average_output"]:
        total = op.div(total, const(float(len(trees) // targets)))
    return Table.of(total, targets, inf=False), dump.get("objective", "").split()


def _coded(categories: list[list[Any]], table: Table, context: Context) -> Table:
    """The table with codes in place of pandas' categories."""
    columns = table.columns()
    texts = [position for position, block in enumerate(columns) if block.kind == "text"]
    if len(texts) != len(categories):
        raise context.error("has categories that are no text")
    for position, known in zip(texts, categories, strict=True):
        found = position_of(columns[position], known, context)
        codes = const([*range(len(known)), np.nan, np.nan])
        columns[position] = Block(op.gather(codes, found, axis=0), 1, inf=False)
    return Table(tuple(columns)) if texts else table


def _without_zeros(x: Var, zeros: Mapping[int, bool], width: int) -> Var:
    """NaN for zeros, in columns where zero is what is missing."""
    if not any(zeros.values()):
        return x
    limits = np.full(width, -1.0)
    limits[[feature for feature, missing in zeros.items() if missing]] = ZERO
    return op.where(op.less_or_equal(op.abs(x), const(limits)), const(np.nan), x)


def _tree(
    root: Mapping[str, Any],
    target: int,
    members: Memberships,
    zeros: dict[int, bool],
    context: Context,
) -> Tree:
    nodes = _numbered(root)
    count = len(nodes)
    left, right = np.full(count, -1), np.full(count, -1)
    feature, threshold = np.zeros(count, dtype=np.int64), np.zeros(count)
    missing_left, value = np.zeros(count, dtype=bool), np.zeros(count)
    rows = np.zeros(count)
    number = {id(node): position for position, node in enumerate(nodes)}
    for position, node in enumerate(nodes):
        if "split_feature" not in node:
            if "leaf_coeff" in node:
                raise context.error("linear_tree=True is not compiled")
            value[position] = node["leaf_value"]
            rows[position] = node.get("leaf_count", 0)
            continue
        rows[position] = node["internal_count"]
        left[position] = number[id(node["left_child"])]
        right[position] = number[id(node["right_child"])]
        feature[position] = node["split_feature"]
        if node["decision_type"] == "==":
            codes = [int(code) for code in str(node["threshold"]).split("||")]
            feature[position] = members.column(node["split_feature"], codes, missing_left=False)
            threshold[position] = 0.5
            continue
        threshold[position] = limit = _limit(float(node["threshold"]))
        missing = node["missing_type"]
        if zeros.setdefault(node["split_feature"], missing == "Zero") != (missing == "Zero"):
            raise context.error("zero is missing in some splits of a feature only")
        # where nothing was missing in training, a missing value counts as zero
        missing_left[position] = limit >= 0.0 if missing == "None" else node["default_left"]
    return Tree(left, right, feature, threshold, missing_left, value, target, rows)


def _numbered(root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    nodes, open_nodes = [], [root]
    while open_nodes:
        node = open_nodes.pop()
        nodes.append(node)
        if "split_feature" in node:
            open_nodes += [node["right_child"], node["left_child"]]
    return nodes


def _limit(threshold: float) -> float:
    """The threshold for numbers of which the smallest have not been made zero."""
    if threshold >= INFINITE:
        return np.inf
    if not -ZERO <= threshold <= ZERO:
        return threshold
    return float(np.nextafter(-ZERO, -1.0)) if threshold < 0.0 else ZERO


def _regressor(model: Any, table: Table, context: Context) -> Table:
    raw, objective = _raw(model, table, context)
    name = objective[0] if objective else ""
    if name in IDENTITY and "sqrt" in objective:
        return Table.of(op.mul(op.sign(raw.x), op.mul(raw.x, raw.x)), raw.width)
    if name in IDENTITY:
        return raw
    if name in EXPONENTIAL:
        return Table.of(op.exp(raw.x), raw.width)
    if name == "cross_entropy":
        return Table.of(expit(raw.x), raw.width)
    raise _unknown(objective, context)


@shared
def _probabilities(model: Any, table: Table, context: Context) -> Table:
    raw, objective = _raw(model, table, context)
    name = objective[0] if objective else ""
    slope = next((float(word[8:]) for word in objective if word.startswith("sigmoid:")), 1.0)
    scores = raw.x if slope == 1.0 else op.mul(const(slope), raw.x)
    if name == "binary":
        return Table.of(complement(expit(scores)), 2, inf=False)
    if name == "multiclass":
        return Table.of(softmax(raw.x), raw.width, inf=False)
    if name == "multiclassova":
        return Table.of(expit(scores), raw.width, inf=False)
    raise _unknown(objective, context)


def _unknown(objective: list[str], context: Context) -> NotCompilable:
    name = repr(" ".join(objective)) if objective else "of your own"
    return context.error(f"the objective {name} is not compiled")


def _classifier(model: Any, table: Table, context: Context) -> Table:
    return most_likely(model.classes_, _probabilities(model, table, context).x, context)


register_compiler("lightgbm.sklearn.LGBMRegressor", _regressor, method="predict")
register_compiler("lightgbm.sklearn.LGBMClassifier", _probabilities, method="predict_proba")
register_compiler("lightgbm.sklearn.LGBMClassifier", _classifier, method="predict")
