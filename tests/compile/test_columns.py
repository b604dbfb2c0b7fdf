"""Columns of types that graphs do not compute with: datetimes and bytes, and narrow floats."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor, VotingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from pyfunc_packaging.compilation import compile_model
from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.compile.proof import prove
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.features import ColumnFeatures
from pyfunc_packaging.frame import to_frame
from pyfunc_packaging.schema import Column, Schema
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles
from pyfunc_packaging.trial import make_schema


def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "when": pd.date_range("2024-01-01", periods=50, tz="Europe/Paris"),
            "a": random.normal(size=50),
            "b": random.normal(size=50),
            "c": random.choice(list("xyz"), 50),
        }
    )


def numbers(*names: str) -> Any:
    """Some columns, scaled; all others are dropped."""
    return make_column_transformer((StandardScaler(), list(names or ("a", "b"))))


def without(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="when")


def popped(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame.pop("when")
    frame["one"] = 1.0
    return frame


def passed_on(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame["one"] = 1.0
    frame["side"] = np.where(frame["a"] > 0, 1.0, frame["b"])
    return frame


def year(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame["year"] = frame["when"].dt.year.astype(float)
    return frame


def newer(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(newer=frame["when"] > pd.Timestamp("2024-02-01", tz="UTC"))


def known(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(known=frame["when"].notna())


def swallowed(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    try:
        frame["year"] = frame["when"].dt.year.astype(float)
    except Exception:  # noqa: BLE001 - as users do
        frame["year"] = 0.0
    return frame


@pytest.mark.parametrize(
    "steps",
    [
        [],
        [FunctionTransformer(without)],
        [FunctionTransformer(popped)],
        [FunctionTransformer(passed_on), numbers("one", "side", "a", "b")],
        [ColumnFeatures({"ratio": "a / b", "three": "3", "twice": lambda X: X["a"] * 2})],
    ],
)
def test_a_column_that_is_dropped_is_no_input(steps: list[Any]) -> None:
    X = table()
    steps = steps if len(steps) > 1 else [*steps, numbers()]
    model = make_pipeline(*steps, LinearRegression()).fit(X, X["a"])
    proof = assert_compiles(model, X)
    assert proof.refused == 0
    columns = make_schema(model, X, None, None).columns
    session = OnnxSession(build_graph(model, columns), columns)
    assert session.run({"a": np.ones(2), "b": np.ones(2)})["prediction"].shape == (2,)


@pytest.mark.parametrize(
    "change",
    [
        lambda when: when.mask(np.arange(50) % 3 == 0),
        lambda when: when.dt.tz_localize(None).astype("datetime64[s]"),
        lambda when: pd.Series(list(when.dt.to_pydatetime()), dtype=object),
    ],
)
def test_datetimes_as_pandas_holds_them(change: Callable[..., Any]) -> None:
    X = table()
    X["when"] = change(X["when"].dt.tz_convert("UTC").dt.tz_localize(None))
    model = VotingRegressor([("one", make_pipeline(numbers(), LinearRegression()))])
    assert_compiles(model.fit(X, X["a"]), X)


def predictions(model: Any, rows: pd.DataFrame) -> dict[str, Any]:
    return {"prediction": model.predict(rows)}


def test_bytes_that_are_dropped() -> None:
    columns = [Column("raw", "binary", nullable=True), Column("a", "double", nullable=True)]
    values = {"raw": np.array([b"x", None, b""], dtype=object), "a": np.array([1.0, 2.0, 4.0])}
    X = to_frame(columns, values)
    for steps in ([], [FunctionTransformer(lambda X: X.assign(one=1.0))]):
        model = make_pipeline(*steps, numbers("a"), RandomForestRegressor(3)).fit(X, X["a"])
        graph = build_graph(model, columns)
        prove(partial(predictions, model), graph, Schema(tuple(columns)), X)


@pytest.mark.parametrize("function", [year, newer, known, swallowed])
def test_a_function_that_uses_the_column(function: Callable[..., Any]) -> None:
    X = table()
    model = make_pipeline(FunctionTransformer(function), numbers(), LinearRegression())
    with pytest.raises(NotCompilable) as refusal:
        assert_compiles(model.fit(X, X["a"]), X)
    assert refusal.value.step == "Pipeline → functiontransformer"
    assert refusal.value.reason.startswith(f"{__file__}, line ")
    assert refusal.value.reason.endswith(
        f"in {function.__name__}: column 'when' is datetime, which no graph takes"
    )


def test_a_step_that_uses_the_column() -> None:
    X = table()
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    encode = make_column_transformer((encoder, ["when"]), (StandardScaler(), ["a"]))
    model = make_pipeline(encode, LinearRegression()).fit(X, X["a"])
    columns = make_schema(model, X, None, None).columns
    reason = "→ onehotencoder: column 'when' is datetime, which no graph takes"
    with pytest.raises(NotCompilable, match=reason):
        build_graph(model, columns)
    keep = make_column_transformer(("passthrough", ["when"])).fit(X)
    with pytest.raises(NotCompilable, match=r"the result holds .*: column 'when' is datetime"):
        build_graph(keep, columns, method="transform")


# --- float32 ----------------------------------------------------------------------------------

HINT = (
    "; the column(s) 'a', 'b' are float32, in which scikit-learn computes where it can, while"
    " graphs compute in float64: try X.astype({'a': \"float64\", 'b': \"float64\"}) before fit"
)


@pytest.mark.parametrize("step", [StandardScaler(), PCA()])
def test_what_is_computed_in_float32_says_so(step: Any) -> None:
    X = table().astype({"a": "float32", "b": "float32"})
    one = make_column_transformer((step, ["a", "b"]), (OneHotEncoder(), ["c"]))
    # a table of numbers beside texts is no tensor, and so is not what is to blame
    model = make_pipeline(FunctionTransformer(without), one, LinearRegression()).fit(X, X["a"])
    compiled = compile_model(model, make_schema(model, X, None, None), X, mode="auto")
    assert compiled.graph is None
    assert compiled.facts["step"] == "columntransformer"
    assert compiled.facts["reason"].endswith(HINT)


def test_float32_beside_float64_is_computed_in_float64() -> None:
    X = table().astype({"b": "float32"})
    assert_compiles(make_pipeline(numbers(), LinearRegression()).fit(X, X["a"]), X)


def test_float32_that_is_only_compared() -> None:
    X = table()[["a", "b"]].astype("float32")
    assert_compiles(RandomForestRegressor(3, random_state=0).fit(X, X["a"]), X)


def product(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(product=frame["a"] * frame["b"])


def test_a_function_that_computes_in_float32() -> None:
    X = table()[["a", "b"]].astype("float32")
    model = make_pipeline(FunctionTransformer(product), LinearRegression()).fit(X, X["a"])
    reason = r"in product: the result has the type float32, .*; use \.astype\(float\) before"
    with pytest.raises(NotCompilable, match=reason):
        assert_compiles(model, X)
