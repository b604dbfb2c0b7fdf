import datetime
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.frame import from_frame, from_json, to_frame, to_json
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.schema import Column, Schema


def integers(dtype):
    limits = np.iinfo(dtype.lower().partition("[")[0])
    return st.integers(limits.min, min(limits.max, 2**63 - 1))


def floats(width, *, infinite=True):
    return st.floats(width=width, allow_nan=False, allow_infinity=infinite)


def moments(unit):
    """Moments of a unit within the years that nanoseconds reach."""
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    return st.integers(-9 * 10**9 * per_second, 9 * 10**9 * per_second)


def cells(values, missing=None, *, present=False):
    """Lists of one to six values, some of them missing; with ``present`` the first one is not."""
    rest = st.lists(values if missing is None else values | st.just(missing[0]), max_size=5)
    first = values if present or missing is None else values | st.just(missing[0])
    return st.builds(lambda head, tail: [head, *tail], first, rest)


NONE = (None,)
TEXT = st.text(max_size=4)
SERIES = {
    **{
        dtype: cells(integers(dtype)).map(lambda c, d=dtype: pd.Series(c, dtype=d))
        for dtype in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
    **{
        dtype: cells(integers(dtype), NONE).map(lambda c, d=dtype: pd.Series(c, dtype=d))
        for dtype in (
            "Int8",
            "Int32",
            "Int64",
            "UInt8",
            "UInt64",
            "int8[pyarrow]",
            "int64[pyarrow]",
        )
    },
    **{
        dtype: cells(floats(width), (np.nan,)).map(lambda c, d=dtype: pd.Series(c, dtype=d))
        for dtype, width in (("float16", 16), ("float32", 32), ("float64", 64))
    },
    **{
        dtype: cells(floats(width), NONE).map(lambda c, d=dtype: pd.Series(c, dtype=d))
        for dtype, width in (
            ("Float32", 32),
            ("Float64", 64),
            ("float[pyarrow]", 32),
            ("double[pyarrow]", 64),
        )
    },
    "bool": cells(st.booleans()).map(lambda c: pd.Series(c, dtype="bool")),
    **{
        dtype: cells(st.booleans(), NONE).map(lambda c, d=dtype: pd.Series(c, dtype=d))
        for dtype in ("boolean", "bool[pyarrow]")
    },
    **{
        dtype: cells(TEXT, NONE).map(lambda c, d=dtype: pd.Series(c, dtype=d))
        for dtype in ("str", "string", "large_string[pyarrow]")
    },
    **{
        f"object of {kind}, {marker} where missing": cells(values, (marker,), present=True).map(
            lambda c: pd.Series(c, dtype=object)
        )
        for kind, values in (
            ("text", TEXT),
            ("integers", integers("int64")),
            ("booleans", st.booleans()),
            ("floats", floats(64)),
            (
                "datetimes",
                st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
            ),
        )
        for marker in (None, np.nan, pd.NA)
    },
    **{
        f"datetime64[{unit}]": cells(moments(unit), ("NaT",)).map(
            lambda c, u=unit: pd.Series([np.datetime64(cell, u) for cell in c]).astype(
                f"datetime64[{u}]"
            )
        )
        for unit in ("s", "ms", "us", "ns")
    },
    **{
        f"datetime64[{unit}, {zone}]": cells(moments(unit), ("NaT",)).map(
            lambda c, u=unit, z=zone: (
                pd.Series([np.datetime64(cell, u) for cell in c])
                .astype(f"datetime64[{u}]")
                .dt.tz_localize("UTC")
                .dt.tz_convert(z)
            )
        )
        for unit, zone in (("s", "UTC"), ("us", "Europe/Berlin"), ("ns", "UTC+05:30"))
    },
    **{
        dtype: cells(moments("us"), ("NaT",)).map(
            lambda c, d=dtype: pd.Series([np.datetime64(cell, "us") for cell in c]).astype(d)
        )
        for dtype in (
            "timestamp[us][pyarrow]",
            "timestamp[us, tz=UTC][pyarrow]",
            "timestamp[us, tz=Europe/Berlin][pyarrow]",
        )
    },
}


@st.composite
def categoricals(draw, values, dtype):
    categories = draw(st.lists(values, min_size=1, max_size=4, unique=True))
    drawn = draw(st.lists(st.none() | st.sampled_from(categories), min_size=1, max_size=6))
    index = pd.Index(categories, dtype=dtype)
    return pd.Series(pd.Categorical(drawn, index, ordered=draw(st.booleans())))


SERIES |= {
    "categories of text": categoricals(TEXT, "str"),
    "categories of integers": categoricals(integers("int64"), "int64"),
    "categories of floats": categoricals(floats(64, infinite=False), "float64"),
    "categories of booleans": categoricals(st.booleans(), "bool"),
}


def describe(frame):
    columns = infer_columns(frame)
    return tuple(replace(column, nullable=True) for column in columns)


@pytest.mark.parametrize("kind", SERIES)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_a_frame_survives_the_columns_of_its_signature_and_json(kind, data):
    frame = pd.DataFrame({"x": data.draw(SERIES[kind], label=kind)})
    [column] = columns = describe(frame)
    values = from_frame(Schema(columns), frame)
    pd.testing.assert_frame_equal(to_frame(columns, values), frame)

    sent = values["x"]
    if sent.dtype.kind == "f":  # JSON has no infinite numbers, and golden rows hold none
        sent = np.where(np.isinf(sent), 1.0, sent).astype(sent.dtype)
    text = json.dumps(to_json(column.type, sent), allow_nan=False)
    again = from_json(column, json.loads(text))
    assert again.dtype == sent.dtype
    np.testing.assert_array_equal(np.ma.getmaskarray(again), np.ma.getmaskarray(sent))
    pd.testing.assert_frame_equal(to_frame(columns, {"x": again}), to_frame(columns, {"x": sent}))


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["int64", "float64", "bool", "str", "Int64", "datetime64[us]"])
def test_any_number_of_rows_makes_a_frame(dtype, rows):
    frame = pd.DataFrame({"x": pd.Series([1] * 3).astype(dtype)})
    columns = describe(frame)
    frame = frame.head(rows)
    pd.testing.assert_frame_equal(to_frame(columns, from_frame(Schema(columns), frame)), frame)


