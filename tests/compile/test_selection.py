"""Selectors of features. CASES is what docs/compilation.md lists."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    SequentialFeatureSelector,
    VarianceThreshold,
    f_regression,
)
from sklearn.linear_model import Lasso, LinearRegression
from sklearn.pipeline import make_pipeline

from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (VarianceThreshold(), "gaps"),
    (VarianceThreshold(threshold=2.0), "numbers"),
    (SelectKBest(f_regression, k=2), "numbers"),
    (SelectPercentile(f_regression, percentile=50), "numbers"),
    (SelectFpr(f_regression, alpha=0.99), "numbers"),
    (SelectFdr(f_regression, alpha=0.99), "numbers"),
    (SelectFwe(f_regression, alpha=0.99), "numbers"),
    (GenericUnivariateSelect(f_regression, mode="k_best", param=1), "positive"),
    (SelectFromModel(LinearRegression()), "numbers"),
    (SelectFromModel(Lasso(alpha=1e-3), threshold=-1.0, max_features=2), "numbers"),
    (RFE(LinearRegression(), n_features_to_select=2), "numbers"),
    (RFECV(LinearRegression(), cv=3), "numbers"),
    (SequentialFeatureSelector(LinearRegression(), n_features_to_select=1, cv=3), "numbers"),
]


def _name(case: Any) -> str:
    """The same in every run, without the addresses of functions."""
    return re.sub(r" at 0x\w+", "", str(case))


@pytest.mark.parametrize(("estimator", "data"), CASES, ids=_name)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(20, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_before_a_model(output: str, prove_case: Callable[..., None]) -> None:
    selector = SelectKBest(f_regression, k=2).set_output(transform=output)
    prove_case(make_pipeline(selector, LinearRegression()), "counts", seed=1, rows=60)


def test_no_column_is_left(table: Callable[..., Any]) -> None:
    X = table("numbers", 40, 1)
    selector = SelectKBest(f_regression, k=0).fit(X, X["small"])
    with pytest.raises(NotCompilable, match="SelectKBest: no column is left"):
        assert_compiles(selector, X, method="transform")


def test_what_is_not_covered(table: Callable[..., Any]) -> None:
    # scikit-learn passes over None in the column that is not selected
    X = table("flags", 60, 1)
    selector = SelectKBest(f_regression, k=1)
    model = make_pipeline(selector, LinearRegression()).fit(X, X["rooms"])
    with pytest.raises(
        NotCompilable, match=r"selectkbest: a missing value is None among the booleans of 'flag'"
    ):
        assert_compiles(model, X)
