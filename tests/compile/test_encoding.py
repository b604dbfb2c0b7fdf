"""Encoders of categories. CASES is what docs/compilation.md lists."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles

LETTERS = [list("abcdef"), ["inland", "near bay", "<1h ocean", "Île"]]

#: Estimator, table, target.
CASES = [
    (OneHotEncoder(), "texts", "regression"),
    (OneHotEncoder(handle_unknown="ignore"), "text gaps", "regression"),
    (OneHotEncoder(handle_unknown="ignore"), "gaps", "regression"),
    (OneHotEncoder(handle_unknown="ignore", drop="first"), "text gaps", "regression"),
    (OneHotEncoder(handle_unknown="ignore", drop="if_binary"), "flags", "regression"),
    (OneHotEncoder(drop="first", sparse_output=False), "counts", "regression"),
    (OneHotEncoder(handle_unknown="warn", max_categories=3), "texts", "regression"),
    (
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=10),
        "text gaps",
        "regression",
    ),
    (
        OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.2, drop="first"),
        "counts",
        "regression",
    ),
    (OneHotEncoder(min_frequency=5, max_categories=2), "texts", "regression"),
    (
        OneHotEncoder(categories=LETTERS, handle_unknown="ignore", drop=["c", "Île"]),
        "texts",
        "regression",
    ),
    (OneHotEncoder(dtype=np.float32, handle_unknown="ignore"), "mixed", "regression"),
    (OrdinalEncoder(), "texts", "regression"),
    (OrdinalEncoder(), "text gaps", "regression"),
    (OrdinalEncoder(encoded_missing_value=-7), "gaps", "regression"),
    (
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
        "text gaps",
        "regression",
    ),
    (
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=-2
        ),
        "text gaps",
        "regression",
    ),
    (
        OrdinalEncoder(
            handle_unknown="use_encoded_value", unknown_value=99, min_frequency=10, dtype=int
        ),
        "texts",
        "regression",
    ),
    (
        OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, max_categories=3),
        "counts",
        "regression",
    ),
    (OrdinalEncoder(categories=LETTERS, dtype=np.float32), "texts", "regression"),
    (TargetEncoder(random_state=0), "text gaps", "regression"),
    (TargetEncoder(smooth=0.0, random_state=0), "texts", "regression"),
    (TargetEncoder(smooth=20.0, random_state=0), "mixed", "regression"),
    (TargetEncoder(cv=2, random_state=0), "counts", "binary"),
    (TargetEncoder(random_state=0), "text gaps", "classes"),
    (TargetEncoder(target_type="multiclass", random_state=0), "flags", "text classes"),
    (TargetEncoder(target_type="continuous", random_state=0), "texts", "binary"),
]


@pytest.mark.parametrize(("estimator", "data", "target"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(60, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any,
    data: str,
    target: str,
    seed: int,
    rows: int,
    prove_case: Callable[..., None],
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target=target, method="transform")


def test_dropped_categories_by_array() -> None:
    X = pd.DataFrame({"letter": list("abcab"), "count": [1, 2, 3, 2, 1]})
    encoder = OneHotEncoder(drop=np.array(["b", 3], dtype=object), handle_unknown="ignore")
    assert_compiles(encoder.fit(X), X, method="transform")


def test_none_is_a_category_of_its_own() -> None:
    X = pd.DataFrame({"letter": pd.Series(["a", None, "b", "a"], dtype=object)})
    for encoder in (OneHotEncoder(handle_unknown="ignore"), OrdinalEncoder()):
        assert_compiles(encoder.fit(X), X, method="transform")


def test_numbers_as_categories_that_differ_by_little() -> None:
    X = pd.DataFrame({"x": [0.1, np.nextafter(0.1, 1), -0.0, 2.0**53, 1e300]})
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    assert_compiles(encoder.fit(X), X, method="transform")


def test_what_is_unknown_is_refused() -> None:
    X = pd.DataFrame({"letter": list("abcab")})
    for encoder in (OneHotEncoder(), OrdinalEncoder()):
        assert assert_compiles(encoder.fit(X), X, method="transform").refused


def test_many_categories() -> None:
    X = pd.DataFrame({"code": [f"code {number % 700}" for number in range(2000)]})
    encoder = OneHotEncoder(handle_unknown="ignore", min_frequency=3)
    assert_compiles(encoder.fit(X), X, method="transform")


def test_what_is_not_covered() -> None:
    numbers = make_pipeline(OneHotEncoder(), LinearRegression())
    numbers.fit(pd.DataFrame({"code": [1, 2, 3]}), [1.0, 2.0, 3.0])
    with pytest.raises(NotCompilable, match="onehotencoder: expected categories of text"):
        build_graph(numbers, [Column("code", "string")])
    texts = make_pipeline(OneHotEncoder(), LinearRegression())
    texts.fit(pd.DataFrame({"code": ["a", "b", "c"]}), [1.0, 2.0, 3.0])
    with pytest.raises(NotCompilable, match="onehotencoder: expected categories of numbers"):
        build_graph(texts, [Column("code", "double")])


@pytest.mark.parametrize(
    "encoder",
    [
        OneHotEncoder(),
        OneHotEncoder(handle_unknown="ignore"),
        OrdinalEncoder(encoded_missing_value=-1),
        TargetEncoder(random_state=0, target_type="continuous"),
    ],
)
@pytest.mark.parametrize("marker", [None, np.nan])
def test_booleans_as_objects(encoder: Any, marker: Any) -> None:
    random = np.random.default_rng(0)
    flags = pd.Series(random.random(60) < 0.4, dtype=object)
    flags[1::5] = marker
    X = pd.DataFrame({"flag": flags, "code": random.integers(0, 4, 60)})
    assert_compiles(encoder.fit(X, random.normal(size=60)), X, method="transform")


def test_memory_grows_with_the_categories_and_not_with_their_square() -> None:
    count = 20_000
    X = pd.DataFrame({"c": pd.Series([str(number) for number in range(count)], dtype=object)})
    model = make_pipeline(
        OneHotEncoder(handle_unknown="ignore"), Ridge(solver="sparse_cg", max_iter=5)
    ).fit(X, np.arange(count) * 1.0)
    tracemalloc.start()
    try:
        graph = build_graph(model, [Column("c", "string")])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100e6  # a dense table of all answers has 3.2e9 bytes
    session = OnnxSession(graph, [Column("c", "string")])
    some = X.iloc[[0, 7, count - 1]]
    found = session.run({"c": some["c"].to_numpy(dtype=object)})["prediction"]
    np.testing.assert_allclose(found, model.predict(some), rtol=1e-9)
