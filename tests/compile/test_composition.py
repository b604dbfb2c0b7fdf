"""What puts estimators together. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import (
    ColumnTransformer,
    TransformedTargetRegressor,
    make_column_selector,
)
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_selection import SelectKBest, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    RobustScaler,
    StandardScaler,
)

from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.testing import assert_compiles

HOT = OneHotEncoder(handle_unknown="ignore")
FILL = SimpleImputer(strategy="median")
TEXTS = make_pipeline(SimpleImputer(strategy="most_frequent"), HOT)
NUMBERS = ["small", "large", "skewed", "rounded"]


def _last_two(frame: pd.DataFrame) -> list[str]:
    return list(frame.columns[-2:])


CASES = [
    (ColumnTransformer([("scale", StandardScaler(), ["large", "small"])]), "numbers"),
    (
        ColumnTransformer([("scale", StandardScaler(), [0, -1])], remainder="passthrough"),
        "numbers",
    ),
    (
        ColumnTransformer(
            [("scale", MinMaxScaler(), [True, False, True, False])], remainder=StandardScaler()
        ),
        "numbers",
    ),
    (ColumnTransformer([("fill", FILL, slice("large", "rounded"))]), "gaps"),
    (ColumnTransformer([("fill", FILL, slice(1, None, 2)), ("rest", "drop", [0])]), "gaps"),
    (
        ColumnTransformer(
            [
                ("numbers", FILL, make_column_selector(dtype_include="number")),
                ("texts", TEXTS, make_column_selector(dtype_exclude="number")),
            ]
        ),
        "mixed",
    ),
    (
        ColumnTransformer(
            [("texts", TEXTS, _last_two), ("one", "passthrough", ["rooms"])],
            remainder=FILL,
            transformer_weights={"texts": 0.5, "remainder": 3.0},
            sparse_threshold=0.0,
        ),
        "mixed",
    ),
    (
        ColumnTransformer(
            [("texts", TEXTS, ["letter", "place"]), ("none", StandardScaler(), [])],
            sparse_threshold=1.0,
        ),
        "mixed",
    ),
    (
        make_pipeline(ColumnTransformer([("same", "passthrough", ["place", "letter"])]), TEXTS),
        "text gaps",
    ),
    (
        Pipeline(
            [
                ("fill", FILL),
                ("nothing", "passthrough"),
                ("nor", None),
                ("within", make_pipeline(StandardScaler(), MinMaxScaler())),
            ]
        ),
        "gaps",
    ),
    (
        make_pipeline(
            ColumnTransformer(
                [("fill", FILL, NUMBERS)], verbose_feature_names_out=False
            ).set_output(transform="pandas"),
            ColumnTransformer([("scale", StandardScaler(), ["skewed", "small"])]),
        ),
        "gaps",
    ),
    (
        make_pipeline(
            ColumnTransformer(
                [("fill", FILL, NUMBERS), ("keep", "passthrough", ["rooms"])]
            ).set_output(transform="pandas"),
            ColumnTransformer(
                [("scale", StandardScaler(), ["keep__rooms", "fill__small"])],
                remainder="passthrough",
            ),
        ),
        "mixed",
    ),
    (
        make_pipeline(
            ColumnTransformer(
                [
                    (
                        "hot",
                        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                        ["letter"],
                    ),
                    ("code", OrdinalEncoder(), ["code"]),
                ],
                verbose_feature_names_out=False,
            ).set_output(transform="pandas"),
            ColumnTransformer([("chosen", "passthrough", ["code", "letter_a"])]),
        ),
        "mixed",
    ),
    (
        FeatureUnion(
            [("scaled", StandardScaler()), ("same", "passthrough"), ("none", "drop")],
            transformer_weights={"scaled": 2.0},
        ),
        "numbers",
    ),
    (
        make_pipeline(
            FeatureUnion([("standard", StandardScaler()), ("robust", RobustScaler())]).set_output(
                transform="pandas"
            ),
            ColumnTransformer([("one", "passthrough", ["robust__large", "standard__small"])]),
        ),
        "numbers",
    ),
]

#: Models as a whole: the estimator predicts.
CASES_MODELS = [
    (make_pipeline(FILL, StandardScaler(), LinearRegression()), "gaps"),
    (
        make_pipeline(
            ColumnTransformer([("texts", TEXTS, [-2, -1])], remainder=FILL),
            SelectKBest(f_regression, k=3),
            LinearRegression(),
        ),
        "mixed",
    ),
    (TransformedTargetRegressor(LinearRegression()), "numbers"),
    (TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler()), "numbers"),
    (
        TransformedTargetRegressor(
            HistGradientBoostingRegressor(max_iter=5), transformer=MinMaxScaler()
        ),
        "gaps",
    ),
    (TransformedTargetRegressor(LinearRegression(), transformer=RobustScaler()), "numbers"),
    (
        TransformedTargetRegressor(
            make_pipeline(FILL, LinearRegression()), transformer=MaxAbsScaler()
        ),
        "gaps",
    ),
    (
        TransformedTargetRegressor(
            LinearRegression(), transformer=make_pipeline(StandardScaler(), MinMaxScaler())
        ),
        "numbers",
    ),
]


@pytest.mark.parametrize(("estimator", "data"), CASES, ids=range(len(CASES)))
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(20, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


@pytest.mark.parametrize(("estimator", "data"), CASES_MODELS, ids=range(len(CASES_MODELS)))
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(40, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_models_are_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows)


def test_several_targets(prove_case: Callable[..., None]) -> None:
    model = TransformedTargetRegressor(LinearRegression(), transformer=StandardScaler())
    prove_case(model, "numbers", seed=1, rows=60, target="several")


def test_fitted_on_names_that_come_in_another_order(table: Callable[..., pd.DataFrame]) -> None:
    X = table("numbers", 50, 1)
    model = make_pipeline(
        ColumnTransformer([("scale", StandardScaler(), ["rounded", "small"])]), LinearRegression()
    )
    assert_compiles(model.fit(X[["skewed", "small", "rounded", "large"]], X["large"]), X)


class Unknown(StandardScaler):  # type: ignore[misc]  # sklearn has no types
    """A subclass may compute otherwise."""


def test_what_is_not_covered(table: Callable[..., pd.DataFrame]) -> None:
    X = table("numbers", 30, 1)
    part = make_pipeline(MinMaxScaler(), Unknown())
    columns = ColumnTransformer([("first", part, ["small", "large"])])
    model = make_pipeline(columns, LinearRegression()).fit(X, X["small"])
    with pytest.raises(NotCompilable, match=r"columntransformer → first → unknown.*Unknown"):
        assert_compiles(model, X)
    nothing = make_pipeline(ColumnTransformer([("none", "drop", NUMBERS)]))
    with pytest.raises(NotCompilable, match="no column is left"):
        assert_compiles(nothing.fit(X), X, method="transform")


def test_numbers_that_overflow_on_the_way(table: Callable[..., pd.DataFrame]) -> None:
    # an enormous number is finite, and no longer so once it is divided by a tiny scale
    X = table("numbers", 50, 1) * 1e-10
    model = make_pipeline(StandardScaler(), MinMaxScaler(), LinearRegression())
    assert assert_compiles(model.fit(X, np.arange(50.0)), X).refused
