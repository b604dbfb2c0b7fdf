"""Scaling of rows. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import Normalizer

CASES = [
    (Normalizer(), "numbers"),
    (Normalizer("l1"), "numbers"),
    (Normalizer("max"), "numbers"),
    (Normalizer(), "counts"),
    (Normalizer("l1"), "flags"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")
