"""Our own transformers: expressions over columns, and `build_pipeline`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.features import ColumnFeatures, PlainValues
from pyfunc_packaging.pipeline import build_pipeline
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles

#: Features, table.
CASES = [
    ("small + large - skewed * rounded / 3", "numbers"),
    ("small // rounded + small % rounded", "numbers"),
    ("skewed ** 0.5 + abs(small) ** rounded", "numbers"),
    ("-small ** 2", "numbers"),
    ("(small < 0) + (large <= 20000) + (rounded > 0) + (skewed >= 1)", "numbers"),
    ("(rounded == 0) + 2 * (rounded != 1)", "numbers"),
    ("small < 0 and large > 2e4 or not rounded", "numbers"),
    ("(small < 0) & (large > 2e4) | ~(rounded == 0)", "numbers"),
    ("where(small < 0, large, -skewed)", "numbers"),
    ("where(small, 1, 0)", "gaps"),
    ("clip(small, -1, 1) + clip(large, 0, skewed)", "gaps"),
    ("minimum(small, rounded) * maximum(small, 0.5)", "gaps"),
    ("isnan(small) + isnan(large / rounded)", "gaps"),
    ("abs(small) + sqrt(skewed) + log(skewed) + exp(small)", "gaps"),
    ("log1p(skewed) + expm1(small)", "gaps"),
    ("rooms / code + rooms // code", "counts"),
    ("flag + rooms", "flags"),
    ("where(flag, rooms, code)", "flags"),
    ("(letter == 'a') + (place != 'Île') + isnan(letter)", "text gaps"),
    ("'inland' == place", "mixed"),
    ("42", "numbers"),
]


@pytest.mark.parametrize(("expression", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    expression: str, data: str, seed: int, rows: int, table: Callable[..., pd.DataFrame]
) -> None:
    X = table(data, rows, seed)
    features = ColumnFeatures({"new": expression}).fit(X)
    # the tables' own columns may be text, so that the new one alone is compared
    chosen = ColumnTransformer([("new", "passthrough", ["new"])])
    assert_compiles(make_pipeline(features, chosen).fit(X), X, method="transform")


def test_features_of_features(prove_case: Callable[..., None]) -> None:
    features = {"ratio": "large / skewed", "high": "ratio > 2e4", "both": "ratio * high"}
    model = build_pipeline(LinearRegression(), numeric=["small"], features=features)
    prove_case(model, "gaps", seed=1, rows=80)


def test_a_whole_pipeline(prove_case: Callable[..., None]) -> None:
    model = build_pipeline(
        LinearRegression(),
        numeric=["small", "skewed", "rooms"],
        categorical=["letter", "place"],
        features={"each": "large / rooms"},
    )
    prove_case(model, "mixed", seed=1, rows=120)


@pytest.mark.parametrize("data", ["gaps", "flags"])
def test_plain_numbers(data: str, table: Callable[..., pd.DataFrame]) -> None:
    X = table(data, 50, 1)
    assert_compiles(PlainValues().fit(X), X, method="transform")


@pytest.mark.parametrize("missing", [None, np.nan])
def test_plain_categories(missing: Any, table: Callable[..., pd.DataFrame]) -> None:
    # whatever marked a missing text, the imputer behind finds it
    X = table("text gaps", 60, 1)
    X = X.astype(object).where(X.notna(), missing)
    model = build_pipeline(LinearRegression(), numeric=[], categorical=["letter", "place"])
    assert_compiles(model.fit(X, np.arange(60.0)), X)


def _branching(frame: pd.DataFrame) -> Any:
    return frame["small"] if frame["small"].sum() > 0 else frame["large"]


def test_what_is_not_covered(table: Callable[..., pd.DataFrame]) -> None:
    X = table("numbers", 30, 1)
    model = build_pipeline(LinearRegression(), numeric=["small"], features={"new": _branching})
    with pytest.raises(NotCompilable, match="new"):
        assert_compiles(model.fit(X, X["small"]), X)


NUMBERS = ["0", "1", "2", "0.5", "3", "1e-9", "7", "1e30"]
VALUES = [0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-9, 1e9, -1e30, 1e300, np.inf, -np.inf, np.nan, 7.25]


def expressions() -> st.SearchStrategy[str]:
    """Random expressions over the columns a and b."""

    def grow(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
        operators = [
            "+",
            "-",
            "*",
            "/",
            "//",
            "%",
            "**",
            "<",
            "<=",
            ">",
            ">=",
            "==",
            "!=",
            "and",
            "or",
        ]
        binary = st.tuples(parts, st.sampled_from(operators), parts)
        names = st.sampled_from(["abs", "exp", "expm1", "log", "log1p", "sqrt", "isnan"])
        return st.one_of(
            binary.map(lambda part: f"(({part[0]}) {part[1]} ({part[2]}))"),
            parts.map(lambda part: f"(-({part}))"),
            parts.map(lambda part: f"(not ({part}))"),
            st.tuples(names, parts).map(lambda part: f"{part[0]}({part[1]})"),
            st.tuples(st.sampled_from(["minimum", "maximum"]), parts, parts).map(
                lambda part: f"{part[0]}({part[1]}, {part[2]})"
            ),
            st.tuples(st.sampled_from(["where", "clip"]), parts, parts, parts).map(
                lambda part: f"{part[0]}({part[1]}, {part[2]}, {part[3]})"
            ),
        )

    leaves = st.sampled_from(["a", "b", "a", "b", *NUMBERS])
    return st.recursive(leaves, grow, max_leaves=6)


@given(expression=expressions(), cells=st.lists(st.sampled_from(VALUES), min_size=8, max_size=8))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_random_expressions(expression: str, cells: list[float]) -> None:
    X = pd.DataFrame({"a": cells[:4], "b": cells[4:]})
    features = ColumnFeatures({"new": expression}).fit(X)
    columns = [Column("a", "double", nullable=True), Column("b", "double", nullable=True)]
    session = OnnxSession(build_graph(features, columns, method="transform"), columns)
    found = session.run({name: X[name].to_numpy() for name in X})["prediction"]
    with np.errstate(all="ignore"):
        expected = features.transform(X).to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=0)
