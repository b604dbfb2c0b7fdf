"""Naive Bayes classifiers. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)

from pyfunc_packaging.testing import assert_compiles

#: Estimator, table and target; each is proven in `predict` and `predict_proba`.
CASES = [
    (BernoulliNB(), "numbers", "binary"),
    (BernoulliNB(binarize=2.5, alpha=0.1), "counts", "text classes"),
    (BernoulliNB(alpha=2.0, fit_prior=False), "flags", "classes"),
    (CategoricalNB(), "flags", "binary"),
    (CategoricalNB(alpha=0.1), "counts", "text classes"),
    (CategoricalNB(min_categories=300), "counts", "classes"),
    (ComplementNB(), "counts", "text classes"),
    (ComplementNB(norm=True), "flags", "binary"),
    (GaussianNB(), "numbers", "binary"),
    (GaussianNB(), "numbers", "text classes"),
    (GaussianNB(var_smoothing=0.01, priors=[0.2, 0.3, 0.5]), "counts", "classes"),
    (MultinomialNB(), "counts", "binary"),
    (MultinomialNB(alpha=0.5, class_prior=[0.2, 0.3, 0.5]), "flags", "text classes"),
]

seeds = st.integers(0, 2**32 - 1)
rows = st.integers(30, 150)


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@pytest.mark.parametrize("method", ["predict", "predict_proba"])
@given(seed=seeds, rows=rows)
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any,
    data: str,
    target: str,
    method: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target, method=method)


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_columns_that_are_binary_already(method: str) -> None:
    random = np.random.default_rng(0)
    X = pd.DataFrame({name: random.random(50) < 0.4 for name in "abc"})
    model = BernoulliNB(binarize=None).fit(X, X["a"] ^ (random.random(50) < 0.2))
    assert_compiles(model, X, method=method)


def test_categories_beyond_the_known_are_refused_alike() -> None:
    X = pd.DataFrame({"a": [0, 1, 2, 1, 0, 2], "b": [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]})
    model = CategoricalNB().fit(X, [0, 1, 0, 1, 0, 1])
    assert assert_compiles(model, X).refused > 0


def test_categories_lose_what_follows_the_point() -> None:
    random = np.random.default_rng(0)
    X = pd.DataFrame({"a": random.uniform(0.0, 3.0, 60)})
    X["a"] = np.where(np.arange(60) < 5, -0.5, X["a"])
    model = CategoricalNB().fit(X.clip(lower=0.0), (X["a"] > 1).to_numpy())
    assert_compiles(model, X)
    assert_compiles(model, X, method="predict_proba")
