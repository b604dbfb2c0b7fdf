"""A model for each target or each class. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVR

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

#: Estimator, table, target and method.
CASES = [
    (MultiOutputRegressor(Ridge()), "numbers", "several", "predict"),
    (MultiOutputRegressor(SVR()), "flags", "several", "predict"),
    (RegressorChain(Ridge()), "numbers", "several", "predict"),
    (RegressorChain(Ridge(), order=[2, 0, 1]), "flags", "several", "predict"),
    (OneVsRestClassifier(LogisticRegression()), "numbers", "binary", "predict"),
    (OneVsRestClassifier(LogisticRegression()), "numbers", "text classes", "predict"),
    (OneVsRestClassifier(LogisticRegression()), "numbers", "classes", "predict_proba"),
    (OneVsRestClassifier(LogisticRegression()), "numbers", "binary", "decision_function"),
    (OneVsRestClassifier(LogisticRegression()), "numbers", "classes", "decision_function"),
    (OneVsRestClassifier(GaussianNB()), "numbers", "text classes", "predict"),
    (OneVsRestClassifier(GaussianNB()), "numbers", "binary", "predict_proba"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(30, 150)


@pytest.mark.parametrize(("estimator", "data", "target", "method"), CASES)
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
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target=target, method=method)


@pytest.mark.parametrize("kinds", [["no", "yes"], [3, 7]])
def test_a_label_for_each_target(
    kinds: list[Any], table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 60, 0)
    y = np.array(kinds)[(target("several", X, 0) > 0.5).astype(int)]
    assert_compiles(MultiOutputClassifier(GaussianNB()).fit(X, y), X)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_several_labels_at_once(
    method: str, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 60, 0)
    model = make_pipeline(StandardScaler(), OneVsRestClassifier(LogisticRegression()))
    model.fit(X, (target("several", X, 0) > 0.5).astype(int))
    assert_compiles(model, X, method=method)


def test_names_the_model_that_is_not_compiled(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 30, 0)
    model = MultiOutputRegressor(KNeighborsRegressor(weights=lambda distances: 1 / (1 + distances)))
    model.fit(X, target("several", X, 0))
    with pytest.raises(NotCompilable, match=r"MultiOutputRegressor → estimator 0: .*weights"):
        build_graph(model, infer_columns(X))
