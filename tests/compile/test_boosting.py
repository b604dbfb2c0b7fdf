"""Boosted trees and AdaBoost. The lists of cases are what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    AdaBoostClassifier,
    AdaBoostRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.testing import assert_compiles

GB, GBC = GradientBoostingRegressor, GradientBoostingClassifier
HGB, HGBC = HistGradientBoostingRegressor, HistGradientBoostingClassifier

CASES = [
    (GB(n_estimators=8), "numbers", "regression"),
    (GB(n_estimators=8, loss="absolute_error"), "numbers", "regression"),
    (GB(n_estimators=8, loss="huber", alpha=0.8), "counts", "regression"),
    (GB(n_estimators=8, loss="quantile", alpha=0.3), "numbers", "regression"),
    (GB(n_estimators=8, init="zero", learning_rate=0.3, subsample=0.7), "numbers", "regression"),
    (GB(n_estimators=8, init=DecisionTreeRegressor(max_depth=2)), "numbers", "regression"),
    (HGB(max_iter=8), "gaps", "regression"),
    (HGB(max_iter=8, loss="absolute_error"), "numbers", "regression"),
    (HGB(max_iter=8, loss="gamma", learning_rate=0.3), "gaps", "positive"),
    (HGB(max_iter=8, loss="poisson"), "flags", "positive"),
    (HGB(max_iter=8, loss="quantile", quantile=0.3), "gaps", "regression"),
    (HGB(max_iter=8, max_depth=2, monotonic_cst=[1, 0, 0, -1]), "numbers", "regression"),
    (HGB(max_iter=8, min_samples_leaf=2), "categories", "regression"),
    (HGB(max_iter=8, min_samples_leaf=2, categorical_features=[0, 1]), "counts", "regression"),
    (
        HGB(max_iter=8, min_samples_leaf=2, categorical_features=["code", "place", "letter"]),
        "mixed",
        "regression",
    ),
    (
        HGB(max_iter=8, min_samples_leaf=2, categorical_features=[False] * 6 + [True] * 2),
        "mixed",
        "regression",
    ),
    (AdaBoostRegressor(n_estimators=10), "numbers", "regression"),
    (AdaBoostRegressor(n_estimators=2, loss="square"), "counts", "regression"),
    (AdaBoostRegressor(n_estimators=10, loss="exponential"), "counts", "regression"),
    (AdaBoostRegressor(DecisionTreeRegressor(), n_estimators=10), "numbers", "regression"),
    (AdaBoostRegressor(LinearRegression(), n_estimators=5), "numbers", "regression"),
]

#: Classifiers, whose labels, probabilities and scores are all proven.
CASES_CLASSIFIERS = [
    (GBC(n_estimators=5), "numbers", "binary"),
    (GBC(n_estimators=5), "counts", "text classes"),
    (GBC(n_estimators=5, init="zero"), "numbers", "classes"),
    (GBC(n_estimators=5, loss="exponential"), "numbers", "binary"),
    (GBC(n_estimators=5, init=RandomForestClassifier(3, max_depth=2)), "numbers", "text classes"),
    (HGBC(max_iter=5), "gaps", "binary"),
    (HGBC(max_iter=5, min_samples_leaf=2), "categories", "text classes"),
    (
        HGBC(max_iter=5, min_samples_leaf=2, categorical_features=["letter", "place"]),
        "mixed",
        "binary",
    ),
    (AdaBoostClassifier(n_estimators=10), "numbers", "binary"),
    (AdaBoostClassifier(DecisionTreeClassifier(max_depth=2)), "counts", "text classes"),
    (AdaBoostClassifier(LogisticRegression(), n_estimators=3), "numbers", "text classes"),
]


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 150))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, target: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "decision_function"])
@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSIFIERS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(20, 150))
@settings(max_examples=2, deadline=None, derandomize=True)
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


def test_start_from_an_estimator_that_computes_in_float32(prove_case: Callable[..., None]) -> None:
    """Gradient boosting gives float32 to the estimator it starts from, and a linear one stays in
    it: the graph, in float64, is not equal."""
    with pytest.raises(NotCompilable, match="differ by more than 1e-09"):
        prove_case(GB(n_estimators=3, init=LinearRegression()), "numbers", seed=0, rows=50)


def test_equal_weights_at_the_median() -> None:
    """Two trees of equal weight: half of the weights is reached exactly."""
    random = np.random.default_rng(0)
    X = pd.DataFrame({"a": random.normal(size=50), "b": random.normal(size=50)})
    model = AdaBoostRegressor(n_estimators=2, random_state=0).fit(X, X["a"] + X["b"])
    model.estimator_weights_ = np.ones(len(model.estimators_))
    assert_compiles(model, X)
