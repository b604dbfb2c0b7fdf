"""Decision trees and forests. The lists of cases are what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

from pyfunc_packaging.compile import build_graph, registry, trees
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (DecisionTreeRegressor(random_state=0), "gaps", "regression"),
    (DecisionTreeRegressor(random_state=0), "flags", "regression"),
    (DecisionTreeRegressor(criterion="poisson", max_depth=3), "gaps", "positive"),
    (DecisionTreeRegressor(criterion="absolute_error", max_depth=3), "numbers", "regression"),
    (DecisionTreeRegressor(max_leaf_nodes=5), "numbers", "several"),
    (DecisionTreeRegressor(monotonic_cst=[1, 0, -1, 0]), "numbers", "regression"),
    (ExtraTreeRegressor(random_state=0), "gaps", "regression"),
    (RandomForestRegressor(10, random_state=0), "gaps", "regression"),
    (RandomForestRegressor(10, random_state=0, max_features=0.5), "numbers", "several"),
    (RandomForestRegressor(10, criterion="poisson", bootstrap=False), "counts", "positive"),
    (ExtraTreesRegressor(10, random_state=0), "numbers", "regression"),
    (
        ExtraTreesRegressor(10, random_state=0, bootstrap=True, max_samples=0.5),
        "gaps",
        "regression",
    ),
]

#: Classifiers, whose labels and probabilities are both proven.
CASES_CLASSIFIERS = [
    (DecisionTreeClassifier(random_state=0), "gaps", "binary"),
    (DecisionTreeClassifier(max_depth=2, class_weight="balanced"), "numbers", "text classes"),
    (ExtraTreeClassifier(max_depth=3, random_state=0), "gaps", "classes"),
    (RandomForestClassifier(10, random_state=0), "gaps", "binary"),
    (RandomForestClassifier(10, max_depth=3, random_state=0), "numbers", "text classes"),
    (ExtraTreesClassifier(10, criterion="entropy", random_state=0), "counts", "text classes"),
    (ExtraTreesClassifier(10, ccp_alpha=0.02, random_state=0), "numbers", "binary"),
]


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 150))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, target: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSIFIERS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 150))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal_classifiers(
    estimator: Any,
    data: str,
    target: str,
    method: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target, method=method)


def numbers(rows: int, seed: int = 0) -> tuple[pd.DataFrame, Any]:
    random = np.random.default_rng(seed)
    X = pd.DataFrame(random.normal(size=(rows, 3)), columns=list("abc"))
    return X, X["a"] * X["b"] + random.normal(size=rows)


def test_single_leaf() -> None:
    X, _ = numbers(20)
    y = np.full(20, 1.5)
    assert_compiles(DecisionTreeRegressor().fit(X, y), X)
    assert_compiles(RandomForestRegressor(3).fit(X, y), X)


def test_one_class() -> None:
    X, _ = numbers(20)
    assert_compiles(RandomForestClassifier(3).fit(X, ["only"] * 20), X)


def test_sums_in_order_for_one_row_and_for_many() -> None:
    """Bit for bit, so that no vote is decided by rounding."""
    X, y = numbers(3000)
    model = RandomForestRegressor(300, max_leaf_nodes=20, random_state=0).fit(X[:300], y[:300])
    columns = infer_columns(X)
    session = OnnxSession(build_graph(model, columns), columns)
    values = {name: X[name].to_numpy() for name in X}
    expected = model.predict(X)
    assert np.array_equal(session.run(values)["prediction"], expected)
    for row in range(20):
        one = {name: cells[row : row + 1] for name, cells in values.items()}
        assert session.run(one)["prediction"][0] == expected[row]


def test_tied_votes() -> None:
    X, y = numbers(2000)
    labels = np.where(y > 0, "yes", "no")
    model = RandomForestClassifier(4, random_state=0).fit(X[:200], labels[:200])
    assert (model.predict_proba(X)[:, 0] == 0.5).any()
    assert_compiles(model, X)


def test_float32_columns_and_integers_beyond_float32() -> None:
    X, y = numbers(100)
    X = X.astype("float32").assign(large=np.arange(100) + 2**40)
    assert_compiles(DecisionTreeRegressor().fit(X, X["large"] + y), X)


def test_large_trees_are_refused_early(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = numbers(200)
    model = make_pipeline(RandomForestRegressor(5).fit(X, y))
    monkeypatch.setattr(registry, "MAX_BYTES", 10_000)
    with pytest.raises(NotCompilable, match=r"^Pipeline → randomforestregressor: .* MiB"):
        build_graph(model, infer_columns(X))


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_operators_for_many_nodes(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    """Sums are put together from parts only where that cannot decide a vote."""
    X, y = numbers(300)
    monkeypatch.setattr(trees, "MAX_NODES", 500)
    deep = RandomForestClassifier(8, random_state=0).fit(X, y > 0)
    flat = RandomForestClassifier(40, max_leaf_nodes=20, random_state=0).fit(X, y > 0)
    for model, expected in ((deep, False), (flat, True)):
        graph = onnx.load_from_string(build_graph(model, infer_columns(X), method=method))
        count = sum(node.op_type == "TreeEnsemble" for node in graph.graph.node)
        assert (count == 1) == expected
        assert_compiles(model, X, method=method)
    if method == "predict":
        assert_compiles(RandomForestRegressor(8).fit(X, y), X)


def test_several_outputs_of_a_classifier() -> None:
    X, y = numbers(50)
    model = RandomForestClassifier(3).fit(X, np.column_stack([y > 0, y > 1]))
    with pytest.raises(NotCompilable, match=r"RandomForestClassifier: classifies several outputs"):
        build_graph(model, infer_columns(X))
