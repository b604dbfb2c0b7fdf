"""Classifiers with a decision threshold of their own. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pyfunc_packaging.testing import assert_compiles

LOGISTIC = LogisticRegression()
FOREST = RandomForestClassifier(n_estimators=5, random_state=0)

#: Estimator and table; each is proven in every method that it has.
CASES = [
    (FixedThresholdClassifier(LOGISTIC), "numbers"),
    (FixedThresholdClassifier(FOREST), "counts"),
    (FixedThresholdClassifier(LOGISTIC, threshold=0.05), "numbers"),
    (FixedThresholdClassifier(FOREST, threshold=0.2, pos_label=0), "numbers"),
    (FixedThresholdClassifier(LOGISTIC, response_method="decision_function"), "numbers"),
    (
        FixedThresholdClassifier(
            LOGISTIC, response_method="decision_function", pos_label=0, threshold=0.7
        ),
        "numbers",
    ),
    (FixedThresholdClassifier(RidgeClassifier(), threshold=-0.2), "numbers"),
    (TunedThresholdClassifierCV(LOGISTIC, cv=2), "numbers"),
    (TunedThresholdClassifierCV(FOREST, scoring="f1", cv=2), "counts"),
    (TunedThresholdClassifierCV(RidgeClassifier(), cv=2), "numbers"),
]
METHODS = ("predict", "predict_proba", "decision_function")


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(60, 150))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    model = make_pipeline(StandardScaler(), estimator)
    for method in METHODS:
        if hasattr(estimator, method):
            prove_case(model, data, seed=seed, rows=rows, target="binary", method=method)


def test_labels_beside_probabilities(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 100, 0)
    y = np.array(["no", "yes"])[target("binary", X, 0)]
    scaled = make_pipeline(StandardScaler(), LOGISTIC).fit(X, y)
    model = FixedThresholdClassifier(FrozenEstimator(scaled), threshold=0.9, pos_label="no")
    model.fit(X, y)
    assert_compiles(model, X, method=("predict", "predict_proba"))
    no = model.predict_proba(X)[:, 0]
    assert model.predict(X).tolist() == np.where(no >= 0.9, "no", "yes").tolist()
    assert (no < 0.9).sum() - (no < 0.5).sum() > 0  # the threshold matters


def test_an_estimator_that_was_fitted_before(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 80, 0)
    inner = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, target("binary", X, 0))
    model = FixedThresholdClassifier(inner, threshold=0.3)
    assert not hasattr(model, "estimator_")
    assert_compiles(model, X, method=("predict", "predict_proba"))
