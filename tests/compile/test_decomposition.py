"""Linear projections. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.random_projection import GaussianRandomProjection, SparseRandomProjection

from pyfunc_packaging.testing import assert_compiles

CASES = [
    (PCA(), "numbers"),
    (PCA(n_components=2, whiten=True), "positive"),
    (PCA(n_components=0.9, svd_solver="full"), "counts"),
    (PCA(n_components=1, svd_solver="randomized", random_state=0), "flags"),
    (IncrementalPCA(n_components=2), "numbers"),
    (IncrementalPCA(n_components=2, whiten=True), "positive"),
    (TruncatedSVD(n_components=2, random_state=0), "numbers"),
    (TruncatedSVD(n_components=2, algorithm="arpack", random_state=0), "positive"),
    (FactorAnalysis(n_components=2, random_state=0), "numbers"),
    (FastICA(n_components=2, random_state=0), "numbers"),
    (FastICA(whiten=False, random_state=0), "positive"),
    (GaussianRandomProjection(n_components=2, random_state=0), "numbers"),
    (SparseRandomProjection(n_components=3, random_state=0), "numbers"),
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
    pipeline = make_pipeline(hot, TruncatedSVD(n_components=3, random_state=0))
    prove_case(pipeline, "texts", seed=1, rows=60, method="transform")


def test_whitens_directions_without_variance() -> None:
    X = pd.DataFrame({"a": [1.0, 2.0, 4.0], "b": [2.0, 4.0, 8.0]})
    assert_compiles(PCA(whiten=True).fit(X), X, method="transform")
