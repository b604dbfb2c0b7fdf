"""Bagging, voting and stacking. The lists of cases are what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.neighbors import RadiusNeighborsRegressor
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pyfunc_packaging.errors import NotCompilable

FOREST = RandomForestRegressor(4, random_state=0)
TREES = RandomForestClassifier(4, random_state=0)
REGRESSORS = [("line", LinearRegression()), ("forest", FOREST), ("out", "drop")]
CLASSIFIERS = [
    ("line", LogisticRegression()),
    ("forest", TREES),
    ("tree", DecisionTreeClassifier(max_depth=2, random_state=0)),
    ("out", "drop"),
]

CASES = [
    (BaggingRegressor(n_estimators=4, random_state=0), "gaps", "regression"),
    (BaggingRegressor(n_estimators=4, random_state=0), "numbers", "several"),
    (
        BaggingRegressor(
            DecisionTreeRegressor(max_depth=3), max_features=0.5, bootstrap_features=True
        ),
        "numbers",
        "regression",
    ),
    (BaggingRegressor(Ridge(), n_estimators=3, max_features=2), "numbers", "regression"),
    (
        BaggingRegressor(HistGradientBoostingRegressor(max_iter=3), n_estimators=2),
        "gaps",
        "regression",
    ),
    (VotingRegressor(REGRESSORS), "numbers", "regression"),
    (VotingRegressor(REGRESSORS, weights=[1, 2.5, 7]), "numbers", "regression"),
    (StackingRegressor(REGRESSORS, cv=2), "numbers", "regression"),
    (
        StackingRegressor(
            REGRESSORS, GradientBoostingRegressor(n_estimators=3), cv=2, passthrough=True
        ),
        "counts",
        "regression",
    ),
]

#: Classifiers, whose labels and probabilities are both proven.
CASES_CLASSIFIERS = [
    (BaggingClassifier(n_estimators=4, max_features=0.5, random_state=0), "gaps", "binary"),
    (
        BaggingClassifier(DecisionTreeClassifier(max_depth=3), n_estimators=4, max_samples=3),
        "numbers",
        "text classes",
    ),
    (
        BaggingClassifier(LogisticRegression(), n_estimators=3, max_samples=0.6),
        "numbers",
        "text classes",
    ),
    (BaggingClassifier(LinearSVC(), n_estimators=3), "numbers", "text classes"),
    (VotingClassifier(CLASSIFIERS, voting="soft"), "numbers", "text classes"),
    (VotingClassifier(CLASSIFIERS, voting="soft", weights=[3, 1, 0.5, 9]), "numbers", "binary"),
    (StackingClassifier(CLASSIFIERS, cv=2), "numbers", "binary"),
    (StackingClassifier(CLASSIFIERS, TREES, cv=2, passthrough=True), "counts", "text classes"),
    (StackingClassifier(CLASSIFIERS, cv=2, stack_method="predict"), "numbers", "text classes"),
    (
        StackingClassifier(
            [("line", LogisticRegression()), ("trees", GradientBoostingClassifier(n_estimators=2))],
            cv=2,
            stack_method="decision_function",
        ),
        "numbers",
        "text classes",
    ),
]

#: Classifiers that have labels only.
CASES_LABELS = [
    (VotingClassifier(CLASSIFIERS), "numbers", "binary"),
    (VotingClassifier(CLASSIFIERS), "numbers", "text classes"),
    (VotingClassifier(CLASSIFIERS, weights=[0.1, 0.2, 0.3, 5]), "counts", "text classes"),
]


@pytest.mark.parametrize(("estimator", "data", "target"), CASES + CASES_LABELS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(20, 100))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, target: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSIFIERS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(40, 100))
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


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (BaggingClassifier(LogisticRegression(), n_estimators=3), "text classes"),
        (StackingClassifier(CLASSIFIERS, cv=2), "binary"),
    ],
)
def test_scores(estimator: Any, target: str, prove_case: Callable[..., None]) -> None:
    prove_case(estimator, "numbers", seed=0, rows=60, target=target, method="decision_function")


def test_names_the_member_that_cannot_be_compiled(prove_case: Callable[..., None]) -> None:
    members = [("line", Ridge()), ("odd", RadiusNeighborsRegressor(radius=1e9))]
    with pytest.raises(NotCompilable, match=r"^VotingRegressor → odd: "):
        prove_case(VotingRegressor(members), "numbers", seed=0, rows=30)


def test_negative_votes(prove_case: Callable[..., None]) -> None:
    voting = VotingClassifier(CLASSIFIERS, weights=[1, -1, 1, 1])
    with pytest.raises(NotCompilable, match=r"VotingClassifier: a vote has a negative weight"):
        prove_case(voting, "numbers", seed=0, rows=60, target="text classes")
