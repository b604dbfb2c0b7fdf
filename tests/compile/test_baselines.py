"""Baselines. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import make_pipeline

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns

CASES = [
    (DummyRegressor(), "numbers", "regression"),
    (DummyRegressor(), "mixed", "several"),
    (DummyRegressor(strategy="median"), "texts", "regression"),
    (DummyRegressor(strategy="quantile", quantile=0.3), "gaps", "regression"),
    (DummyRegressor(strategy="constant", constant=3), "flags", "regression"),
]

#: Classifiers, proven in `predict` and `predict_proba`.
CASES_CLASSES = [
    (DummyClassifier(), "numbers", "binary"),
    (DummyClassifier(), "mixed", "text classes"),
    (DummyClassifier(strategy="most_frequent"), "text gaps", "classes"),
    (DummyClassifier(strategy="constant", constant="low"), "counts", "text classes"),
    (DummyClassifier(strategy="constant", constant=2), "counts", "classes"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(10, 100)


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
    prove_case(estimator, data, seed=seed, rows=rows, target=target)


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
    prove_case(estimator, data, seed=seed, rows=rows, target=target, method=method)


@pytest.mark.parametrize("strategy", ["stratified", "uniform"])
def test_chance(strategy: str, table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 30, 0)
    model = make_pipeline(DummyClassifier(strategy=strategy, random_state=0))
    model.fit(X, target("binary", X, 0))
    with pytest.raises(NotCompilable, match=f"dummyclassifier: strategy='{strategy}'.*random"):
        build_graph(model, infer_columns(X))
