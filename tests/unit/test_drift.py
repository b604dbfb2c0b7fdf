"""What is counted of columns equals what pandas counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlserver_pyfunc.drift import MAX_COLUMNS, NOTHING, watch_columns
from pyfunc_packaging.frame import from_series
from pyfunc_packaging.profile import profile
from pyfunc_packaging.schema import Column

TEXTS = st.sampled_from(["a", "b", "c", "d", "", "None", "nan"])
FLOATS = st.floats(allow_nan=True, allow_infinity=True)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
DAYS = st.integers(0, 40_000)


def watch(column: Column, training: pd.Series) -> Any:
    frame = pd.DataFrame({column.name: training})
    [found] = watch_columns([column], profile([column], frame))
    return found


def series(cells: list[Any], dtype: str) -> pd.Series:
    return pd.Series(cells, dtype=dtype)


@settings(max_examples=100, deadline=None)
@given(
    training=st.lists(FLOATS, max_size=8),
    cells=st.lists(FLOATS, max_size=8),
    times=st.sampled_from([1, 20]),
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_floats(dtype: str, training: list[float], cells: list[float], times: int) -> None:
    with np.errstate(over="ignore"):
        known = series(training, "float64").astype(dtype)
        values = np.array(cells * times, "float64").astype(dtype)
    column = Column("x", "double" if dtype == "float64" else "float", nullable=True, dtype=dtype)
    counts = watch(column, known)
    finite = known[np.isfinite(known)]
    missing = int(np.isnan(values).sum())
    outside = 0
    if len(finite):
        outside = sum(not finite.min() <= cell <= finite.max() for cell in values) - missing
    assert counts.has_range == (len(finite) > 0)
    assert counts.tally(values) == (missing, 0, outside)


@settings(max_examples=100, deadline=None)
@given(
    training=st.lists(INTEGERS, min_size=1, max_size=8),
    cells=st.lists(st.none() | INTEGERS, max_size=8),
    times=st.sampled_from([1, 20]),
)
def test_integers_with_gaps(training: list[int], cells: list[int | None], times: int) -> None:
    """As doubles, which is what the profile holds."""
    column = Column("x", "long", nullable=True, dtype="Int64")
    counts = watch(column, series(training, "Int64"))
    values = from_series(column, series(cells * times, "Int64"))
    low, high = float(min(training)), float(max(training))
    present = [cell for cell in cells if cell is not None]
    outside = sum(not low <= float(cell) <= high for cell in present)
    found = ((len(cells) - len(present)) * times, 0, outside * times)
    assert counts.tally(values) == found


@settings(max_examples=100, deadline=None)
@given(
    training=st.lists(st.none() | TEXTS, min_size=1, max_size=8),
    cells=st.lists(st.none() | TEXTS, max_size=8),
    times=st.sampled_from([1, 20]),
)
def test_texts(training: list[str | None], cells: list[str | None], times: int) -> None:
    column = Column("x", "string", nullable=True, dtype="object", missing="None")
    counts = watch(column, series(training, "object"))
    values = np.array([*cells * times, None], dtype=object)[:-1]
    known = set(training) - {None}
    missing = cells.count(None)
    unseen = sum(cell is not None and cell not in known for cell in cells) if known else 0
    assert counts.has_categories == bool(known)
    assert counts.tally(values) == (missing * times, unseen * times, 0)


@settings(max_examples=100, deadline=None)
@given(
    training=st.lists(st.booleans(), min_size=1, max_size=4),
    cells=st.lists(st.none() | st.booleans(), max_size=8),
)
def test_booleans(training: list[bool], cells: list[bool | None]) -> None:
    column = Column("x", "boolean", nullable=True, dtype="boolean")
    counts = watch(column, series(training, "boolean"))
    values = from_series(column, series(cells, "boolean"))
    unseen = sum(cell is not None and cell not in training for cell in cells)
    assert counts.tally(values) == (cells.count(None), unseen, 0)


@settings(max_examples=100, deadline=None)
@given(
    training=st.lists(DAYS, min_size=1, max_size=4),
    cells=st.lists(st.none() | DAYS, max_size=8),
    times=st.sampled_from([1, 20]),
)
def test_datetimes(training: list[int], cells: list[int | None], times: int) -> None:
    column = Column("x", "datetime", nullable=True, dtype="datetime64[ns]")
    counts = watch(column, pd.Series(pd.to_datetime(training, unit="D")))
    days = ["NaT" if cell is None else cell for cell in cells * times]
    values = np.array([np.datetime64(cell, "D") for cell in days], "M8[D]")
    outside = sum(not min(training) <= cell <= max(training) for cell in cells if cell is not None)
    found = (cells.count(None) * times, 0, outside * times)
    assert counts.tally(values.astype("M8[ns]")) == found


def test_nothing_strange_is_one_object_that_costs_no_lock() -> None:
    counts = watch(Column("x", "double"), pd.Series([1.0, 3.0]))
    assert counts.tally(np.array([2.0])) is NOTHING
    assert counts.tally(np.full(1000, 2.0)) is NOTHING


def test_what_was_found_adds_up() -> None:
    counts = watch(Column("x", "double", nullable=True), pd.Series([1.0, np.nan]))
    assert counts.training_missing == 1
    counts.add(counts.tally(np.array([np.nan, 7.0])))
    counts.add(counts.tally(np.array([np.nan, 1.0])))
    assert (counts.missing, counts.unseen, counts.outside) == (2, 0, 1)


def test_texts_of_too_many_kinds_are_not_looked_up() -> None:
    counts = watch(Column("x", "string"), pd.Series([f"id-{n}" for n in range(100)]))
    assert not counts.has_categories
    assert counts.tally(np.array(["new"], dtype=object)) is NOTHING


def test_bytes_can_only_be_missing() -> None:
    counts = watch(Column("x", "binary", nullable=True), pd.Series([b"a", b"b"], dtype=object))
    assert counts.tally(np.array([b"c", None], dtype=object)) == (1, 0, 0)


def test_only_the_first_columns_are_counted() -> None:
    columns = [Column(f"x{n}", "double") for n in range(MAX_COLUMNS + 5)]
    described = {column.name: {"missing": 0} for column in columns}
    found = watch_columns(columns, {"columns": described})
    assert [counts.name for counts in found] == [c.name for c in columns[:MAX_COLUMNS]]


def test_columns_without_a_profile_are_not_counted() -> None:
    assert watch_columns([Column("x", "double")], {}) == []
