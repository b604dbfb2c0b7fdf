"""Turned nodes: a tree that keeps its likely branches together decides as it did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.ensemble import (
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from spox import Tensor, argument, build

from pyfunc_packaging.compile import build_graph, trees
from pyfunc_packaging.compile.tree_nodes import BRANCH_LEQ, BRANCH_LT, TreeNodes
from pyfunc_packaging.compile.trees import Tree, tree_ensemble
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.session import OnnxSession

WIDTH = 2


def grow(threshold: Any, missing_left: Any, rows: Any) -> Tree:
    """A tree of three inner nodes, over two features, with four leaves."""
    return Tree(
        left=np.array([1, 3, 5, -1, -1, -1, -1]),
        right=np.array([2, 4, 6, -1, -1, -1, -1]),
        feature=np.array([0, 1, 0, 0, 0, 0, 0]),
        threshold=np.array([*threshold, 0.0, 0.0, 0.0, 0.0]),
        missing_left=np.array([*missing_left, False, False, False, False]),
        value=np.array([0.0, 0.0, 0.0, 1.0, 20.0, 300.0, 4000.0]),
        rows=np.array(rows),
    )


def follow(tree: Tree, row: Any, mode: int) -> float:
    """What a tree says of a row, as `Tree` says it."""
    node = 0
    while tree.left[node] >= 0:
        cell, limit = row[tree.feature[node]], row.dtype.type(tree.threshold[node])
        if np.isnan(cell):
            left = tree.missing_left[node]
        else:
            left = cell <= limit if mode == BRANCH_LEQ else cell < limit
        node = (tree.left if left else tree.right)[node]
    return float(tree.value[node])


def run(tree: Tree, cells: Any, mode: int) -> Any:
    x = argument(Tensor(cells.dtype, ("n", WIDTH)))
    model = build({"x": x}, {"y": tree_ensemble(x, [tree], mode=mode)})
    session = onnxruntime.InferenceSession(model.SerializeToString())
    operators = [node.op_type for node in model.graph.node]
    return session.run(None, {"x": cells})[0][:, 0], operators


#: What is next to each other, on both sides of zero and at the ends.
EDGES = [
    0.0,
    -0.0,
    5e-324,
    -5e-324,
    1e-45,
    1.0,
    np.nextafter(1.0, 2.0),
    -1.0,
    1.7976931348623157e308,
]
EDGES += [-EDGES[-1], np.inf, -np.inf, 3.4028234663852886e38, -3.4028234663852886e38]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("mode", [BRANCH_LEQ, BRANCH_LT])
@given(
    threshold=st.lists(st.sampled_from(EDGES) | st.floats(allow_nan=False), min_size=3, max_size=3),
    missing_left=st.lists(st.booleans(), min_size=3, max_size=3),
    rows=st.permutations(range(7)),
    cells=arrays.arrays(
        np.float64, (8, WIDTH), elements=st.sampled_from([*EDGES, np.nan]) | st.floats()
    ),
)
@example([0.0, -0.0, np.inf], [True, False, True], [6, 5, 0, 4, 1, 3, 2], np.full((8, 2), np.inf))
@settings(max_examples=60, deadline=None)
def test_decides_alike(
    mode: int, dtype: Any, threshold: Any, missing_left: Any, rows: Any, cells: Any
) -> None:
    with np.errstate(over="ignore", under="ignore"):
        # at the thresholds, and beside them
        limits = np.array(threshold).astype(dtype)
        tree = grow(limits, missing_left, rows)
        cells = np.concatenate([cells.astype(dtype), np.repeat(limits, WIDTH).reshape(-1, WIDTH)])
        cells = np.concatenate([cells, np.nextafter(cells, dtype(np.inf))])
        expected = [follow(tree, row, mode) for row in cells]
        turned = TreeNodes.of(tree).likely_right(mode, WIDTH, dtype)
    usual = np.isfinite(turned.threshold) & (np.abs(turned.threshold) >= np.finfo(dtype).tiny)
    assert not (turned.likely_left & usual).any()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trees, "MANY_NODES", 0)
        found, operators = run(tree, cells, mode)
    assert found.tolist() == expected
    assert ("Neg" in operators) == (turned.feature >= WIDTH).any()


def test_nothing_is_turned_without_need() -> None:
    tree = grow([1.0, 2.0, 3.0], [False] * 3, range(7))  # more rows on the right, everywhere
    nodes = TreeNodes.of(tree)
    assert nodes.likely_right(BRANCH_LEQ, WIDTH, np.float64) is nodes
    unknown = TreeNodes.of(replace(tree, rows=None))
    assert unknown.likely_right(BRANCH_LEQ, WIDTH, np.float64) is unknown


def test_few_nodes_are_not_worth_more_features() -> None:
    tree = grow([1.0, 2.0, 3.0], [False] * 3, range(7, 0, -1))
    assert "Neg" not in run(tree, np.zeros((1, WIDTH)), BRANCH_LEQ)[1]


@pytest.mark.parametrize(
    "model",
    [
        RandomForestRegressor(20, random_state=0),
        RandomForestClassifier(20, random_state=0),
        HistGradientBoostingRegressor(max_iter=40),
        GradientBoostingRegressor(n_estimators=100, random_state=0),
    ],
)
def test_same_bits(model: Any, table: Callable[..., Any], target: Callable[..., Any]) -> None:
    """Predictions are those of the trees as they came, to the last bit."""
    X = table("gaps" if "Hist" in type(model).__name__ else "numbers", 500, 0)
    y = target("regression", X, 0)
    model.fit(X, y > 0 if "Classifier" in type(model).__name__ else y)
    columns = [
        replace(column, nullable=bool(X.isna().any(axis=None))) for column in infer_columns(X)
    ]
    values = {name: X[name].to_numpy() for name in X}
    found = []
    for many in (1, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trees, "MANY_NODES", many)
            graph = build_graph(model, columns)
        assert (b"Neg" in graph) == (many == 1)
        found.append(OnnxSession(graph, columns).run(values)["prediction"])
    assert np.array_equal(*found)
    assert np.array_equal(found[0], model.predict(X))


@pytest.mark.parametrize(
    "model",
    [
        RandomForestClassifier(20, random_state=0),
        RandomForestRegressor(20, random_state=0),
        HistGradientBoostingClassifier(max_iter=30),
    ],
)
def test_same_bits_with_an_operator_for_each_target(
    model: Any, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 500, 0)
    several = "several" if isinstance(model, RandomForestRegressor) else "text classes"
    model.fit(X, target(several, X, 0))
    columns = infer_columns(X)
    values = {name: X[name].to_numpy() for name in X}
    method = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    found, counts = [], []
    for enough in (0, 10**9):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trees, "TARGET_NODES", enough)
            graph = build_graph(model, columns, method=method)
        operators = [node.op_type for node in onnx.load_from_string(graph).graph.node]
        counts.append(operators.count("TreeEnsemble"))
        found.append(OnnxSession(graph, columns).run(values)["prediction"])
    assert counts == [3, 1]
    assert np.array_equal(*found)
