"""Multi-layer perceptrons. CASES is what docs/compilation.md lists."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

_few: dict[str, Any] = {"max_iter": 20, "random_state": 0}

CASES = [
    (MLPRegressor(hidden_layer_sizes=(10,), **_few), "numbers", "regression"),
    (MLPRegressor(hidden_layer_sizes=(8, 5, 3), **_few), "numbers", "several"),
    (MLPRegressor(hidden_layer_sizes=(5,), activation="tanh", **_few), "counts", "regression"),
    (MLPRegressor(hidden_layer_sizes=(5, 5), activation="logistic", **_few), "flags", "several"),
    (MLPRegressor(hidden_layer_sizes=(5,), activation="identity", **_few), "numbers", "several"),
    (MLPRegressor(hidden_layer_sizes=(), **_few), "numbers", "regression"),
]

#: Classifiers, proven in `predict` and `predict_proba`.
CASES_CLASSES = [
    (MLPClassifier(hidden_layer_sizes=(10,), **_few), "numbers", "binary"),
    (MLPClassifier(hidden_layer_sizes=(8, 5), **_few), "numbers", "text classes"),
    (MLPClassifier(hidden_layer_sizes=(5,), activation="tanh", **_few), "flags", "classes"),
    (MLPClassifier(hidden_layer_sizes=(5,), activation="logistic", **_few), "counts", "binary"),
    (MLPClassifier(hidden_layer_sizes=(5,), activation="identity", **_few), "numbers", "classes"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(30, 150)


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
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target=target)


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
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target=target, method=method)


@pytest.mark.parametrize(
    "loss", ["squared_error", "poisson"] if "loss" in MLPRegressor().get_params() else []
)
def test_losses(loss: str, prove_case: Callable[..., None]) -> None:
    model = MLPRegressor(loss=loss, hidden_layer_sizes=(5,), **_few)
    scaled = make_pipeline(StandardScaler(), model)
    prove_case(scaled, "numbers", seed=0, rows=60, target="positive")


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_several_labels_at_once(
    method: str, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 60, 1)
    model = make_pipeline(StandardScaler(), MLPClassifier((5,), **_few))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, (target("several", X, 1) > 0).astype(int))
    assert_compiles(model, X, method=method)


def test_trained_on_float32(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("flags", 60, 1).astype(np.float32)
    model = MLPRegressor(hidden_layer_sizes=(5,), **_few)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, target("regression", X, 1))
    with pytest.raises(NotCompilable, match="differ"):
        assert_compiles(model, X)


def test_unknown_activation(table: Callable[..., Any], target: Callable[..., Any]) -> None:
    X = table("flags", 60, 1)
    model = MLPRegressor(hidden_layer_sizes=(5,), **_few)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, target("regression", X, 1))
    model.activation = "of a later release"
    with pytest.raises(NotCompilable, match="MLPRegressor: activation='of a later release'"):
        build_graph(model, infer_columns(X))
