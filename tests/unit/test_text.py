from base64 import b64encode
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_pyfunc.text import read_binary, read_datetimes, read_text
from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import Column

AT = Column("at", "datetime", nullable=True)
RAW = Column("raw", "binary", nullable=True)
SURROGATES = st.text(st.characters(exclude_categories=[]), max_size=4)
JSON = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | SURROGATES
    | st.binary(max_size=4)
    | st.just([])
    | st.just({})
    | st.sampled_from(
        ["2026-11-22", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "=="]
    )
)


# --- text ----------------------------------------------------------------------------------


@given(st.lists(st.none() | st.text(max_size=5)), st.booleans())
def test_text_arrives_as_it_was_sent(cells, as_bytes):
    sent = [cell.encode() if as_bytes and cell is not None else cell for cell in cells]
    got = read_text("city", sent, nullable=True)
    assert (got.dtype, got.tolist()) == (np.dtype(object), cells)


@given(st.lists(st.none() | st.text(max_size=5)), st.booleans())
def test_text_arrives_through_base64(cells, as_bytes):
    sent = [None if cell is None else b64encode(cell.encode()) for cell in cells]
    if not as_bytes:
        sent = [None if cell is None else cell.decode() for cell in sent]
    assert read_text("city", sent, nullable=True, base64=True).tolist() == cells


@given(st.lists(JSON, max_size=4), st.booleans(), st.booleans())
def test_anything_else_is_refused_as_text(cells, nullable, base64):
    try:
        got = read_text("x", cells, nullable=nullable, base64=base64)
    except InvalidRequest:
        return
    assert [type(cell) for cell in got] == [type(None) if cell is None else str for cell in cells]
    assert nullable or None not in cells


@pytest.mark.parametrize(
    ("cell", "base64", "message"),
    [
        (b"\xff", False, "expected text in UTF-8, got other bytes"),
        ("/w==", True, "expected text in UTF-8, got other bytes"),
        ("Rome!", True, "expected base64, as its content_type says"),
        ("é", True, "expected base64, as its content_type says"),
        ("QQ", True, "expected base64, as its content_type says"),
        (5, True, "expected base64, as its content_type says"),
        (5, False, "expected text for BYTES, got a number"),
        (1.5, False, "expected text for BYTES, got a number"),
        (True, False, "expected text for BYTES, got true or false"),
        (["a"], False, "expected text for BYTES, got a list"),
        ({}, False, "expected text for BYTES, got an object"),
        (None, False, "expected BYTES, got null; the model cannot handle missing values"),
        (None, True, "expected BYTES, got null; the model cannot handle missing values"),
    ],
)
def test_refused_text_says_where_and_why(cell, base64, message):
    fine = "Um9tZQ==" if base64 else "Rome"
    with pytest.raises(InvalidRequest, match=f"input 'city', value 1: {message}"):
        read_text("city", [fine, cell], nullable=False, base64=base64)


# --- bytes ---------------------------------------------------------------------------------


@given(st.lists(st.none() | st.binary(max_size=5)))
def test_bytes_arrive_as_they_were_sent(cells):
    assert read_binary(RAW, cells, base64=False).tolist() == cells
    encoded = [None if cell is None else b64encode(cell).decode() for cell in cells]
    assert read_binary(RAW, encoded, base64=True).tolist() == cells


def test_text_for_a_column_of_bytes_is_its_utf_8():
    assert read_binary(RAW, ["é", ""], base64=False).tolist() == [b"\xc3\xa9", b""]


@given(st.lists(JSON, max_size=4), st.booleans(), st.booleans())
def test_anything_else_is_refused_as_bytes(cells, nullable, base64):
    try:
        got = read_binary(Column("x", "binary", nullable=nullable), cells, base64=base64)
    except InvalidRequest:
        return
    assert {type(cell) for cell in got} <= {bytes, type(None)}
    assert nullable or None not in cells


@pytest.mark.parametrize(
    ("cell", "base64", "message"),
    [
        ("\ud800", False, "expected text that UTF-8 can hold"),
        (5, False, "expected BYTES, got a number"),
        ([], False, "expected BYTES, got a list"),
        ("?", True, "expected base64"),
        (None, False, "expected BYTES, got null"),
    ],
)
def test_refused_bytes_say_where_and_why(cell, base64, message):
    with pytest.raises(InvalidRequest, match=f"input 'raw', value 0: {message}"):
        read_binary(Column("raw", "binary"), [cell], base64=base64)


# --- datetimes -----------------------------------------------------------------------------

OFFSETS = st.integers(-24 * 60 + 1, 24 * 60 - 1).map(lambda m: timezone(timedelta(minutes=m)))


