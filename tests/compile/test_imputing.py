"""Imputers and indicators of what is missing. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import MissingIndicator, SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (SimpleImputer(), "gaps"),
    (SimpleImputer(), "flags"),
    (SimpleImputer(strategy="median"), "gaps"),
    (SimpleImputer(strategy="median", add_indicator=True), "gaps"),
    (SimpleImputer(strategy="most_frequent"), "gaps"),
    (SimpleImputer(strategy="constant"), "gaps"),
    (SimpleImputer(strategy="constant", fill_value=-1.5, add_indicator=True), "gaps"),
    (SimpleImputer(add_indicator=True), "numbers"),
    (SimpleImputer(strategy="most_frequent"), "text gaps"),
    (SimpleImputer(strategy="constant"), "text gaps"),
    (SimpleImputer(strategy="constant", fill_value="none"), "texts"),
    (MissingIndicator(), "gaps"),
    (MissingIndicator(error_on_new=False), "text gaps"),
    (MissingIndicator(features="all"), "gaps"),
    (MissingIndicator(features="all"), "texts"),
    (MissingIndicator(features="all", sparse=False), "counts"),
]

#: Each is tried on columns of which one is missing altogether.
CASES_EMPTY = [
    SimpleImputer(),
    SimpleImputer(strategy="median", add_indicator=True),
    SimpleImputer(keep_empty_features=True),
    SimpleImputer(strategy="most_frequent", keep_empty_features=True, add_indicator=True),
    SimpleImputer(strategy="constant", fill_value=3.0, keep_empty_features=True),
    SimpleImputer(strategy="constant", fill_value=3.0),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(40, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


@pytest.mark.parametrize("estimator", CASES_EMPTY)
@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
def test_nothing_was_ever_observed(estimator: Any, table: Callable[..., pd.DataFrame]) -> None:
    X = table("gaps", 50, 1)
    X.insert(1, "nothing", np.nan)
    assert_compiles(estimator.fit(X), X, method="transform")


def test_integers_stay_exact_before_a_model(prove_case: Callable[..., None]) -> None:
    imputer = SimpleImputer(strategy="most_frequent")
    prove_case(make_pipeline(imputer, LinearRegression()), "counts", seed=1, rows=60)


@pytest.mark.parametrize("marker", [np.nan, None])
@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
@pytest.mark.parametrize("dtype", ["str", "object"])
def test_what_marks_a_missing_text(
    marker: Any, strategy: str, dtype: str, table: Callable[..., pd.DataFrame]
) -> None:
    # scikit-learn passes over None where it looks for NaN
    X = table("text gaps", 60, 1)
    if dtype == "object":
        X = X.astype(object).where(X.notna(), None)
    elif marker is None:
        X = X.dropna()  # which it refuses
    imputer = SimpleImputer(missing_values=marker, strategy=strategy)
    pipeline = make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore"))
    assert_compiles(pipeline.fit(X), X, method="transform")


def test_texts_of_several_origins(table: Callable[..., pd.DataFrame]) -> None:
    X = table("text gaps", 60, 1)
    X["place"] = X["place"].astype(object).where(X["place"].notna(), None)
    imputer = SimpleImputer(strategy="most_frequent")
    pipeline = make_pipeline(imputer, OneHotEncoder(handle_unknown="ignore"))
    assert_compiles(pipeline.fit(X), X, method="transform")


def test_a_missing_value_in_a_new_column_is_refused(table: Callable[..., pd.DataFrame]) -> None:
    X = table("numbers", 60, 1)
    X.loc[3, "small"] = np.nan
    assert_compiles(MissingIndicator().fit(X), X, method="transform")


def test_what_is_not_covered(table: Callable[..., pd.DataFrame]) -> None:
    X = table("counts", 40, 1)
    model = make_pipeline(SimpleImputer(missing_values=3), LinearRegression()).fit(X, X["rooms"])
    with pytest.raises(NotCompilable, match=r"simpleimputer.*missing_values=3 is not compiled"):
        assert_compiles(model, X)
    X = table("numbers", 40, 1)
    with pytest.raises(NotCompilable, match="MissingIndicator: no column is left"):
        assert_compiles(MissingIndicator().fit(X), X, method="transform")
    X = table("text gaps", 40, 1)
    imputer = SimpleImputer(strategy="most_frequent", add_indicator=True).fit(X)
    with pytest.raises(NotCompilable, match="texts beside numbers"):
        assert_compiles(imputer, X, method="transform")


def booleans(dtype: str, marker: Any) -> pd.DataFrame:
    """Booleans with gaps, beside numbers."""
    random = np.random.default_rng(0)
    flags = pd.Series(random.random(60) < 0.4, dtype=object)
    flags[1::5] = marker
    return pd.DataFrame({"flag": flags.astype(dtype), "x": random.normal(size=60)})


@pytest.mark.parametrize(
    "imputer",
    [
        SimpleImputer(),
        SimpleImputer(strategy="most_frequent", add_indicator=True),
        SimpleImputer(strategy="constant", fill_value=False),
        MissingIndicator(error_on_new=False),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "marker"), [("boolean", pd.NA), ("bool[pyarrow]", pd.NA), ("object", np.nan)]
)
def test_booleans_with_gaps(imputer: Any, dtype: str, marker: Any) -> None:
    X = booleans(dtype, marker)
    assert_compiles(imputer.fit(X), X, method="transform")
    model = make_pipeline(imputer, LinearRegression()).fit(X, X["x"])
    assert_compiles(model, X)


@pytest.mark.parametrize(
    "imputer", [SimpleImputer(strategy="most_frequent"), MissingIndicator(error_on_new=False)]
)
def test_none_among_booleans_is_no_missing_value_to_an_imputer(imputer: Any) -> None:
    X = booleans("object", None)
    with pytest.raises(NotCompilable) as refusal:
        assert_compiles(imputer.fit(X), X, method="transform")
    assert refusal.value.step == type(imputer).__name__
    assert refusal.value.reason == (
        "a missing value is None among the booleans of 'flag', and scikit-learn takes it for a"
        " value here; convert before fit: X.astype({'flag': \"boolean\"})"
    )
    assert_compiles(SimpleImputer().fit(X), X, method="transform")  # the mean is of numbers


def test_none_as_the_most_frequent_of_texts_is_no_empty_column() -> None:
    cells = np.array(["x", "y", None] * 20, dtype=object)
    cells[:20], cells[4::9] = None, np.nan
    X = pd.DataFrame({"c": pd.Series(cells, dtype=object), "d": ["p", "q"] * 30})
    model = make_pipeline(
        SimpleImputer(strategy="most_frequent"), OneHotEncoder(), LinearRegression()
    ).fit(X, np.arange(60.0))
    assert model[0].statistics_[0] is None
    assert assert_compiles(model, X).rows > len(X)
