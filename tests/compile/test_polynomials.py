"""Products of features. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PolynomialFeatures

CASES = [
    (PolynomialFeatures(), "numbers"),
    (PolynomialFeatures(include_bias=False), "counts"),
    (PolynomialFeatures(degree=3, interaction_only=True), "numbers"),
    (PolynomialFeatures(degree=(2, 3)), "positive"),
    (PolynomialFeatures(degree=(2, 4), interaction_only=True, include_bias=False), "numbers"),
    (PolynomialFeatures(degree=4), "flags"),
    (PolynomialFeatures(degree=6, interaction_only=True), "counts"),
    (PolynomialFeatures(degree=(0, 1)), "numbers"),
    (PolynomialFeatures(degree=0), "numbers"),
    (PolynomialFeatures(order="F"), "numbers"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


def test_after_sparse_output(prove_case: Callable[..., None]) -> None:
    hot = OneHotEncoder(handle_unknown="ignore")
    pipeline = make_pipeline(hot, PolynomialFeatures(degree=3))
    prove_case(pipeline, "texts", seed=1, rows=60, method="transform")
