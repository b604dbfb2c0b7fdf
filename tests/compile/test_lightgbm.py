"""LightGBM. The lists of cases are what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lightgbm import LGBMClassifier, LGBMRegressor, early_stopping

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

FEW = {"n_estimators": 8, "min_child_samples": 3, "verbose": -1, "n_jobs": 1}
TRULY_FEW = {**FEW, "boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}

CASES = [
    (LGBMRegressor(**FEW), "numbers", "regression"),
    (LGBMRegressor(**FEW), "gaps", "regression"),
    (LGBMRegressor(**FEW), "flags", "regression"),
    (LGBMRegressor(**FEW), "categories", "regression"),
    (LGBMRegressor(zero_as_missing=True, **FEW), "gaps", "regression"),
    (LGBMRegressor(zero_as_missing=True, **FEW), "counts", "regression"),
    (LGBMRegressor(use_missing=False, **FEW), "gaps", "regression"),
    (LGBMRegressor(boosting_type="dart", **FEW), "numbers", "regression"),
    (LGBMRegressor(data_sample_strategy="goss", **FEW), "numbers", "regression"),
    (LGBMRegressor(**TRULY_FEW), "gaps", "regression"),
    (LGBMRegressor(extra_trees=True, monotone_constraints=[1, 0, 0, 0], **FEW), "gaps", "positive"),
    (LGBMRegressor(reg_sqrt=True, **FEW), "numbers", "regression"),
    (LGBMRegressor(objective="regression_l1", **FEW), "gaps", "regression"),
    (LGBMRegressor(objective="huber", **FEW), "numbers", "regression"),
    (LGBMRegressor(objective="fair", **FEW), "numbers", "regression"),
    (LGBMRegressor(objective="quantile", alpha=0.2, **FEW), "gaps", "regression"),
    (LGBMRegressor(objective="mape", **FEW), "numbers", "positive"),
    (LGBMRegressor(objective="poisson", **FEW), "gaps", "positive"),
    (LGBMRegressor(objective="gamma", **FEW), "numbers", "positive"),
    (LGBMRegressor(objective="tweedie", **FEW), "numbers", "positive"),
    (LGBMRegressor(objective="cross_entropy", **FEW), "numbers", "binary"),
]

#: Classifiers, whose labels and probabilities are both proven.
CASES_CLASSIFIERS = [
    (LGBMClassifier(**FEW), "gaps", "binary"),
    (LGBMClassifier(**FEW), "categories", "text classes"),
    (LGBMClassifier(sigmoid=2.0, class_weight="balanced", **FEW), "numbers", "binary"),
    (LGBMClassifier(objective="multiclassova", sigmoid=0.5, **FEW), "numbers", "text classes"),
    (LGBMClassifier(**TRULY_FEW), "gaps", "text classes"),
]


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, target: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@pytest.mark.parametrize(("estimator", "data", "target"), CASES_CLASSIFIERS)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
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
    return X, X["a"] * X["b"] + random.normal(size=rows)


def test_stops_at_the_best_iteration() -> None:
    X, y = table()
    model = LGBMRegressor(n_estimators=200, learning_rate=0.5, verbose=-1, n_jobs=1)
    model.fit(X[:100], y[:100], eval_X=X[100:], eval_y=y[100:], callbacks=[early_stopping(2)])
    assert model.best_iteration_ < 200
    assert_compiles(model, X)


def test_codes_that_are_given_as_numbers() -> None:
    X, y = table()
    X["code"] = X["b"].abs().round() * 1.0
    model = LGBMRegressor(**FEW).fit(X, y + 5 * (X["code"] % 2), categorical_feature=["code"])
    assert_compiles(model, X)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"linear_tree": True}, "linear_tree=True is not compiled"),
        (
            {"objective": lambda y, raw: (raw - y, np.ones_like(raw))},
            "the objective of your own is not compiled",
        ),
    ],
    ids=["linear_tree", "objective"],
)
def test_refused(parameters: dict[str, Any], reason: str) -> None:
    X, y = table()
    model = LGBMRegressor(**parameters, **FEW).fit(X, y)
    with pytest.raises(NotCompilable, match=rf"^LGBMRegressor: {reason}"):
        build_graph(model, infer_columns(X))


def test_categories_that_are_no_text() -> None:
    X, y = table()
    X["code"] = X["b"].abs().round().astype(int).astype("category")
    model = LGBMRegressor(**FEW).fit(X, y)
    with pytest.raises(NotCompilable, match=r"^LGBMRegressor: has categories that are no text"):
        build_graph(model, infer_columns(X))
