"""Isotonic regression, which takes one column. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.isotonic import IsotonicRegression

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (IsotonicRegression(out_of_bounds="clip"), "numbers"),
    (IsotonicRegression(out_of_bounds="raise"), "numbers"),
    (IsotonicRegression(), "numbers"),
    (IsotonicRegression(increasing="auto", out_of_bounds="clip"), "positive"),
    (IsotonicRegression(increasing=False, y_min=-1.0, out_of_bounds="clip"), "counts"),
]


@pytest.mark.filterwarnings("ignore:Confidence interval of the Spearman:UserWarning")
@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(20, 150))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any,
    data: str,
    seed: int,
    rows: int,
    table: Callable[..., Any],
    target: Callable[..., Any],
) -> None:
    X = table(data, rows, seed)
    y = target("regression", X, seed)
    for name in X:
        if X[name].dtype == np.float64:
            assert_compiles(clone(estimator).fit(X[[name]], y), X[[name]])


def test_a_single_point() -> None:
    X = pd.DataFrame({"x": [2.0, 2.0, 2.0]})
    assert_compiles(IsotonicRegression(out_of_bounds="clip").fit(X, [1.0, 2.0, 3.0]), X)


def test_on_and_beside_the_points() -> None:
    X = pd.DataFrame({"x": np.sort(np.random.default_rng(0).normal(size=30))})
    model = IsotonicRegression(out_of_bounds="clip").fit(X, np.sin(X["x"] * 2))
    points = model.X_thresholds_
    beside = [np.nextafter(points, side) for side in (-np.inf, np.inf)]
    near = pd.DataFrame({"x": np.concatenate([points, *beside])})
    assert assert_compiles(model, near).max_absolute == 0.0


def test_float32() -> None:
    X = pd.DataFrame({"x": np.arange(10, dtype=np.float32)})
    model = IsotonicRegression(out_of_bounds="clip").fit(X, np.arange(10, dtype=np.float32))
    with pytest.raises(NotCompilable, match="IsotonicRegression: was trained on float32"):
        build_graph(model, infer_columns(X))
