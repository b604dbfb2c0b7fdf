"""Linear regressors. CASES is what docs/compilation.md lists."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model
from sklearn.cross_decomposition import PLSRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVR

from pyfunc_packaging.compile.linear import DEPRECATED, REGRESSORS
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (linear_model.ARDRegression(), "numbers"),
    (linear_model.BayesianRidge(), "numbers"),
    (linear_model.ElasticNet(alpha=0.1), "numbers"),
    (linear_model.ElasticNetCV(cv=2, alphas=[0.01, 0.1]), "numbers"),
    (linear_model.HuberRegressor(), "numbers"),
    (linear_model.Lars(), "numbers"),
    (linear_model.LarsCV(cv=2), "numbers"),
    (linear_model.Lasso(alpha=0.1), "numbers"),
    (linear_model.LassoCV(cv=2, alphas=[0.01, 0.1]), "numbers"),
    (linear_model.LassoLars(alpha=0.01), "numbers"),
    (linear_model.LassoLarsCV(cv=2), "numbers"),
    (linear_model.LassoLarsIC(), "numbers"),
    (linear_model.LinearRegression(), "numbers"),
    (linear_model.LinearRegression(fit_intercept=False), "counts"),
    (linear_model.LinearRegression(positive=True), "flags"),
    (linear_model.OrthogonalMatchingPursuit(), "numbers"),
    (linear_model.OrthogonalMatchingPursuitCV(cv=2), "numbers"),
    (linear_model.QuantileRegressor(quantile=0.3, alpha=0.01), "numbers"),
    (linear_model.RANSACRegressor(random_state=0, min_samples=6), "numbers"),
    (linear_model.Ridge(), "numbers"),
    (linear_model.Ridge(fit_intercept=False), "flags"),
    (linear_model.RidgeCV(), "numbers"),
    (linear_model.SGDRegressor(random_state=0), "numbers"),
    (linear_model.SGDRegressor(loss="huber", penalty="l1", random_state=0), "numbers"),
    (linear_model.TheilSenRegressor(max_subpopulation=50, random_state=0), "numbers"),
    (linear_model.TweedieRegressor(power=0), "numbers"),
    (LinearSVR(random_state=0), "numbers"),
    (PLSRegression(n_components=2), "numbers"),
]

#: Generalised linear models, whose targets are positive.
CASES_POSITIVE = [
    (linear_model.GammaRegressor(), "numbers"),
    (linear_model.PoissonRegressor(), "numbers"),
    (linear_model.PoissonRegressor(fit_intercept=False), "flags"),
    (linear_model.TweedieRegressor(power=0, link="log"), "numbers"),
    (linear_model.TweedieRegressor(power=1.5), "numbers"),
    (linear_model.TweedieRegressor(power=3), "counts"),
]

#: Models of several targets at once.
CASES_SEVERAL = [
    (linear_model.LinearRegression(), "numbers"),
    (linear_model.Lasso(alpha=0.1), "numbers"),
    (linear_model.MultiTaskElasticNet(), "numbers"),
    (linear_model.MultiTaskElasticNetCV(cv=2, alphas=[0.01, 0.1]), "numbers"),
    (linear_model.MultiTaskLasso(), "numbers"),
    (linear_model.MultiTaskLassoCV(cv=2, alphas=[0.01, 0.1]), "numbers"),
    (linear_model.RANSACRegressor(random_state=0, min_samples=6), "numbers"),
    (linear_model.Ridge(fit_intercept=False), "counts"),
    (linear_model.RidgeCV(), "numbers"),
    (PLSRegression(n_components=1), "numbers"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(30, 150)


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    # unscaled columns are no trouble for the graph, but for some of the solvers
    prove_case(make_pipeline(StandardScaler(), estimator), data, seed=seed, rows=rows)


@pytest.mark.parametrize(("estimator", "data"), CASES_POSITIVE)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_positive(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target="positive")


@pytest.mark.parametrize(("estimator", "data"), CASES_SEVERAL)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_several_targets(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target="several")


def test_every_class_has_a_case() -> None:
    tried = {type(case[0]) for case in [*CASES, *CASES_SEVERAL]}
    assert set(REGRESSORS) <= tried


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
@pytest.mark.parametrize("name", [DEPRECATED] if hasattr(linear_model, DEPRECATED) else [])
def test_deprecated(name: str, prove_case: Callable[..., None]) -> None:
    prove_case(getattr(linear_model, name)(random_state=0), "numbers", seed=0, rows=50)


def test_coefficients_made_sparse(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("counts", 50, 0)
    model = linear_model.SGDRegressor(penalty="l1", random_state=0, alpha=0.1)
    assert_compiles(model.fit(X, target("regression", X, 0)).sparsify(), X)


def test_unscaled_columns(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 100, 0)
    model = linear_model.LinearRegression().fit(X, target("regression", X, 0))
    assert assert_compiles(model, X).max_relative < 1e-10


def test_missing_values_are_refused_alike(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 50, 0)
    model = linear_model.Ridge().fit(X, target("regression", X, 0))
    with_gap = X.copy()
    with_gap.iloc[3, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        model.predict(with_gap)
    assert_compiles(model, X)


def test_trained_on_float32(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 50, 0).astype(np.float32)
    model = linear_model.LinearRegression().fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match="differ"):
        assert_compiles(model, X)


def test_subclasses_are_not_guessed(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    class Doubled(linear_model.Ridge):  # type: ignore[misc]
        def predict(self, X: Any) -> Any:
            return 2 * super().predict(X)

    X = table("numbers", 50, 0)
    model = make_pipeline(StandardScaler(), Doubled()).fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match=r"doubled.*no compiler for"):
        assert_compiles(model, X)


def test_inner_model_of_ransac(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    class Doubled(linear_model.Ridge):  # type: ignore[misc]
        pass

    X = table("numbers", 50, 0)
    model = linear_model.RANSACRegressor(Doubled(), min_samples=6, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match="RANSACRegressor → estimator: there is no compiler"):
        assert_compiles(model, X)