@given(
    st.datetimes(datetime(1678, 1, 1), datetime(2262, 1, 1), timezones=st.none() | OFFSETS),
    st.integers(0, 999),
    st.sampled_from("T "),
)
def test_a_moment_is_read_to_the_nanosecond(moment, nanoseconds, separator):
    whole = moment.replace(microsecond=0, tzinfo=None).isoformat(separator)
    offset = moment.isoformat()[len(moment.replace(tzinfo=None).isoformat()) :]
    text = f"{whole}.{moment.microsecond:06}{nanoseconds:03}{offset}"
    since = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime(
        1970, 1, 1, tzinfo=UTC
    )
    [got] = read_datetimes(AT, [text])
    assert int(got.astype(np.int64)) == since // timedelta(microseconds=1) * 1000 + nanoseconds


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22", "2026-11-22T00:00:00"),
        ("2026-11-22T14:00", "2026-11-22T14:00:00"),
        ("2026-11-22T14:00:00", "2026-11-22T14:00:00"),
        ("2026-11-22T14:00:00Z", "2026-11-22T14:00:00"),
        ("2026-11-22T14:00:00+00:00", "2026-11-22T14:00:00"),
        ("2026-11-22T14:00:00+01:00", "2026-11-22T13:00:00"),
        ("2026-11-22T00:30:00+01:00", "2026-11-21T23:30:00"),
        ("2026-11-22T14:00:00-05:30", "2026-11-22T19:30:00"),
        ("2026-11-22T14:00:00,5", "2026-11-22T14:00:00.500000000"),
        ("2026-11-22T14:00:00.123456789Z", "2026-11-22T14:00:00.123456789"),
        ("2026-11-22T14:00:00.1234567890000Z", "2026-11-22T14:00:00.123456789"),
        ("2026-11-22T14:00:00.000000001-01:00", "2026-11-22T15:00:00.000000001"),
        ("1969-12-31T23:59:59.999999999", "1969-12-31T23:59:59.999999999"),
        ("20261122T140000", "2026-11-22T14:00:00"),
        ("2026-W47-7", "2026-11-22T00:00:00"),
        ("1677-09-21T00:12:43.145224193", "1677-09-21T00:12:43.145224193"),
        ("2262-04-11T23:47:16.854775807", "2262-04-11T23:47:16.854775807"),
        (b"2026-11-22T14:00:00Z", "2026-11-22T14:00:00"),
    ],
)
def test_moments_are_utc(text, moment):
    got = read_datetimes(AT, [text, None])
    assert got.dtype == "datetime64[ns]"
    assert got[0] == np.datetime64(moment, "ns")
    assert np.isnat(got[1])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a datetime in ISO 8601"),
        ("tomorrow", "a datetime in ISO 8601"),
        ("22.11.2026", "a datetime in ISO 8601"),
        ("2026-13-01", "a datetime in ISO 8601"),
        ("2026-02-30", "a datetime in ISO 8601"),
        ("2026-11-22T25:00:00", "a datetime in ISO 8601"),
        ("2026-11-22x14:00:00", "a datetime in ISO 8601"),
        ("2026-11-22.140000.1234567", "a datetime in ISO 8601"),
        ("2026-11-22T14:00:00+00:00:00.0000005", "a datetime in ISO 8601"),
        ("2026-11-22T14:00:00 +01:00", "a datetime in ISO 8601"),
        ("1795356000", "a datetime in ISO 8601"),
        ("NaT", "a datetime in ISO 8601"),
        ("２０２６-11-22", "a datetime in ISO 8601"),
        ("2026-11-22\n", "a datetime in ISO 8601"),
        ("2026-11-22T14:00:00.1234567891", "a datetime of at most nanoseconds"),
        ("1677-09-21T00:12:43.145224192", "a datetime from 1677-09-22 to 2262-04-11"),
        ("2262-04-11T23:47:16.854775808", "a datetime from 1677-09-22 to 2262-04-11"),
        ("2262-04-11T23:47:16.854775999", "a datetime from 1677-09-22 to 2262-04-11"),
        ("0001-01-01T00:00:00+01:00", "a datetime from 1677-09-22 to 2262-04-11"),
        ("9999-12-31T23:59:59-01:00", "a datetime from 1677-09-22 to 2262-04-11"),
    ],
)
def test_what_is_no_moment_is_refused(text, message):
    with pytest.raises(InvalidRequest, match=f"input 'at', value 1: expected {message}"):
        read_datetimes(AT, ["2026-11-22", text])


def test_a_missing_moment_is_refused_where_none_may_be():
    with pytest.raises(InvalidRequest, match="input 'at', value 0: expected BYTES, got null"):
        read_datetimes(Column("at", "datetime"), [None])


@given(st.lists(JSON | st.text("0123456789-:.,TWZ+ ", max_size=30), max_size=4))
def test_anything_else_is_refused_as_moments(cells):
    try:
        got = read_datetimes(AT, cells)
    except InvalidRequest:
        return
    assert np.isnat(got).tolist() == [cell is None for cell in cells]
