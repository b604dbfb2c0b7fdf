"""Python functions, recorded: values that are easily computed another way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles

LEVELS = {"a": 1, "b": 2, "c": 5}
SCALE = pd.Series({"small": 2.0, "large": 1e4, "skewed": 3.0, "rounded": 0.5})

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
