"""CatBoost. The lists of cases are what docs/compilation.md lists."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier, CatBoostRegressor
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pyfunc_packaging import package_model
from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

FEW = {"n_estimators": 8, "verbose": 0, "thread_count": 1, "allow_writing_files": False}

CASES = [
    (CatBoostRegressor(**FEW), "numbers", "regression"),
    (CatBoostRegressor(**FEW), "gaps", "regression"),
    (CatBoostRegressor(**FEW), "flags", "regression"),
    (CatBoostRegressor(nan_mode="Max", **FEW), "gaps", "regression"),
    (CatBoostRegressor(nan_mode="Forbidden", **FEW), "numbers", "regression"),
    (CatBoostRegressor(grow_policy="Depthwise", depth=4, **FEW), "gaps", "regression"),
    (CatBoostRegressor(grow_policy="Lossguide", max_leaves=6, **FEW), "gaps", "regression"),
    (CatBoostRegressor(boost_from_average=False, depth=1, **FEW), "gaps", "regression"),
    (CatBoostRegressor(loss_function="MAE", **FEW), "gaps", "regression"),
    (CatBoostRegressor(loss_function="Quantile:alpha=0.3", **FEW), "gaps", "regression"),
    (CatBoostRegressor(loss_function="MultiQuantile:alpha=0.2,0.6", **FEW), "gaps", "regression"),
    (CatBoostRegressor(loss_function="Expectile:alpha=0.3", **FEW), "numbers", "regression"),
    (CatBoostRegressor(loss_function="Huber:delta=1", **FEW), "numbers", "regression"),
    (CatBoostRegressor(loss_function="Lq:q=3", **FEW), "numbers", "regression"),
    (CatBoostRegressor(loss_function="LogCosh", **FEW), "numbers", "regression"),
    (CatBoostRegressor(loss_function="MAPE", **FEW), "numbers", "positive"),
    (CatBoostRegressor(loss_function="LogLinQuantile:alpha=0.3", **FEW), "numbers", "positive"),
    (CatBoostRegressor(loss_function="Poisson", **FEW), "gaps", "positive"),
    (CatBoostRegressor(loss_function="Tweedie:variance_power=1.5", **FEW), "gaps", "positive"),
    (CatBoostRegressor(loss_function="MultiRMSE", **FEW), "gaps", "several"),
]

#: Classifiers, whose labels and probabilities are both proven.
CASES_CLASSIFIERS = [
    (CatBoostClassifier(**FEW), "gaps", "binary"),
    (CatBoostClassifier(**FEW), "gaps", "classes"),
    (CatBoostClassifier(**FEW), "flags", "text classes"),
    (CatBoostClassifier(loss_function="CrossEntropy", **FEW), "gaps", "binary"),
    (CatBoostClassifier(loss_function="MultiClassOneVsAll", **FEW), "gaps", "classes"),
    (CatBoostClassifier(auto_class_weights="Balanced", **FEW), "numbers", "binary"),
    (CatBoostClassifier(grow_policy="Lossguide", **FEW), "gaps", "text classes"),
]


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 1000))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, target: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSIFIERS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 1000))
@settings(max_examples=3, deadline=None, derandomize=True)
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


def table(rows: int = 200) -> tuple[pd.DataFrame, Any]:
    random = np.random.default_rng(0)
    X = pd.DataFrame({"a": random.normal(size=rows), "b": random.integers(-9, 9, rows) * 0.5})
    return X, (X["a"] * X["b"] + random.normal(size=rows)).to_numpy()


def test_sums_of_many_trees_are_the_same_to_the_last_bit() -> None:
    X, y = table(5000)
    model = CatBoostRegressor(**{**FEW, "n_estimators": 300}).fit(X, y)
    assert assert_compiles(model, X).max_relative == 0.0


def test_stops_at_the_best_iteration() -> None:
    X, y = table()
    model = CatBoostRegressor(
        **{**FEW, "n_estimators": 300}, learning_rate=0.5, early_stopping_rounds=2
    ).fit(X[:100], y[:100], eval_set=(X[100:], y[100:]))
    assert model.tree_count_ < 299
    assert_compiles(model, X)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 1.0])
def test_probability_threshold(threshold: float) -> None:
    X, y = table()
    model = CatBoostClassifier(**FEW).fit(X, y > 0)
    model.set_probability_threshold(threshold)
    assert_compiles(model, X)


def test_columns_that_training_ignored() -> None:
    X, y = table()
    X.insert(0, "c", -y)
    assert_compiles(CatBoostRegressor(ignored_features=["c"], **FEW).fit(X, y), X)


def test_columns_of_other_dtypes() -> None:
    X, y = table()
    X["whole"] = pd.Series(np.arange(200), dtype="Int64")
    X["flag"] = pd.Series(X["b"] > 1, dtype="boolean")
    X["narrow"] = X["a"].astype("float32")
    assert_compiles(CatBoostRegressor(**FEW).fit(X, y), X)


def test_compiles_what_was_pickled() -> None:
    X, y = table()
    model = CatBoostRegressor(**FEW).fit(X, y)
    assert_compiles(pickle.loads(pickle.dumps(model)), X)


@pytest.mark.parametrize("kind", ["cat", "text"])
def test_features_that_are_no_numbers(kind: str) -> None:
    X, y = table()
    X["c"] = np.where(X["a"] > 0, "up there", "down there").astype(object)
    model = CatBoostRegressor(**{f"{kind}_features": ["c"]}, **FEW).fit(X, y)
    name = {"cat": "categorical", "text": "text"}[kind]
    reason = f"^CatBoostRegressor: {name} features are not compiled, only numbers are"
    with pytest.raises(NotCompilable, match=reason):
        build_graph(model, infer_columns(X))


def test_losses_that_are_not_compiled() -> None:
    X, y = table()
    model = CatBoostRegressor(loss_function="RMSEWithUncertainty", **FEW).fit(X, y)
    with pytest.raises(NotCompilable, match="the loss RMSEWithUncertainty is not compiled"):
        build_graph(model, infer_columns(X))
    labels = np.column_stack([y > 0, y < 1]).astype(int)
    classifier = CatBoostClassifier(loss_function="MultiLogloss", **FEW).fit(X, labels)
    for method in ("predict", "predict_proba"):
        with pytest.raises(NotCompilable, match="the loss MultiLogloss is not compiled"):
            build_graph(classifier, infer_columns(X), method=method)


def test_a_bundle_is_served_by_either_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = table()
    labels = np.where(y > 0, "high", "low").astype(object)
    model = make_pipeline(StandardScaler(), CatBoostClassifier(**FEW)).fit(X, labels)
    bundle = package_model(model, X, y=labels, path=tmp_path / "b", name="cat", compile="require")
    assert bundle.engine == "onnx"
    expected = {"label": model.predict(X), "probability": model.predict_proba(X)}
    for engine in ("onnx", "pyfunc"):
        monkeypatch.setenv("PYFUNC_ENGINE", engine)
        found = mlflow.pyfunc.load_model(str(bundle.path)).predict(X)
        assert found["label"].tolist() == expected["label"].tolist()
        np.testing.assert_allclose(found["probability"], expected["probability"], rtol=1e-9)
