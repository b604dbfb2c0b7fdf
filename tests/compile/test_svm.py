"""Support vector machines. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, SVR, NuSVC, NuSVR

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (SVR(), "numbers"),
    (SVR(kernel="linear"), "numbers"),
    (SVR(kernel="poly"), "numbers"),
    (SVR(kernel="poly", degree=2, coef0=1.0, gamma=0.5), "counts"),
    (SVR(kernel="sigmoid", gamma="auto"), "numbers"),
    (SVR(C=10.0, gamma=2.0, epsilon=0.01), "flags"),
    (NuSVR(), "numbers"),
    (NuSVR(nu=0.2, kernel="poly"), "numbers"),
]

#: Classifiers with their target; proven in `predict` and `decision_function`.
CASES_CLASSES = [
    (SVC(), "numbers", "binary"),
    (SVC(), "numbers", "text classes"),
    (SVC(kernel="linear"), "numbers", "binary"),
    (SVC(kernel="linear"), "numbers", "text classes"),
    (SVC(kernel="poly"), "numbers", "classes"),
    (SVC(kernel="sigmoid", coef0=0.1), "numbers", "classes"),
    (SVC(decision_function_shape="ovo"), "numbers", "text classes"),
    (SVC(break_ties=True), "numbers", "classes"),
    (NuSVC(nu=0.1), "numbers", "binary"),
    (NuSVC(nu=0.1, kernel="linear"), "numbers", "classes"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(40, 150)


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(make_pipeline(StandardScaler(), estimator), data, seed=seed, rows=rows)


@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSES)
@pytest.mark.parametrize("method", ["predict", "decision_function"])
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
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target=target, method=method)


def test_unscaled_columns(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 150, 0)
    assert assert_compiles(SVR().fit(X, target("regression", X, 0)), X).max_relative < 1e-10


def test_far_from_the_origin() -> None:
    X = pd.DataFrame({"longitude": -119.5 + np.arange(60) % 7, "latitude": 1e6 + np.arange(60)})
    model = SVR(gamma=0.1).fit(X, np.sin(np.arange(60)))
    assert assert_compiles(model, X).max_relative < 1e-10


def test_more_rows_than_fit_at_once(
    table: Callable[..., Any], target: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pyfunc_packaging.compile.distances.CELLS", 1000)
    X = table("numbers", 150, 0)
    model = make_pipeline(StandardScaler(), SVC()).fit(X, target("text classes", X, 0))
    assert_compiles(model, X)
    assert_compiles(model, X, method="decision_function")


def test_without_support_vectors() -> None:
    X = pd.DataFrame({"x": np.linspace(0.0, 1.0, 20)})
    model = SVR(epsilon=10.0).fit(X, X["x"])
    assert not len(model.support_)
    assert_compiles(model, X)


def test_trained_on_sparse_columns(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("texts", 80, 0)
    encoder = OneHotEncoder(handle_unknown="ignore")
    model = make_pipeline(encoder, SVC()).fit(X, target("text classes", X, 0))
    assert sparse.issparse(model[-1].support_vectors_)
    assert_compiles(model, X)


def test_rounding_decides(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 50, 0)
    model = make_pipeline(SVR(gamma=1e3)).fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match=r"svr: gamma=1e\+03 is so large.*scale the columns"):
        build_graph(model, infer_columns(X))


def test_kernels_that_are_not_compiled(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 50, 0)
    model = make_pipeline(StandardScaler(), SVR(kernel=lambda a, b: a @ b.T))
    model.fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match=r"svr: kernel=.*is not compiled"):
        build_graph(model, infer_columns(X))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_probabilities(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("numbers", 50, 0)
    model = SVC(probability=True, random_state=0).fit(X, target("binary", X, 0))
    with pytest.raises(NotCompilable, match="SVC: libsvm iterates probabilities"):
        build_graph(model, infer_columns(X), method="predict_proba")
    assert_compiles(model, X)
