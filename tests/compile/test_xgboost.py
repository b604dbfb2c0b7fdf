"""XGBoost. The lists of cases are what docs/compilation.md lists."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from xgboost import XGBClassifier, XGBRegressor, XGBRFClassifier, XGBRFRegressor

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

FEW = {"n_estimators": 8, "n_jobs": 1}

CASES = [
    (XGBRegressor(**FEW), "numbers", "regression"),
    (XGBRegressor(**FEW), "gaps", "regression"),
    (XGBRegressor(**FEW), "flags", "regression"),
    (XGBRegressor(**FEW), "numbers", "several"),
    (XGBRegressor(base_score=3.0, tree_method="exact", **FEW), "gaps", "regression"),
    (XGBRegressor(grow_policy="lossguide", max_leaves=5, **FEW), "gaps", "regression"),
    (XGBRegressor(missing=0.0, **FEW), "counts", "regression"),
    (XGBRegressor(missing=-1.0, **FEW), "gaps", "regression"),
    (XGBRegressor(num_parallel_tree=3, subsample=0.5, **FEW), "numbers", "regression"),
    (XGBRegressor(objective="reg:absoluteerror", **FEW), "gaps", "regression"),
    (XGBRegressor(objective="reg:pseudohubererror", **FEW), "gaps", "regression"),
    (XGBRegressor(objective="reg:squaredlogerror", **FEW), "numbers", "positive"),
    (XGBRegressor(objective="reg:quantileerror", quantile_alpha=0.3, **FEW), "gaps", "regression"),
    (XGBRegressor(objective="reg:logistic", **FEW), "gaps", "binary"),
    (XGBRegressor(objective="count:poisson", **FEW), "gaps", "positive"),
    (XGBRegressor(objective="reg:gamma", **FEW), "numbers", "positive"),
    (XGBRegressor(objective="reg:tweedie", **FEW), "numbers", "positive"),
    (XGBRFRegressor(**FEW), "gaps", "regression"),
]

#: Classifiers, whose labels and probabilities are both proven.
CASES_CLASSIFIERS = [
    (XGBClassifier(**FEW), "gaps", "binary"),
    (XGBClassifier(**FEW), "gaps", "classes"),
    (XGBClassifier(scale_pos_weight=3.0, max_delta_step=1, **FEW), "numbers", "binary"),
    (XGBRFClassifier(**FEW), "numbers", "classes"),
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
    return X, X["a"] * X["b"] + random.normal(size=rows)


def test_stops_at_the_best_iteration() -> None:
    X, y = table()
    model = XGBRegressor(n_estimators=200, learning_rate=0.5, early_stopping_rounds=2, n_jobs=1)
    model.fit(X[:100], y[:100], eval_set=[(X[100:], y[100:])], verbose=False)
    assert model.best_iteration < 199
    assert_compiles(model, X)


def test_many_probabilities() -> None:
    """So many that a logistic function rounded otherwise would be found out."""
    X, y = table(20_000)
    model = XGBClassifier(n_estimators=100, n_jobs=1).fit(X, (y > 0).astype(int))
    assert assert_compiles(model, X, method="predict_proba").max_relative == 0.0


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"booster": "dart"}, "booster='dart' is not compiled, only gbtree is"),
        ({"booster": "gblinear"}, "booster='gblinear' is not compiled, only gbtree is"),
        ({"objective": "survival:cox"}, "the objective 'survival:cox' is not compiled"),
    ],
)
def test_refused(parameters: dict[str, Any], reason: str) -> None:
    X, y = table()
    model = XGBRegressor(**parameters, **FEW).fit(X, y)
    with pytest.raises(NotCompilable, match=rf"^XGBRegressor: {reason}"):
        build_graph(model, infer_columns(X))


def test_compiling_imports_no_optional_library() -> None:
    code = (
        "import sys, pyfunc_packaging.compile;"
        "sys.exit(bool({'xgboost', 'lightgbm', 'catboost'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
