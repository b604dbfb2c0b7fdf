"""Linear classifiers and discriminant analysis. CASES is what docs/compilation.md lists."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import linear_model
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.compile.linear_classifiers import DEPRECATED
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

#: Estimator, table and target; each is proven in every method that it has.
CASES = [
    (LinearDiscriminantAnalysis(), "numbers", "binary"),
    (LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), "numbers", "classes"),
    (LinearDiscriminantAnalysis(solver="eigen"), "numbers", "text classes"),
    (linear_model.LogisticRegression(), "numbers", "binary"),
    (linear_model.LogisticRegression(), "numbers", "text classes"),
    (linear_model.LogisticRegression(fit_intercept=False), "counts", "classes"),
    (linear_model.LogisticRegression(C=0.1, solver="liblinear"), "flags", "binary"),
    (linear_model.LogisticRegressionCV(Cs=2, cv=2), "numbers", "classes"),
    (linear_model.Perceptron(), "numbers", "binary"),
    (linear_model.Perceptron(), "counts", "text classes"),
    (linear_model.RidgeClassifier(), "numbers", "binary"),
    (linear_model.RidgeClassifier(), "numbers", "text classes"),
    (linear_model.RidgeClassifierCV(), "numbers", "classes"),
    (linear_model.SGDClassifier(random_state=0), "numbers", "binary"),
    (linear_model.SGDClassifier(loss="log_loss", random_state=0), "numbers", "binary"),
    (linear_model.SGDClassifier(loss="log_loss", random_state=0), "numbers", "text classes"),
    (linear_model.SGDClassifier(loss="modified_huber", random_state=0), "numbers", "binary"),
    (linear_model.SGDClassifier(loss="modified_huber", random_state=0), "numbers", "classes"),
    (LinearSVC(), "numbers", "binary"),
    (LinearSVC(fit_intercept=False), "numbers", "text classes"),
    (QuadraticDiscriminantAnalysis(reg_param=0.01), "numbers", "binary"),
    (QuadraticDiscriminantAnalysis(reg_param=0.1), "numbers", "text classes"),
]
METHODS = ("predict", "predict_proba", "decision_function")

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(40, 150)


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@pytest.mark.parametrize("method", METHODS)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any,
    data: str,
    target: str,
    method: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    if not hasattr(estimator, method):
        return
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target=target, method=method)


@pytest.mark.parametrize("solver", ["svd", "eigen"])
@pytest.mark.parametrize("target", ["binary", "classes"])
def test_projection(solver: str, target: str, prove_case: Callable[..., None]) -> None:
    model = LinearDiscriminantAnalysis(solver=solver)
    prove_case(model, "numbers", seed=0, rows=80, target=target, method="transform")


def test_no_projection(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 50, 0)
    model = LinearDiscriminantAnalysis(solver="lsqr").fit(X, target("binary", X, 0))
    with pytest.raises(NotCompilable, match="'lsqr' has no transform"):
        build_graph(model, infer_columns(X), method="transform")


@pytest.mark.parametrize(
    "labels", [["no", "yes"], [False, True], [3, 7], [-1.0, 2.0], ["Straße", "Île"]], ids=str
)
def test_kinds_of_labels(
    labels: list[Any], table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 60, 1)
    y = np.array(labels)[target("binary", X, 1)]
    model = make_pipeline(StandardScaler(), linear_model.LogisticRegression()).fit(X, y)
    assert_compiles(model, X)
    assert_compiles(model, X, method="predict_proba")


def test_several_labels_at_once(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 60, 1)
    y = (target("several", X, 1) > 0).astype(int)
    model = linear_model.RidgeClassifier().fit(X, y)
    assert_compiles(model, X)
    assert_compiles(model, X, method="decision_function")


def test_a_score_of_zero_is_the_first_class() -> None:
    X = pd.DataFrame({"x": [-2.0, -1.0, 0.0, 1.0, 2.0, 0.0]})
    model = linear_model.LogisticRegression(fit_intercept=False).fit(X, [0, 0, 0, 1, 1, 1])
    assert model.predict(X.iloc[[2]]).tolist() == [0]
    assert_compiles(model, X)


def test_small_probabilities_keep_their_digits() -> None:
    X = pd.DataFrame({"x": np.linspace(-40.0, 40.0, 81)})
    model = linear_model.LogisticRegression(C=1e3).fit(X, X["x"] > 0.5)
    assert assert_compiles(model, X, method="predict_proba").max_relative < 1e-12


def test_losses_without_probabilities(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 50, 0)
    model = linear_model.SGDClassifier(random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, target("binary", X, 0))
    with pytest.raises(NotCompilable, match="SGDClassifier: loss='hinge' has no probabilities"):
        build_graph(model, infer_columns(X), method="predict_proba")


@pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
@pytest.mark.parametrize("name", [DEPRECATED] if hasattr(linear_model, DEPRECATED) else [])
def test_deprecated(name: str, prove_case: Callable[..., None]) -> None:
    model = make_pipeline(StandardScaler(), getattr(linear_model, name)(random_state=0))
    prove_case(model, "numbers", seed=0, rows=50, target="text classes")
