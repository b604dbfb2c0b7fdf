"""Tables and targets that every family of estimators is tried on."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone

from pyfunc_packaging.testing import assert_compiles


def make_table(kind: str, rows: int, seed: int) -> pd.DataFrame:
    """A table with columns of one kind.

    ``numbers`` are of several scales, ``positive`` all above zero, ``gaps`` numbers with missing
    values, ``counts`` integers, ``flags`` booleans and integers, ``texts`` texts, ``text gaps``
    texts with missing values, ``categories`` numbers and texts of dtype
    category with missing values, ``mixed`` some of all.
    """
    random = np.random.default_rng(seed)

    def numbers() -> dict[str, Any]:
        return {
            "small": random.normal(0.0, 1.0, rows),
            "large": random.normal(2e4, 1e4, rows),
            "skewed": random.lognormal(0.0, 1.5, rows),
            "rounded": random.integers(-3, 4, rows) / 2.0,
        }

    def with_gaps(columns: dict[str, Any]) -> dict[str, Any]:
        result = {}
        for name, cells in columns.items():
            gaps = random.random(rows) < 0.15
            gaps[0] = False
            result[name] = pd.Series(cells).mask(gaps)
        return result

    def texts() -> dict[str, Any]:
        letters = random.choice(list("abcdef"), rows, p=[0.4, 0.25, 0.2, 0.1, 0.04, 0.01])
        places = random.choice(["inland", "near bay", "<1h ocean", "Île"], rows)
        return {
            "letter": pd.Series(letters, dtype="str"),
            "place": pd.Series(places, dtype="str"),
        }

    def counts() -> dict[str, Any]:
        return {
            "rooms": random.integers(0, 6, rows),
            "code": random.choice([1, 3, 10, 200], rows),
        }

    tables: dict[str, Callable[[], dict[str, Any]]] = {
        "numbers": numbers,
        "positive": lambda: {name: np.abs(cells) + 0.1 for name, cells in numbers().items()},
        "gaps": lambda: with_gaps(numbers()),
        "counts": counts,
        "flags": lambda: {"flag": random.random(rows) < 0.5, **counts()},
        "texts": texts,
        "text gaps": lambda: with_gaps(texts()),
        "categories": lambda: {
            **with_gaps(numbers()),
            **{name: cells.astype("category") for name, cells in with_gaps(texts()).items()},
        },
        "mixed": lambda: {**with_gaps(numbers()), **counts(), **with_gaps(texts())},
    }
    return pd.DataFrame(tables[kind]())


def make_target(kind: str, X: pd.DataFrame, seed: int) -> Any:
    """A target that depends on the table: ``regression``, ``positive``, ``binary``, ``classes``,
    ``text classes``, ``several`` (three columns)."""
    random = np.random.default_rng(seed + 1)
    codes = X.apply(lambda c: pd.factorize(c, sort=True)[0] if c.dtype.kind not in "biuf" else c)
    filled = codes.astype(float).fillna(0.0)
    spread = (filled - filled.mean()) / filled.std().replace(0.0, 1.0)
    value = spread.to_numpy() @ random.normal(size=X.shape[1]) + random.normal(0, 0.1, len(X))
    value = value + np.where(value > 0.5, 1.0, 0.0)
    if kind == "regression":
        return value
    if kind == "positive":
        return np.exp(value / 3)
    if kind == "several":
        return np.column_stack([value, value**2, -value])
    if kind == "binary":
        return (value > np.median(value)).astype(int)
    ranks = pd.qcut(pd.Series(value).rank(method="first"), 3, labels=False).to_numpy()
    if kind == "text classes":
        return np.array(["low", "middle", "high"], dtype=object)[ranks]
    return ranks


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of cases without addresses in memory, which differ from process to process."""
    if isinstance(val, BaseEstimator | FunctionType):
        return re.sub(r" at 0x[0-9a-f]+", "", getattr(val, "__name__", str(val)))
    return None


@pytest.fixture(scope="session")
def prove_case() -> Callable[..., None]:
    """Fit a copy of an estimator on a made table, and prove its graph."""

    def run(
        estimator: Any,
        data: str,
        *,
        seed: int,
        rows: int,
        target: str = "regression",
        method: str = "predict",
    ) -> None:
        X = make_table(data, rows, seed)
        y = make_target(target, X, seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few rows make many a solver complain
            fitted = clone(estimator).fit(X, y)
        assert_compiles(fitted, X, method=method)

    return run


@pytest.fixture(scope="session")
def table() -> Callable[[str, int, int], pd.DataFrame]:
    """`make_table`, for tests of a single table."""
    return make_table


@pytest.fixture(scope="session")
def target() -> Callable[[str, pd.DataFrame, int], Any]:
    """`make_target`, likewise."""
    return make_target
