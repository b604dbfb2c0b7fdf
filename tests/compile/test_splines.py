"""Splines. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (SplineTransformer(), "numbers"),
    (SplineTransformer(degree=1, include_bias=False), "positive"),
    (SplineTransformer(n_knots=9, degree=2, knots="quantile"), "counts"),
    (SplineTransformer(extrapolation="error"), "numbers"),
    (SplineTransformer(extrapolation="linear"), "numbers"),
    (SplineTransformer(degree=1, extrapolation="linear"), "numbers"),
    (SplineTransformer(degree=0, extrapolation="linear", knots="quantile"), "numbers"),
    (SplineTransformer(extrapolation="continue", knots="quantile"), "numbers"),
    (SplineTransformer(degree=2, extrapolation="periodic"), "numbers"),
    (SplineTransformer(n_knots=4, extrapolation="periodic"), "positive"),
    (SplineTransformer(handle_missing="zeros"), "gaps"),
    (SplineTransformer(handle_missing="zeros", extrapolation="linear"), "gaps"),
    (SplineTransformer(handle_missing="zeros", extrapolation="periodic"), "gaps"),
    (SplineTransformer(sparse_output=True), "numbers"),
    (SplineTransformer(sparse_output=True, extrapolation="linear", include_bias=False), "flags"),
    (SplineTransformer(degree=5, order="F"), "numbers"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


def test_knots_of_ones_own() -> None:
    X = pd.DataFrame({"hour": np.linspace(0.0, 24.0, 30), "month": np.linspace(1.0, 13.0, 30)})
    knots = np.column_stack([[0.0, 5.0, 6.0, 24.0], [1.0, 4.0, 7.0, 13.0]])
    spline = SplineTransformer(knots=knots, extrapolation="periodic")
    assert_compiles(spline.fit(X), X, method="transform")


def test_what_is_not_covered() -> None:
    X = pd.DataFrame({"x": np.linspace(0.0, 1.0, 20)})
    pipeline = make_pipeline(SplineTransformer(degree=0), LinearRegression()).fit(X, X["x"])
    with pytest.raises(NotCompilable, match=r"splinetransformer.*degree 0 is not compiled"):
        assert_compiles(pipeline, X)
