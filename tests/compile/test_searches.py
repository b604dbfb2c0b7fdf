"""Searches and frozen estimators, which pass on to the one that they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.experimental import enable_halving_search_cv
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    RandomizedSearchCV,
)
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

assert enable_halving_search_cv  # scikit-learn wants it imported

TREE, DEPTHS = DecisionTreeRegressor(random_state=0), {"max_depth": [2, 3]}

CASES = [
    (GridSearchCV(TREE, DEPTHS, cv=2), "gaps"),
    (GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=2), "numbers"),
    (RandomizedSearchCV(TREE, DEPTHS, cv=2, n_iter=1), "gaps"),
    (HalvingGridSearchCV(TREE, DEPTHS, cv=2), "gaps"),
    (HalvingRandomSearchCV(TREE, DEPTHS, cv=2), "gaps"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(30, 150))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_classifier(method: str, prove_case: Callable[..., None]) -> None:
    search = GridSearchCV(DecisionTreeClassifier(), DEPTHS, cv=2)
    prove_case(search, "gaps", seed=0, rows=60, target="text classes", method=method)


X = pd.DataFrame({"a": [1.0, 2.0, 3.0, 5.0], "b": [3.0, 2.0, 5.0, 1.0]})


def test_frozen() -> None:
    assert_compiles(FrozenEstimator(Ridge().fit(X, X["a"])), X)


def test_search_without_an_estimator() -> None:
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 2.0]}, cv=2, refit=False).fit(X, X["a"])
    with pytest.raises(NotCompilable, match=r"^GridSearchCV: has no best_estimator_"):
        build_graph(search, infer_columns(X))
