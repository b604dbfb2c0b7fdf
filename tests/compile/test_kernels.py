"""Kernel ridge regression and Gaussian processes. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import (
    RBF,
    ConstantKernel,
    DotProduct,
    Matern,
    RationalQuadratic,
    WhiteKernel,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns

_process: dict[str, Any] = {"alpha": 0.1, "optimizer": None}

CASES = [
    (KernelRidge(), "numbers", "regression"),
    (KernelRidge(kernel="rbf"), "numbers", "several"),
    (KernelRidge(kernel="rbf", gamma=0.5, alpha=0.1), "flags", "regression"),
    (KernelRidge(kernel="poly", degree=2), "numbers", "regression"),
    (KernelRidge(kernel="sigmoid", coef0=0.1), "numbers", "regression"),
    (GaussianProcessRegressor(RBF(), **_process), "numbers", "regression"),
    (GaussianProcessRegressor(2.0 * RBF() + WhiteKernel(0.1), **_process), "flags", "several"),
    (
        GaussianProcessRegressor(RBF([1.0, 2.0, 3.0, 4.0]), normalize_y=True, **_process),
        "numbers",
        "regression",
    ),
    (GaussianProcessRegressor(DotProduct(2.0), **_process), "numbers", "regression"),
    (GaussianProcessRegressor(RationalQuadratic(), **_process), "numbers", "regression"),
    (GaussianProcessRegressor(ConstantKernel(2.0), **_process), "counts", "regression"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(20, 100)


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any,
    data: str,
    target: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    model = make_pipeline(StandardScaler(), estimator)
    prove_case(model, data, seed=seed, rows=rows, target=target)


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (KernelRidge(kernel="laplacian"), r"kernelridge: kernel='laplacian' is not compiled"),
        (
            GaussianProcessRegressor(Matern() + WhiteKernel(), **_process),
            r"gaussianprocessregressor: kernel=Matern.* is not compiled",
        ),
    ],
)
def test_refused(
    estimator: Any, reason: str, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 30, 0)
    model = make_pipeline(StandardScaler(), estimator).fit(X, target("regression", X, 0))
    with pytest.raises(NotCompilable, match=reason):
        build_graph(model, infer_columns(X))