# --- to_frame ------------------------------------------------------------------------------


def one(column, values, mask=None):
    array = np.array(values) if mask is None else np.ma.MaskedArray(values, mask=mask)
    return to_frame([column], {column.name: array})[column.name]


def test_columns_come_in_the_order_of_the_signature():
    columns = [Column("b", "long"), Column("a", "double")]
    frame = to_frame(columns, {"a": np.array([1.5]), "b": np.array([2])})
    assert list(frame) == ["b", "a"]
    assert [str(dtype) for dtype in frame.dtypes] == ["int64", "float64"]


def test_integers_with_gaps_become_what_pandas_makes_of_them():
    series = one(Column("x", "long", nullable=True, dtype="int64"), [1, 0], [False, True])
    assert series.dtype == np.float64
    np.testing.assert_array_equal(series, [1.0, np.nan])
    exact = one(Column("x", "long", nullable=True, dtype="Int64"), [2**53 + 1, 0], [False, True])
    assert exact.tolist() == [2**53 + 1, pd.NA]


def test_integers_that_gaps_would_blur_are_refused():
    column = Column("age", "long", nullable=True, dtype="int64")
    with pytest.raises(UnsuitableData, match=r"column 'age': an integer beyond 2\*\*53 next to"):
        one(column, [2**53 + 1, 0], [False, True])


def test_booleans_with_gaps_become_objects():
    series = one(Column("x", "boolean", nullable=True, dtype="bool"), [True, False], [False, True])
    assert series.dtype == object
    assert series.tolist() == [True, None]


@pytest.mark.parametrize(("missing", "marker"), [("None", None), (None, None), ("NA", pd.NA)])
def test_the_marker_of_training_stands_for_what_is_missing(missing, marker):
    column = Column("x", "string", nullable=True, dtype="object", missing=missing)
    values = np.array(["a", None], dtype=object)
    assert one(column, values).tolist() == ["a", marker]


