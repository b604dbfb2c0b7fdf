"""Quantile transforms. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import QuantileTransformer
from sklearn.tree import DecisionTreeRegressor
from spox import Tensor, argument, build

from pyfunc_packaging.compile import normal
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (QuantileTransformer(n_quantiles=10), "numbers"),
    (QuantileTransformer(n_quantiles=10, output_distribution="normal"), "numbers"),
    (QuantileTransformer(), "gaps"),
    (QuantileTransformer(output_distribution="normal"), "gaps"),
    (QuantileTransformer(n_quantiles=5, subsample=20, random_state=0), "counts"),
    (QuantileTransformer(output_distribution="normal"), "flags"),
    (QuantileTransformer(n_quantiles=1), "numbers"),
    (QuantileTransformer(n_quantiles=2, output_distribution="normal"), "positive"),
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
    QuantileTransformer(n_quantiles=1),
    QuantileTransformer(n_quantiles=10),
    QuantileTransformer(),
    QuantileTransformer(n_quantiles=10, output_distribution="normal"),
    QuantileTransformer(output_distribution="normal"),
]


@pytest.mark.parametrize("transformer", CASES_INVERSE)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_inverse_is_equal(
    transformer: Any, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    model = TransformedTargetRegressor(LinearRegression(), transformer=transformer)
    prove_case(model, "numbers", seed=seed, rows=rows, target="positive")


def test_the_ends_come_back(prove_case: Callable[..., None]) -> None:
    # leaves of such a tree predict the lowest and the highest target exactly
    transformer = QuantileTransformer(n_quantiles=30, output_distribution="normal")
    model = TransformedTargetRegressor(DecisionTreeRegressor(), transformer=transformer)
    prove_case(model, "numbers", seed=1, rows=30, target="positive")


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize(
    "cells",
    [[0.0, 0.0, 0.0, 1.0, 2.0], [1.0, 3.0, 3.0, 3.0, 3.0], [0.0, 2.0, 2.0, 2.0, 5.0], [4.0]],
)
def test_repeated_quantiles(cells: list[float], distribution: str) -> None:
    X = pd.DataFrame({"x": cells})
    transformer = QuantileTransformer(n_quantiles=len(cells), output_distribution=distribution)
    assert_compiles(transformer.fit(X), X, method="transform")


def test_the_normal_distribution() -> None:
    parts = np.concatenate([np.linspace(0, 1, 2001)[1:-1], 10.0 ** np.linspace(-7, -1, 100), [0.5]])
    parts = np.concatenate([parts, 1 - parts])
    x = argument(Tensor(np.float64, ("n", 1)))
    graph = build({"x": x}, {"quantile": normal.quantile(x), "part": normal.probability(x)})
    session = onnxruntime.InferenceSession(graph.SerializeToString())

    (quantiles,) = session.run(["quantile"], {"x": parts.reshape(-1, 1)})
    np.testing.assert_allclose(quantiles.ravel(), special.ndtri(parts), rtol=4e-15, atol=0)
    numbers = np.linspace(-5.4, 5.4, 5001)
    (found,) = session.run(["part"], {"x": numbers.reshape(-1, 1)})
    np.testing.assert_allclose(found.ravel(), special.ndtr(numbers), rtol=0, atol=1e-15)
