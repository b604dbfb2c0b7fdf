"""Python functions, recorded. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pyfunc_packaging.features import ColumnFeatures
from pyfunc_packaging.testing import assert_compiles

LEVELS = {"a": 1, "b": 2, "c": 5}
SCALE = pd.Series({"small": 2.0, "large": 1e4, "skewed": 3.0, "rounded": 0.5})


def ratio(X: pd.DataFrame) -> pd.DataFrame:
    X = X.copy()
    X["ratio"] = X["large"] / X.small
    X["log"] = np.log1p(X["skewed"].abs())
    del X["rounded"]
    return X


def in_place(X: pd.DataFrame) -> pd.DataFrame:
    X["twice"] = 2 * X["small"]
    X["one"] = 1
    return X


def assigned(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(a=np.where(X.small > 0, X.large, 0.0), b=lambda t: t.a.fillna(3).clip(0, 100))


def gaps_filled(X: pd.DataFrame) -> pd.DataFrame:
    X = X.fillna({"small": 0.0, "large": -1})
    X["skewed"] = X["skewed"].fillna(X["small"])
    X["gap"] = X["rounded"].isna().astype(int)
    return X.assign(there=X.rounded.notna().astype(float))


def masked(X: pd.DataFrame) -> pd.DataFrame:
    X = X.copy()
    X["small"] = X["small"].where(X.large > 1e4)
    X["large"] = X["large"].mask((X.skewed < 1) | ~(X.small > 0), other=-5.0)
    X.loc[X["rounded"] < 0, "rounded"] = 7.0
    X[X > 1e5] = 1e5
    return X


def chosen(X: pd.DataFrame) -> pd.DataFrame:
    first = X.loc[:, ["skewed", "small"]].rename(columns={"small": "s"})
    return first.assign(last=X.iloc[:, -1], second=X.iloc[:, [1]]["large"]).add_prefix("x_")


def by_rows(X: pd.DataFrame) -> pd.DataFrame:
    pair = X[["small", "large"]]
    return X.assign(
        sum=pair.sum(axis=1),
        mean=X.mean(axis=1),
        low=pair.min(axis=1),
        high=pair.max(axis="columns"),
        product=pair.prod(axis=1),
        gaps=X.isna().sum(axis=1),
        some=(X > 0).any(axis=1).astype(int),
        every=(X > 0).all(axis=1).astype(int),
    )


def rounded(X: pd.DataFrame) -> pd.DataFrame:
    return X.round(1).assign(whole=X.rounded.round(), floor=np.floor(X.small), half=X.large // 0.3)


def selected(X: pd.DataFrame) -> pd.DataFrame:
    level = np.select([X.small > 1, X.small > 0], [2.0, X.large], default=np.nan)
    return X.assign(
        level=level,
        bin=np.digitize(X.skewed, [0.5, 1.0, 2.0]),
        number=np.nan_to_num(X.small, nan=-1.0),
        between=X.small.between(0, 1, inclusive="left").astype(int),
        among=X.rounded.isin([0.5, 1]).astype(int),
        other=X.rounded.replace({0.5: 9.0, 1: 8}),
    )


def methods(X: pd.DataFrame) -> pd.DataFrame:
    each = X.div(X.large, axis=0).add_suffix("_each")
    small = X.small.add(1).mul(X.large).sub(2).rdiv(3).pow(2).mod(7)
    return each.assign(small=small, less=X.small.lt(X.rounded).astype(float)).drop(
        columns="large_each"
    )


def by_column(X: pd.DataFrame) -> pd.DataFrame:
    for name in X.columns:
        if X[name].dtype == float and name in X:
            X = X.assign(**{f"{name}_squared": X[name] ** 2})
    return X.apply(lambda column: column.fillna(0) + 1).pipe(np.sqrt)


def constants(X: pd.DataFrame) -> pd.DataFrame:
    return X / SCALE - 1


def as_array(X: pd.DataFrame) -> Any:
    if isinstance(X, pd.DataFrame):
        X = X.to_numpy()
    return X[:, [0, 2]] * np.array([1.0, 2.0])


def ratios_of_array(X: Any) -> Any:
    X = X.copy()
    X[:, 0] = X[:, 0] / X[:, 1]
    X[X > 2] = 2.0
    return np.column_stack(
        [X, X[:, 0] * X[:, 3], X.sum(axis=1), np.where(X[:, 2] > 0, 1.0, X[:, 2])]
    )


def scaled(X: Any, *, factor: float, offset: float = 0.0) -> Any:
    return X * factor + offset


def distance(X: pd.DataFrame) -> pd.DataFrame:
    half = (
        np.sin(X.small / 2) ** 2 + np.cos(X.small) * np.cos(X.skewed) * np.sin(X.rounded / 2) ** 2
    )
    return X.assign(
        arc=2 * 6371 * np.arcsin(np.sqrt(half)),
        angle=np.arctan2(X.small, X.rounded),
        hour=np.sin(2 * np.pi * X.large / 24),
    )


def whole_numbers(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(
        sum=X.rooms + X.code + 1,
        square=X.rooms**2,
        ratio=X.rooms / X.code,
        quotient=X.code // X.rooms,
        rest=X.code % X.rooms,
        limited=X.rooms.clip(1, 4),
        total=X.sum(axis=1),
        filled=X.rooms.fillna(2) * 3,
        odd=(X.code % 2).eq(1).astype(int),
        level=X.rooms.map({0: 10, 1: 20}),
        log=np.log1p(X.rooms),
    )


def sums_of_integers(X: pd.DataFrame) -> pd.DataFrame:
    return X.assign(
        sum=X.rooms + X.code + 1,
        product=X.rooms * X.code,
        square=X.rooms**2,
        total=X.sum(axis=1) - X.rooms.fillna(2) * 3,
        limited=X.rooms.clip(1, 4) + 1.5,
        level=X.rooms.map({0: 10, 1: 20, 2: 30}) - 1,
    )


def truths(X: pd.DataFrame) -> pd.DataFrame:
    many = X.rooms > 2
    return X.assign(
        no=~X.flag,
        both=X.flag & many,
        either=X.flag | many,
        one=X.flag ^ many,
        rooms_if=X.flag * X.rooms,
        three=X.flag.astype(int) * 3,
        both_again=np.logical_and(X.flag, X.code),
    ).astype(float)


def texts(X: pd.DataFrame) -> pd.DataFrame:
    return (
        X.assign(
            is_a=X.letter == "a",
            other=X["letter"].ne("a"),
            level=X.letter.map(LEVELS),
            near=X.place.str.startswith("near"),
            east=X.place.str.endswith("bay"),
            ocean=X.place.str.contains("<1h", regex=False),
            among=X.letter.isin(["a", "c"]),
            gap=X.letter.isna(),
            joined=(X.letter + "-" + X.place) == "a-inland",
            filled=X.letter.fillna("none").replace({"none": "zz"}).eq("zz"),
            size=np.where(X.letter == "a", "big", "small") == "big",
        )
        .drop(columns=["letter", "place"])
        .astype(float)
    )


CASES = [
    (FunctionTransformer(), "gaps"),
    (FunctionTransformer(np.log1p), "positive"),
    (FunctionTransformer(np.log1p, np.expm1, validate=True), "positive"),
    (FunctionTransformer(np.abs, feature_names_out="one-to-one"), "gaps"),
    (FunctionTransformer(scaled, kw_args={"factor": 2.0, "offset": -1.0}), "gaps"),
    (FunctionTransformer(ratio), "numbers"),
    (FunctionTransformer(ratio), "gaps"),
    (FunctionTransformer(in_place), "gaps"),
    (FunctionTransformer(assigned), "gaps"),
    (FunctionTransformer(gaps_filled), "gaps"),
    (FunctionTransformer(masked), "gaps"),
    (FunctionTransformer(chosen), "gaps"),
    (FunctionTransformer(by_rows), "gaps"),
    (FunctionTransformer(rounded), "gaps"),
    (FunctionTransformer(selected), "gaps"),
    (FunctionTransformer(methods), "gaps"),
    (FunctionTransformer(by_column), "positive"),
    (FunctionTransformer(constants), "gaps"),
    (FunctionTransformer(as_array), "gaps"),
    (FunctionTransformer(ratios_of_array, validate=True), "numbers"),
    (FunctionTransformer(distance), "gaps"),
    (FunctionTransformer(whole_numbers), "counts"),
    (FunctionTransformer(truths), "flags"),
    (FunctionTransformer(texts), "texts"),
    (FunctionTransformer(texts), "text gaps"),
    (
        ColumnFeatures({"r": lambda t: t["large"] / t["small"], "s": lambda t: t.r.to_numpy() + 1}),
        "gaps",
    ),
    (ColumnFeatures({"a": "small * 2", "b": lambda t: np.log1p(t.a.abs()), "c": "a + b"}), "gaps"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 120))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


#: Within pipelines, where missing integers are fine and so the graph takes floats for them.
CASES_PREDICT = [
    (
        make_pipeline(
            FunctionTransformer(f), SimpleImputer(), StandardScaler(), LinearRegression()
        ),
        d,
    )
    for f, d in ((ratio, "positive"), (sums_of_integers, "counts"), (gaps_filled, "gaps"))
] + [
    (
        TransformedTargetRegressor(LinearRegression(), func=np.log1p, inverse_func=np.expm1),
        "numbers",
    ),
    (
        make_pipeline(
            make_column_transformer(
                (FunctionTransformer(ratio), ["small", "large", "skewed", "rounded"]),
                (FunctionTransformer(), ["rooms"]),
                ("passthrough", ["code"]),
            ).set_output(transform="default"),
            HistGradientBoostingRegressor(max_iter=5),
        ),
        "mixed",
    ),
]


@pytest.mark.parametrize(("estimator", "data"), CASES_PREDICT)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(30, 120))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal_predictions(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, target="positive")


#: Operations that are put together at random: each takes the table and names of two columns.
OPERATIONS: list[Callable[[pd.DataFrame, str, str], Any]] = [
    lambda t, a, b: t[a] + t[b],
    lambda t, a, b: t[a] - 2 * t[b],
    lambda t, a, b: t[a] * t[b],
    lambda t, a, b: t[a] / t[b],
    lambda t, a, b: t[a] // t[b],
    lambda t, a, b: t[a] % t[b],
    lambda t, a, b: t[a].where(t[b] > 0.5, t[b]),
    lambda t, a, b: t[a].mask(t[b].isna(), -1),
    lambda t, a, b: np.where(t[a] >= t[b], t[a], 0),
    lambda t, a, b: t[a].clip(-2, 3),
    lambda t, a, b: t[a].fillna(1).abs(),
    lambda t, a, b: t[[a, b]].sum(axis=1),
    lambda t, a, b: t[[a, b]].max(axis=1),
    lambda t, a, b: t[[a, b]].mean(axis=1),
    lambda t, a, b: np.maximum(t[a], t[b]),
    lambda t, a, b: np.fmin(t[a], t[b]),
    lambda t, a, b: np.sqrt(t[a].abs()),
    lambda t, a, b: np.log1p(t[a].abs()),
    lambda t, a, b: np.tanh(t[a]),
    lambda t, a, b: t[a].round(1),
    lambda t, a, b: (t[a] > t[b]) & t[b].notna(),
    lambda t, a, b: -t[a].isin([0, 1, 2.5]).astype(int),
    lambda t, a, b: t[a].between(t[b], 4) | (t[a] == t[b]),
    lambda t, a, b: np.hypot(t[a], t[b]),
]


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(range(len(OPERATIONS))), st.integers(0, 99), st.integers(0, 99)),
        min_size=1,
        max_size=5,
    ),
    seed=st.integers(0, 99),
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_operations_at_random(steps: list[tuple[int, int, int]], seed: int) -> None:
    def features(X: pd.DataFrame) -> pd.DataFrame:
        X = X.copy()
        for number, (operation, first, second) in enumerate(steps):
            names = list(X.columns)
            a, b = names[first % len(names)], names[second % len(names)]
            values = OPERATIONS[operation](X, a, b)
            X[f"new{number}"] = values.astype(float)
        return X.astype(float)

    random = np.random.default_rng(seed)
    numbers = pd.Series(random.normal(0, 3, 30)).mask(random.random(30) < 0.2)
    X = pd.DataFrame(
        {"x": numbers, "y": random.lognormal(0, 1, 30), "n": random.integers(-3, 9, 30)}
    )
    model = FunctionTransformer(features).fit(X)
    assert_compiles(model, X, method="transform")


def test_names_of_columns_come_from_the_function_or_feature_names_out(
    prove_case: Callable[..., None],
) -> None:
    named = FunctionTransformer(
        as_array, feature_names_out=lambda self, names: ["p", "q"]
    ).set_output(transform="pandas")
    then = ColumnFeatures({"sum": "p + q"})
    prove_case(make_pipeline(named, then), "gaps", seed=0, rows=50, method="transform")
    then = ColumnFeatures({"more": "ratio + log"})
    prove_case(
        make_pipeline(FunctionTransformer(ratio), then), "gaps", seed=0, rows=50, method="transform"
    )


def test_inverse_transform() -> None:
    X = pd.DataFrame({"a": [0.5, 1.0, 3.0], "b": [2.0, 0.0, 9.0]})
    model = FunctionTransformer(np.log1p, np.expm1).fit(X)
    assert assert_compiles(model, X, method="inverse_transform").max_relative < 1e-14
