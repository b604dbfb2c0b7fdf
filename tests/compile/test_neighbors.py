"""Nearest neighbours. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (KNeighborsRegressor(), "numbers", "regression"),
    (KNeighborsRegressor(), "positive", "several"),
    (KNeighborsRegressor(weights="distance"), "numbers", "regression"),
    (KNeighborsRegressor(n_neighbors=1, algorithm="ball_tree"), "numbers", "regression"),
    (KNeighborsRegressor(p=1), "numbers", "regression"),
    (KNeighborsRegressor(p=3, weights="distance"), "positive", "several"),
    (KNeighborsRegressor(metric="manhattan", algorithm="kd_tree"), "numbers", "regression"),
    (KNeighborsRegressor(algorithm="brute"), "numbers", "regression"),
    (KNeighborsRegressor(algorithm="brute", p=1, weights="distance"), "numbers", "several"),
]

#: Classifiers, proven in `predict` and `predict_proba`.
CASES_CLASSES = [
    (KNeighborsClassifier(), "numbers", "binary"),
    (KNeighborsClassifier(), "numbers", "text classes"),
    (KNeighborsClassifier(weights="distance"), "positive", "classes"),
    (KNeighborsClassifier(n_neighbors=2, p=1), "numbers", "text classes"),
    (KNeighborsClassifier(n_neighbors=4, algorithm="brute"), "numbers", "classes"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(30, 200)


def _bounded(estimator: Any) -> Any:
    """Values beyond those of training are all equally far where they are not bounded."""
    return make_pipeline(MinMaxScaler(clip=True), estimator)


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any,
    data: str,
    target: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    prove_case(_bounded(estimator), data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSES)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_classes(
    estimator: Any,
    data: str,
    target: str,
    method: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    prove_case(_bounded(estimator), data, seed=seed, rows=rows, target=target, method=method)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_unbounded_columns(
    weights: str, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 150, 0)
    model = KNeighborsRegressor(weights=weights).fit(X, target("regression", X, 0))
    assert_compiles(model, X)


def test_chebyshev_distance(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 150, 0)[["small", "skewed"]]
    model = _bounded(KNeighborsRegressor(metric="chebyshev")).fit(X, target("regression", X, 0))
    assert_compiles(model, X)


def test_more_rows_than_fit_at_once(
    table: Callable[..., Any], target: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyfunc_packaging.compile.distances.CELLS", 1000)
    X = table("numbers", 150, 0)
    assert_compiles(_bounded(KNeighborsRegressor()).fit(X, target("several", X, 0)), X)


def test_equal_rows_with_equal_targets() -> None:
    X = pd.DataFrame({"x": np.repeat([0.0, 1.1, 2.3, 3.6], 6)})
    assert_compiles(_bounded(KNeighborsRegressor()).fit(X, X["x"]), X)


def test_ties_that_matter() -> None:
    X = pd.DataFrame({"x": np.repeat([0.0, 1.1, 2.3, 3.6], 6)})
    model = _bounded(KNeighborsRegressor()).fit(X, np.arange(24))
    with pytest.raises(NotCompilable, match="kneighborsregressor: 24 of 24 training rows have"):
        build_graph(model, infer_columns(X))


def test_ties_by_rounding_are_found_by_the_proof(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 150, 0)
    model = make_pipeline(StandardScaler(), KNeighborsRegressor(1, algorithm="ball_tree"))
    model.fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match=r"beyond 2\*\*53.*differ"):
        assert_compiles(model, X)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (KNeighborsRegressor(algorithm="brute", weights="distance"), "by brute force"),
        (KNeighborsRegressor(weights=lambda d: 1 / (1 + d)), "weights by a function"),
        (KNeighborsRegressor(metric="canberra"), "metric='canberra' is not compiled"),
        (KNeighborsRegressor(metric_params={"w": [1, 2, 3, 4]}), "a metric with weights"),
    ],
)
def test_refused(
    estimator: Any, reason: str, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 60, 0)
    model = _bounded(estimator).fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match=f"kneighborsregressor: .*{reason}"):
        build_graph(model, infer_columns(X))


def test_several_classifications(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 60, 0)
    y = (target("several", X, 0) > 0).astype(int)
    model = KNeighborsClassifier(n_neighbors=1).fit(X, y)
    with pytest.raises(NotCompilable, match="several targets are not compiled"):
        build_graph(model, infer_columns(X))
