"""Integers of which pandas makes floats in some batches alone, in recorded Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.schema import Schema
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles

Function = Callable[[pd.DataFrame], Any]


def numbers(dtype: str = "int64") -> pd.DataFrame:
    random = np.random.default_rng(0)
    table = {"a": random.integers(-9, 10, 60), "b": random.integers(0, 9, 60)}
    return pd.DataFrame(table).astype(dtype).assign(x=random.normal(size=60))


def graph_of(function: Function, X: pd.DataFrame) -> Callable[[pd.DataFrame], Any]:
    """The compiled function."""
    columns = infer_columns(X)
    model = FunctionTransformer(function).fit(X)
    session = OnnxSession(build_graph(model, columns, method="transform"), columns)
    return lambda rows: session.run(from_frame(Schema(columns), rows))["prediction"]


def refusal(function: Function, X: pd.DataFrame) -> str:
    with pytest.raises(NotCompilable) as caught:
        graph_of(function, X)
    return caught.value.reason


def rest(X: pd.DataFrame) -> Any:
    return X.assign(n=(X.a % X.b) * X.a)


def quotient(X: pd.DataFrame) -> Any:
    return X.assign(n=(X.a // X.b) * (X.a // X.b))


def of_a_constant(X: pd.DataFrame) -> Any:
    return X.assign(n=(7 // X.b) * X.a)


def by_what_is_seldom_zero(X: pd.DataFrame) -> Any:
    return X.assign(n=X.a // (X.b - 123457) * 2**40)


def where(X: pd.DataFrame) -> Any:
    positive = X.a.where(X.a > 0)
    return X.assign(n=positive * positive)


def where_seldom(X: pd.DataFrame) -> Any:
    seldom = X.b * X.b == 37 * 37
    column = X.a.mask(seldom)
    return X.assign(n=column * column, m=X[["a"]].mask(seldom.to_frame("a"), 0.5)["a"] * 3)


def where_frame(X: pd.DataFrame) -> Any:
    pair = X[["a", "b"]]
    return pair.where(pair > 0) * pair


def masked(X: pd.DataFrame) -> Any:
    column = X.a.mask(X.a < 0, 0.5).mask(X.a == 7, 70)
    return X.assign(n=column * column)


def clipped(X: pd.DataFrame) -> Any:
    column = X.a.clip(-3, 4.5e18)
    return X.assign(n=column * column, m=X.a.clip(upper=7.5).astype(int) % 10)


def replaced(X: pd.DataFrame) -> Any:
    column = X.a.replace({0: np.nan, 3: 4})
    return X.assign(n=column * column)


def mapped(X: pd.DataFrame) -> Any:
    level = (X.b % 2).map({0: 2**40, 1: 2**40 + 1})
    return X.assign(n=level * level)


def sums(X: pd.DataFrame) -> Any:
    return X.assign(n=X[["a", "b"]].where(X[["a", "b"]] != 1).sum(axis=1))


EXACT = [
    rest,
    quotient,
    of_a_constant,
    by_what_is_seldom_zero,
    where,
    where_seldom,
    where_frame,
    masked,
    clipped,
    replaced,
    mapped,
    sums,
]
ROWS = [
    {"a": 2**62, "b": 37},
    {"a": 2**62 + 1, "b": 0},
    {"a": -(2**62) - 1, "b": 3},
    {"a": 3037000501, "b": 3},
    {"a": -3037000501, "b": 123457},
    {"a": 2**40, "b": 3},
    {"a": 2**63 - 1, "b": 1},
    {"a": -(2**63), "b": -1},
    {"a": 7, "b": 2},
    {"a": 0, "b": 1},
]


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
@pytest.mark.parametrize("function", EXACT)
def test_int64_wraps_around_where_pandas_keeps_it(function: Function) -> None:
    X = numbers()
    compiled = graph_of(function, X)
    rows = pd.DataFrame(ROWS).assign(x=0.25)
    batches = [rows.iloc[[number]] for number in range(len(rows))]
    batches += [rows.iloc[:1], rows.iloc[:3], rows.iloc[3:6], rows]
    for batch in batches:
        expected = np.asarray(function(batch.copy()), dtype=np.float64)
        np.testing.assert_array_equal(compiled(batch), expected)
    assert assert_compiles(FunctionTransformer(function).fit(X), X, method="transform").rows > 60


SMALL: list[tuple[Function, str]] = [
    (rest, "multiply of whole numbers that pandas makes floats of in some batches alone"),
    (quotient, "floor_divide of integers smaller than int64"),
    (where, "multiply of whole numbers"),
    (where_frame, "multiply of whole numbers"),
    (masked, "multiply of whole numbers"),
    (lambda X: X.assign(n=X.a.where(X.a > 0, X.a.astype("int64") * 1000)), "less than 64 bits"),
    (lambda X: X.assign(n=X.a.clip(upper=7.5) * 2), "multiply of whole numbers"),
    (lambda X: X.assign(n=np.sqrt(X.a.clip(lower=0.5))), "sqrt of whole numbers"),
    (replaced, "multiply of whole numbers"),
]


@pytest.mark.parametrize(("function", "reason"), SMALL)
def test_smaller_integers_are_refused_where_they_would_wrap_around(
    function: Function, reason: str
) -> None:
    found = refusal(function, numbers("int8"))
    assert reason in found
    assert "use .astype(float) before" in found


INT64: list[tuple[Function, str]] = [
    (lambda X: X.assign(n=X.a.where(X.b > 0, X.x) * 2), "multiply of whole numbers"),
    (lambda X: (X[["a", "b"]] // X[["a", "b"]]) * 2, "multiply of whole numbers"),
    (lambda X: (7 // X[["a", "b"]]) * 2, "multiply of whole numbers"),
    (lambda X: X.assign(n=X.a.where(X.b > 0, X.x).astype(int)), "become integers"),
    (lambda X: X.assign(n=(X.a // X.b).dtype == float), ".dtype depends on the batch"),
    (
        lambda X: X.assign(n=X.a // X.b).select_dtypes("int64"),
        "select_dtypes() depends on the batch",
    ),
]


@pytest.mark.parametrize(("function", "reason"), INT64)
def test_what_is_not_known_is_refused(function: Function, reason: str) -> None:
    assert reason in refusal(function, numbers())


def test_an_assignment_to_integers_that_may_be_floats_is_refused() -> None:
    def assigned(X: pd.DataFrame) -> Any:
        X = X.assign(n=X.a.clip(upper=7.5))
        X.loc[X.b > 3, "n"] = 0.5
        return X

    def in_an_array(X: pd.DataFrame) -> Any:
        n = X.a.clip(upper=7.5).to_numpy()
        n[n < 0] = 0.5
        return X.assign(n=n)

    assert "changes the type of the values" in refusal(assigned, numbers())
    assert "whose type depends on the batch" in refusal(in_an_array, numbers())


def usual(X: pd.DataFrame) -> Any:
    whole = X[["a", "b"]]
    return X.assign(
        ratio=X["a"] / X["b"],
        clipped=X["a"].clip(upper=7.5),
        scaled=X["a"].clip(upper=7.5) / X["b"],
        quotient=X["a"] // 4,
        rest=X["a"] % X["b"],
        positive=X["a"].where(X["a"] > 0),
        chosen=np.where(X["a"] > 0, X["a"], np.nan) * 2,
        filled=X["a"].where(X["a"] > 0).fillna(0).astype(float) * 2,
        moved=X["a"].where(X["a"] > 0) + 0.5,
        above=(X["a"].mask(X["a"] > 3, 3.5) > X["x"]) * 1.0,
        table=whole.where(whole > 0).mean(axis=1),
        twice=X["a"].astype(float).clip(upper=7.5) * 2,
    )


@pytest.mark.parametrize("dtype", ["int64", "int32", "int8"])
def test_usual_code_compiles(dtype: str) -> None:
    X = numbers(dtype)

    def features(X: pd.DataFrame) -> Any:
        X = usual(X)
        return X if dtype != "int64" else X.assign(log=np.log1p(X["b"].clip(upper=7.5)))

    def floats(X: pd.DataFrame) -> Any:
        return X.assign(n=7.5 // X["b"] * 2)

    assert assert_compiles(FunctionTransformer(floats).fit(X), X, method="transform").rows > 60
    if dtype != "int64":  # a constant divisor leaves integers as small as they are
        assert "use .astype(float) before" in refusal(features, X)

        def features(X: pd.DataFrame) -> Any:
            return usual(X.assign(a=X.a, b=X.b).astype({"a": "int64", "b": "int64"}))

    assert assert_compiles(FunctionTransformer(features).fit(X), X, method="transform").rows > 60


def test_what_depends_on_the_batch_does_so_in_later_steps() -> None:
    X = numbers()
    first = FunctionTransformer(lambda X: X.assign(n=X.a.where(X.b > 0, X.x)))
    then = FunctionTransformer(lambda X: X.assign(m=X.n * X.n))
    model = make_pipeline(first, then).fit(X)
    with pytest.raises(NotCompilable, match="multiply of whole numbers"):
        assert_compiles(model, X, method="transform")
    exact = make_pipeline(FunctionTransformer(lambda X: X.assign(n=X.a // X.b)), then).fit(X)
    assert assert_compiles(exact, X, method="transform").rows > 60
