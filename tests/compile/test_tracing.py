"""Python functions, recorded. CASES is what docs/compilation.md lists."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

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

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.features import ColumnFeatures
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.session import OnnxSession
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


FUNCTIONS = """
    abs arccos arcsin arctan ceil cos cosh deg2rad exp exp2 expm1 floor log log10 log1p log2
    negative rad2deg reciprocal rint sign sin sinh sqrt square tan tanh trunc isnan isinf isfinite
""".split()  # noqa: SIM905 - a list would take a screen
FUNCTIONS_OF_TWO = """
    arctan2 hypot fmax fmin fmod power remainder floor_divide maximum minimum
""".split()  # noqa: SIM905 - as above


def test_functions_of_numpy_over_wide_ranges() -> None:
    random = np.random.default_rng(0)
    x = np.concatenate(
        [
            random.normal(size=2000) * 10.0 ** random.integers(-300, 300, 2000),
            random.uniform(-1, 1, 2000),
            random.uniform(-750, 750, 2000),
            np.arange(-1000, 1000) * np.pi / 2,
            10.0 ** np.arange(-300, 300),
            2.0 ** np.arange(-1000, 1000),
        ]
    )

    def all_of_them(X: Any) -> Any:
        return np.column_stack([getattr(np, name)(X[:, 0]) for name in FUNCTIONS]).astype(float)

    model = FunctionTransformer(lambda X: all_of_them(X.to_numpy()))
    X = pd.DataFrame({"x": x})
    proof = assert_compiles(model.fit(X), X, method="transform")
    assert proof.rows > 8000
    assert proof.max_relative < 1e-12


def test_functions_of_two_numbers() -> None:
    special = [0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 3.0, 1e-300, 5e-324, 1e300, -1e300, np.inf, -np.inf]
    grid = [(a, b) for a in [*special, np.nan] for b in [*special, np.nan]]
    X = pd.DataFrame(grid, columns=["a", "b"])

    def all_of_them(X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(**{name: getattr(np, name)(X["a"], X["b"]) for name in FUNCTIONS_OF_TWO})

    proof = assert_compiles(FunctionTransformer(all_of_them).fit(X), X, method="transform")
    assert proof.max_relative < 1e-14


def test_integers_stay_exact_beyond_the_floats() -> None:
    X = pd.DataFrame({"n": [2**53 + 1, 2**62 + 3, -(2**60) - 1, 5], "k": [1, 2, 3, 4]})

    def parity(X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(odd=X.n % 2, next=(X.n * X.k + 1) % 1000, back=X.n - (X.n - 1))

    # a missing value is refused in the end, so that the graph takes integers
    model = make_pipeline(FunctionTransformer(parity), StandardScaler(), LinearRegression())
    assert_compiles(model.fit(X, [1.0, 2.0, 3.0, 4.0]), X)


def test_logarithms_are_whole_where_those_of_the_c_library_are() -> None:
    exponents = [*range(-307, 0), *range(309)]
    tens = np.array([float(f"1e{exponent}") for exponent in exponents])
    x = np.concatenate([tens, 2.0 ** np.arange(-1021, 1024)])
    beside = [x, np.abs(np.random.default_rng(0).lognormal(0, 100, 5000))]
    for side in (0.0, np.inf):
        near = x
        for _ in range(40):
            near = np.nextafter(near, side)
            beside.append(near)
    X = pd.DataFrame({"x": np.concatenate(beside)})

    columns = infer_columns(X)
    model = FunctionTransformer(digits_of).fit(X)
    session = OnnxSession(build_graph(model, columns, method="transform"), columns)
    found = session.run({"x": X.x.to_numpy()})["prediction"]
    # on CPUs with AVX-512 `np.log10` is numpy's own, and differs beside powers of ten
    tens, bits = (np.array([log(value) for value in X.x]) for log in (math.log10, math.log2))
    expected = [X.x, np.floor(tens), np.floor(bits), np.ceil(tens)]
    np.testing.assert_array_equal(found, np.stack(expected, axis=1))
    np.testing.assert_array_equal(found[: len(x)], digits_of(X[: len(x)]).to_numpy())
    row = session.run({"x": np.array([1000000000000000.1, 999.9999999999999, 0.0, np.inf])})
    assert row["prediction"][:, 1].tolist() == [15.0, 3.0, -np.inf, np.inf]


def digits_of(X: pd.DataFrame) -> pd.DataFrame:
    with np.errstate(divide="ignore"):
        return X.assign(
            tens=np.floor(np.log10(X.x)), bits=np.floor(np.log2(X.x)), up=np.ceil(np.log10(X.x))
        )


class Codes:
    """Texts that are not among the constants of a function's code."""

    nul: ClassVar = [f"k{number}\0" for number in range(50)]