def test_unseen_categories_stay_visible_after_those_of_training():
    column = Column("x", "string", nullable=True, dtype="category", categories=("b", "a"))
    series = one(column, np.array(["z", "a", None, "b", "c"], dtype=object))
    assert series.cat.categories.tolist() == ["b", "a", "c", "z"]
    assert series.cat.codes.tolist() == [3, 1, -1, 0, 2]


@pytest.mark.parametrize("dtype", ["int8", "Int8", "int8[pyarrow]", "uint8", "UInt8"])
@pytest.mark.parametrize("value", [300, -200])
def test_integers_beyond_the_dtype_of_training_are_refused(dtype, value):
    with pytest.raises(UnsuitableData, match=r"column 'n': a number is too large for (?i:u?int8)"):
        one(Column("n", "integer", dtype=dtype), [0, value])


def test_a_negative_number_for_an_unsigned_column_is_refused():
    with pytest.raises(UnsuitableData, match="column 'n': a number is too large for uint64"):
        one(Column("n", "long", dtype="uint64"), [-1])


def test_a_float_beyond_the_dtype_of_training_is_refused():
    column = Column("n", "float", dtype="float16")
    with pytest.raises(UnsuitableData, match="column 'n': a number is too large for float16"):
        one(column, np.array([7e4], dtype="float32"))
    assert one(column, np.array([1.5, np.inf], dtype="float32")).tolist() == [1.5, np.inf]


@pytest.mark.parametrize(
    "dtype", ["datetime64[s]", "datetime64[s, Europe/Berlin]", "timestamp[s][pyarrow]"]
)
def test_moments_finer_than_the_dtype_of_training_are_refused(dtype):
    column = Column("at", "datetime", dtype=dtype)
    whole = np.array(["2026-11-22T14:00:00"], dtype="datetime64[ns]")
    assert one(column, whole).dt.second.tolist() == [0]
    with pytest.raises(UnsuitableData, match="column 'at': a datetime is finer than "):
        one(column, whole + np.timedelta64(500, "ms"))


# --- from_frame ----------------------------------------------------------------------------


def take(kind, series, *, nullable=True):
    schema = Schema((Column("age", kind, nullable=nullable),))
    return from_frame(schema, pd.DataFrame({"age": series}))["age"]


def test_columns_in_another_order_and_more_of_them_are_fine():
    schema = Schema((Column("a", "double"), Column("b", "string")))
    frame = pd.DataFrame({"z": [0], "b": ["t"], "a": [1]}, index=[7])
    values = from_frame(schema, frame)
    assert list(values) == ["a", "b"]
    assert values["a"].tolist() == [1.0]
    assert values["b"].tolist() == ["t"]


def test_missing_columns_are_named():
    schema = Schema((Column("a", "double"), Column("b", "string"), Column("c", "long")))
    with pytest.raises(UnsuitableData, match=r"lack the column\(s\) 'a', 'c'; .* takes a, b, c"):
        from_frame(schema, pd.DataFrame({"b": ["t"]}))


def test_repeated_columns_are_refused_where_they_matter():
    schema = Schema((Column("a", "double"),))
    frame = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "b"])
    assert from_frame(schema, frame)["a"].tolist() == [1.0]
    with pytest.raises(UnsuitableData, match=r"the column\(s\) 'a' more than once"):
        from_frame(schema, frame.set_axis(["a", "a", "b"], axis=1))


@pytest.mark.parametrize("rows", [{"a": [1]}, [[1]], np.zeros((1, 1)), None])
def test_other_things_than_frames_are_refused(rows):
    with pytest.raises(UnsuitableData, match="should be a pandas DataFrame, found "):
        from_frame(Schema((Column("a", "double"),)), rows)


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("double", pd.Series([1.0, np.nan])),
        ("long", pd.Series([1, None], dtype="Int64")),
        ("string", pd.Series(["a", None])),
        ("boolean", pd.Series([True, None])),
        ("datetime", pd.Series([pd.Timestamp("2026-01-01"), pd.NaT])),
        ("long", pd.Series(pd.Categorical([1, None]))),
    ],
)
def test_missing_values_are_refused_where_the_model_cannot_handle_them(kind, series):
    with pytest.raises(UnsuitableData, match=r"column 'age': 1 value\(s\) are missing"):
        take(kind, series, nullable=False)
    assert len(take(kind, series)) == 2


