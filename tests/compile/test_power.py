"""Power transforms. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer

from pyfunc_packaging.testing import assert_compiles

CASES = [
    (PowerTransformer(), "numbers"),
    (PowerTransformer(standardize=False), "numbers"),
    (PowerTransformer(), "gaps"),
    (PowerTransformer(), "flags"),
    (PowerTransformer(method="box-cox"), "positive"),
    (PowerTransformer(method="box-cox", standardize=False), "positive"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


#: Transformers of the target, by their inverse; the target is positive.
CASES_INVERSE = [
    PowerTransformer(),
    PowerTransformer(standardize=False),
    PowerTransformer(method="box-cox"),
    PowerTransformer(method="box-cox", standardize=False),
]


@pytest.mark.parametrize("transformer", CASES_INVERSE)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_inverse_is_equal(
    transformer: Any, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    model = TransformedTargetRegressor(LinearRegression(), transformer=transformer)
    prove_case(model, "numbers", seed=seed, rows=rows, target="positive")


@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
@pytest.mark.parametrize("exponent", [0.0, 1e-20, 1e-17, 2.0, 2 + 1e-16, 1.0, -1.5, 0.5, 3.0])
def test_particular_exponents(method: str, exponent: float) -> None:
    X = pd.DataFrame({"x": np.linspace(0.25, 4, 9), "like others": np.linspace(1, 3, 9)})
    power = PowerTransformer(method=method, standardize=False).fit(X)
    power.lambdas_ = np.array([exponent, 0.7])
    assert_compiles(power, X, method="transform")


def test_a_constant_column_stays() -> None:
    X = pd.DataFrame({"x": [2.0, 2.0, 2.0], "y": [1.0, 2.0, 4.0]})
    # the column becomes 0 but for rounding, of which no digit need be equal; 1 has all of them
    pipeline = make_pipeline(PowerTransformer(), FunctionTransformer(add_one))
    assert_compiles(pipeline.fit(X), X, method="transform")


def add_one(X: np.ndarray) -> np.ndarray:
    return X + 1


def test_box_cox_refuses_what_is_not_positive() -> None:
    X = pd.DataFrame({"x": [0.5, 1.0, 4.0]})
    assert assert_compiles(PowerTransformer(method="box-cox").fit(X), X, method="transform").refused