def test_texts_that_end_with_nul_are_others() -> None:
    def among(X: pd.DataFrame) -> pd.DataFrame:
        first = Codes.nul[1]
        return X.assign(
            among=X.c.isin(Codes.nul) * 1.0,
            equal=(X.c == first) * 1.0,
            level=X.c.map({first: 3.0, "k2": 4.0}).fillna(0.0),
        ).drop(columns="c")

    X = pd.DataFrame({"c": pd.Series(["k1", "z"] * 20, dtype=object)})
    columns = infer_columns(X)
    model = FunctionTransformer(among).fit(X)
    session = OnnxSession(build_graph(model, columns, method="transform"), columns)
    texts = pd.DataFrame({"c": pd.Series(["k1", "k1\0", "k2", "k2\0", "z", "z\0"], dtype=object)})
    found = session.run({"c": texts.c.to_numpy()})["prediction"]
    np.testing.assert_array_equal(found, among(texts).to_numpy())
    assert found[:, 0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]
    choices: list[Callable[[Any], Any]] = [
        lambda c: c.where(c != "z", "y\0"),
        lambda c: c.replace({"z\0": "y"}),
        lambda c: np.where(c == "z", "y\0", "n"),
    ]
    for chosen in choices:
        model = FunctionTransformer(lambda X, chosen=chosen: X.assign(c=chosen(X.c)))
        with pytest.raises(NotCompilable, match="ends with NUL, which numpy leaves out"):
            assert_compiles(model.fit(X), X, method="transform")


@pytest.mark.parametrize("dtype", ["string", "boolean"])
def test_columns_with_pandas_own_missing_value_stand_beside(dtype: str) -> None:
    cells = ["Rome", "Bern", None, "Oslo"] if dtype == "string" else [True, False, None, True]
    X = pd.DataFrame({"a": np.arange(20.0) % 7, "other": pd.array(cells * 5, dtype=dtype)})
    model = make_pipeline(
        FunctionTransformer(lambda X: X.assign(b=X["a"] * 2)),
        make_column_transformer(("passthrough", ["a", "b"])),
        LinearRegression(),
    ).fit(X, np.arange(20.0))
    assert assert_compiles(model, X).rows > 20


def test_outputs_with_pandas_own_missing_value_are_compared() -> None:
    X = pd.DataFrame({"other": pd.array(["Rome", None] * 5, dtype="string")})
    with pytest.raises(NotCompilable, match=r"5 prediction\(s\) differ"):
        assert_compiles(FunctionTransformer().fit(X), X, method="transform")
    X = pd.DataFrame({"other": pd.array([True, None] * 5, dtype="boolean")})
    assert assert_compiles(FunctionTransformer().fit(X), X, method="transform").rows > 10


@pytest.mark.parametrize("width", [7, 8, 9, 17, 24, 130])
def test_sums_of_many_columns(width: int) -> None:
    random = np.random.default_rng(width)
    X = pd.DataFrame({f"x{i}": random.normal(size=30) for i in range(width)})

    def total(X: pd.DataFrame) -> pd.DataFrame:
        return X.assign(sum=X.sum(axis=1), array=X.to_numpy().sum(axis=1))[["sum", "array"]]

    proof = assert_compiles(FunctionTransformer(total).fit(X), X, method="transform")
    assert proof.max_relative < 1e-11


def test_a_step_that_writes_to_its_input_leaves_the_rows_alone() -> None:
    def inserted(X: pd.DataFrame) -> pd.DataFrame:
        X.insert(0, "z", X["a"] * 2)
        return X

    X = pd.DataFrame({"a": np.arange(9.0)})
    model = FunctionTransformer(inserted).fit(X)
    assert assert_compiles(model, X, method="transform").rows > 9
    assert list(X.columns) == ["a"]


def test_asking_for_a_method_is_not_calling_it() -> None:
    def by_kind(X: Any) -> Any:
        if hasattr(X, "groupby"):
            return X.assign(n=X["a"] + 1)
        return X

    X = pd.DataFrame({"a": np.arange(9.0)})
    assert assert_compiles(FunctionTransformer(by_kind).fit(X), X, method="transform").rows > 9