@pytest.mark.parametrize(
    ("kind", "series", "expected"),
    [
        ("double", pd.Series([1, 2**53]), [1.0, 2.0**53]),
        ("double", pd.Series([True, False]), [1.0, 0.0]),
        ("double", pd.Series([1, 2], dtype="category"), [1.0, 2.0]),
        ("float", pd.Series([0.5, 2**24]), [0.5, 2.0**24]),
        ("long", pd.Series([1.0, -2.0]), [1, -2]),
        ("long", pd.Series([True]), [1]),
        ("integer", pd.Series([2**31 - 1, -(2**31)]), [2**31 - 1, -(2**31)]),
        ("boolean", pd.Series([1, 0]), [True, False]),
        ("boolean", pd.Series([1.0, 0.0]), [True, False]),
        ("boolean", pd.Series(["a"]).notna(), [True]),
        ("string", pd.Series(["a"], dtype="category"), ["a"]),
    ],
)
def test_lossless_conversions_are_done(kind, series, expected):
    values = take(kind, series)
    assert values.tolist() == expected
    assert {type(cell) for cell in values.tolist()} == {type(cell) for cell in expected}


@pytest.mark.parametrize(
    ("kind", "series"),
    [
        ("long", pd.Series([1.5])),
        ("long", pd.Series([np.inf])),
        ("long", pd.Series([2.0**63])),
        ("long", pd.Series([2**63], dtype="uint64")),
        ("long", pd.Series(["5"])),
        ("long", pd.Series([pd.Timestamp("2026-01-01")])),
        ("integer", pd.Series([2**31])),
        ("double", pd.Series([2**53 + 1])),
        ("double", pd.Series([2**53 + 1, None], dtype="Int64")),
        ("double", pd.Series([1.5, 2**53 + 1], dtype=object)),
        ("double", pd.Series([2**2000], dtype=object)),
        ("double", pd.Series(["1.5"])),
        ("double", pd.Series(["1.5"], dtype=object)),
        ("double", pd.Series([b"1.5"], dtype=object)),
        ("double", pd.Series([1j])),
        ("double", pd.Series([pd.Timestamp("2026-01-01")])),
        ("double", pd.Series([pd.Timedelta(1)])),
        ("float", pd.Series([0.1])),
        ("float", pd.Series([0.1], dtype="Float64")),
        ("float", pd.Series([2**24 + 1])),
        ("float", pd.Series([1e300])),
        ("boolean", pd.Series([2])),
        ("boolean", pd.Series(["true"])),
        ("boolean", pd.Series([0.5])),
        ("string", pd.Series([1])),
        ("string", pd.Series(["a", 1], dtype=object)),
        ("string", pd.Series([b"a"], dtype=object)),
        ("binary", pd.Series(["a"])),
        ("datetime", pd.Series(["2026-01-01"])),
        ("datetime", pd.Series([5])),
        ("datetime", pd.Series([datetime.date(2026, 1, 1)])),
        ("datetime", pd.Series(np.array(["9999-12-31"], dtype="datetime64[us]"))),
    ],
)
def test_lossy_conversions_are_refused_by_name(kind, series):
    with pytest.raises(UnsuitableData, match=f"column 'age': expected {kind} values, found dtype "):
        take(kind, series)


def test_moments_with_an_offset_become_utc():
    at = pd.Series([pd.Timestamp("2026-11-22T14:00:00+01:00")])
    assert str(take("datetime", at)[0]) == "2026-11-22T13:00:00.000000000"


# --- JSON ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("double", np.array([1.5, np.nan]), [1.5, None]),
        ("long", np.ma.MaskedArray([1, 2], mask=[True, False]), [None, 2]),
        ("boolean", np.array([True]), [True]),
        ("string", np.array(["a", None], dtype=object), ["a", None]),
        (
            "datetime",
            np.array(["2026-11-22T14:00:00.000000001", "NaT"], dtype="datetime64[ns]"),
            ["2026-11-22T14:00:00.000000001", None],
        ),
    ],
)
def test_json_has_null_for_what_is_missing(kind, values, expected):
    assert to_json(kind, values) == expected
