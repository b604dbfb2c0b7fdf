"""Scalers. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

CASES = [
    (StandardScaler(), "numbers"),
    (StandardScaler(), "gaps"),
    (StandardScaler(with_mean=False), "numbers"),
    (StandardScaler(with_std=False), "numbers"),
    (MinMaxScaler(), "gaps"),
    (MinMaxScaler(feature_range=(-1, 3), clip=True), "gaps"),
    (MaxAbsScaler(), "gaps"),
    (MaxAbsScaler(clip=True), "numbers"),
    (RobustScaler(), "gaps"),
    (RobustScaler(with_centering=False, quantile_range=(10.0, 90.0)), "numbers"),
    (RobustScaler(with_scaling=False, unit_variance=True), "numbers"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")
