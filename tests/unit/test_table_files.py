"""What is read from each format is what bundle.predict makes of the same rows."""

import io
import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, parquet

from pyfunc_packaging.arrow_columns import UnsuitableCell, decode, encode, parse
from pyfunc_packaging.errors import InvalidArgument, UnsuitableData
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.schema import Column, Schema
from pyfunc_packaging.table_readers import open_reader
from pyfunc_packaging.table_writers import make_writer

COLUMNS = (
    Column("price", "double", nullable=True, dtype="float64"),
    Column("weight", "float", nullable=True, dtype="float32"),
    Column("count", "long", nullable=True, dtype="Int64"),
    Column("level", "integer", dtype="int32"),
    Column("sold", "boolean", nullable=True, dtype="boolean"),
    Column("city", "string", nullable=True, dtype="object"),
    Column("kind", "string", nullable=True, dtype="category", categories=("a", "b")),
    Column("at", "datetime", nullable=True, dtype="datetime64[ns]"),
)
SCHEMA = Schema(COLUMNS)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
# the first whole day on; Arrow reads no text of the hours before it
MOMENTS = st.integers(int(np.datetime64("1677-09-22", "ns").astype(int)), 2**63 - 1)
ROWS = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=False, allow_infinity=False),
        st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
        st.none() | st.integers(-(2**63), 2**63 - 1),
        st.integers(-(2**31), 2**31 - 1),
        st.none() | st.booleans(),
        st.none() | TEXTS,
        st.none() | st.sampled_from(["a", "b", "c"]),
        st.none() | MOMENTS,
    ),
    min_size=1,
    max_size=12,
)


few = settings(max_examples=40, deadline=None)


def make_frame(rows):
    cells = dict(zip([column.name for column in COLUMNS], zip(*rows, strict=True), strict=True))
    moments = np.array(
        ["NaT" if cell is None else np.datetime64(cell, "ns") for cell in cells["at"]],
        dtype="datetime64[ns]",
    )
    return pd.DataFrame(
        {
            "price": np.array(cells["price"], dtype=float),
            "weight": np.array(cells["weight"], dtype=np.float32),
            "count": pd.array(cells["count"], dtype="Int64"),
            "level": np.array(cells["level"], dtype=np.int32),
            "sold": pd.array(cells["sold"], dtype="boolean"),
            "city": pd.Series(cells["city"], dtype=object),
            "kind": pd.Categorical(cells["kind"], categories=["a", "b", "c"]),
            "at": moments,
        }
    )


def read(file, kind, columns=COLUMNS, size=5, **options):
    file.seek(0)
    reader = open_reader(file, kind, columns, **options)
    blocks = list(reader.blocks(size))
    parts = {
        column.name: [reader.decode(column, block.columns[column.name]) for block in blocks]
        for column in columns
    }
    assert [block.first for block in blocks] == list(
        np.cumsum([1, *[block.length for block in blocks[:-1]]])
    )
    return {name: np.ma.concatenate(arrays) for name, arrays in parts.items()}


def assert_same(found, frame, schema=SCHEMA):
    expected = from_frame(schema, frame)
    for name, cells in expected.items():
        if cells.dtype == object:
            assert found[name].tolist() == cells.tolist(), name
            continue
        assert found[name].dtype == cells.dtype, name
        missing = np.ma.getmaskarray(cells)
        np.testing.assert_array_equal(np.ma.getmaskarray(found[name]), missing, err_msg=name)
        left, right = np.ma.getdata(found[name])[~missing], np.ma.getdata(cells)[~missing]
        np.testing.assert_array_equal(left, right, err_msg=name)


def write(frame, kind):
    """The frame as our own writers write it."""
    file = io.BytesIO()
    writer = make_writer(file, kind)
    decoded = from_frame(SCHEMA, frame)
    writer.write(writer.render({c.name: encode(c.type, decoded[c.name]) for c in COLUMNS}))
    writer.close()
    return file


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow"])
@few
@given(rows=ROWS)
def test_what_our_writers_write_our_readers_read(kind, rows):
    frame = make_frame(rows)
    assert_same(read(write(frame, kind), kind), frame)


@few
@given(rows=ROWS)
def test_parquet_and_feather_of_pandas(rows):
    frame = make_frame(rows)
    file = io.BytesIO()
    frame.to_parquet(file)
    assert_same(read(file, "parquet"), frame)
    file = io.BytesIO()
    frame.to_feather(file)
    assert_same(read(file, "arrow"), frame)


@few
@given(rows=ROWS)
def test_csv_of_pandas_in_which_an_empty_text_is_missing(rows):
    frame = make_frame(rows)
    frame["city"] = frame["city"].where(frame["city"] != "", None)
    # a lone carriage return is written unquoted by pandas, and ends a line everywhere
    frame["city"] = frame["city"].str.replace("\r", "\n").astype(object)
    file = io.BytesIO()
    frame.to_csv(file, index=False)
    assert_same(read(file, "csv"), frame)


@few
@given(rows=ROWS)
def test_json_lines_of_python(rows):
    frame = make_frame(rows)
    file = io.BytesIO()
    for *others, at in rows:
        text = None if at is None else np.datetime_as_string(np.datetime64(at, "ns"))
        values = dict(zip(frame.columns, [*others, text], strict=True))
        file.write(json.dumps(values).encode() + b"\n")
    assert_same(read(file, "jsonl"), frame)


def test_an_arrow_stream():
    frame = make_frame([(1.5, 0.5, 3, 4, True, "x", "a", 5), (None, None, None, 1, *[None] * 4)])
    table = pa.Table.from_pandas(frame, preserve_index=False)
    file = io.BytesIO()
    with pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table)
    assert_same(read(file, "arrow"), frame)


@pytest.mark.parametrize("compression", ["uncompressed", "lz4", "zstd"])
def test_compressed_feather(compression):
    frame = make_frame([(1.5, 0.5, 3, 4, True, "x", "a", 5)] * 7)
    file = io.BytesIO()
    feather.write_feather(frame, file, compression=compression)
    assert_same(read(file, "arrow"), frame)


@few
@given(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=5))
def test_other_types_of_parquet_are_converted_as_a_frame_is(cells):
    columns = (Column("x", "double"), Column("y", "long"), Column("z", "datetime"))
    table = pa.table(
        {
            "x": pa.array(cells, pa.int32()),
            "y": pa.array(cells, pa.float64()),
            "z": pa.array(cells, pa.int64()).cast(pa.timestamp("ms", "Europe/Rome")),
        }
    )
    file = io.BytesIO()
    parquet.write_table(table, file)
    assert_same(read(file, "parquet", columns), table.to_pandas(), Schema(columns))


# --- text -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("double", "1e3", 1000.0),
        ("double", "+.5", 0.5),
        ("double", " 7 ", 7.0),
        ("double", "inf", float("inf")),
        ("double", "9007199254740992", 2.0**53),
        ("float", "0.1", float(np.float32(0.1))),
        ("long", "007", 7),
        ("long", "-3.0", -3),
        ("long", "9223372036854775807", 2**63 - 1),
        ("integer", "1e3", 1000),
        ("boolean", "TRUE", True),
        ("boolean", "0", False),
        ("string", "007", "007"),
        ("string", " NA ", " NA "),
    ],
)
def test_a_text_is_read_by_the_signature(kind, text, value):
    assert decode(Column("x", kind), parse(Column("x", kind), pa.array([text]))).tolist() == [value]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("double", "abc"),
        ("double", "1,5"),
        ("double", "1_000"),
        ("double", "0x10"),
        ("double", "1e400"),
        ("double", "9007199254740993"),
        ("float", "1e39"),
        ("float", "16777217"),
        ("long", "2.5"),
        ("long", "0x10"),
        ("long", "9223372036854775808"),
        ("long", "9007199254740993.0"),
        ("integer", "2147483648"),
        ("boolean", "yes"),
        ("boolean", "2"),
        ("datetime", "yesterday"),
        ("datetime", "3000-01-01"),
        ("datetime", "2020-13-01"),
        ("datetime", "2020-01-01T00:00:00.1234567891"),
    ],
)
def test_a_text_that_does_not_fit_is_found(kind, text):
    good = {"boolean": "1", "datetime": "2020-01-01"}.get(kind, "1")
    cells = pa.array([good] * 70 + [text] + [good] * 20 + [text])
    with pytest.raises(UnsuitableCell) as caught:
        parse(Column("x", kind), cells)
    assert caught.value.position == 70
    assert f"found {text!r}" in str(caught.value)


def test_datetimes_with_and_without_offset_are_moments_in_utc():
    texts = ["2026-11-22", "2026-11-22 14:00", "2026-11-22T14:00:00Z", "2026-11-22T14:00:00+01:00"]
    column = Column("at", "datetime", nullable=True)
    found = decode(column, parse(column, pa.array([*texts, ""])))
    hours = ["2026-11-22T00", "2026-11-22T14", "2026-11-22T14", "2026-11-22T13", "NaT"]
    np.testing.assert_array_equal(found, np.array(hours, "datetime64[ns]"))


CITY = [Column("city", "string", nullable=True)]


def test_an_empty_cell_is_missing_and_an_empty_text_is_none():
    file = io.BytesIO(b'id,city\n1,\n2,""\n3,NA\n4,"NA"\n')
    assert read(file, "csv", CITY)["city"].tolist() == [None, "", "NA", "NA"]
    assert read(file, "csv", CITY, missing=["NA"])["city"].tolist() == [None, "", None, "NA"]


def test_line_breaks_within_quotes_and_a_byte_order_mark():
    file = io.BytesIO(b'\xef\xbb\xbf"id","city"\r\n1,"a\r\nb"\r\n\r\n2,"c ""d"""\r\n')
    assert read(file, "csv", CITY)["city"].tolist() == ["a\r\nb", 'c "d"']


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow"])
def test_no_rows_are_read_as_no_rows(kind):
    file = write(make_frame([(None,) * 3 + (1,) + (None,) * 4]).head(0), kind)
    found = read(file, kind)
    assert {name: len(cells) for name, cells in found.items()} == dict.fromkeys(found, 0)


# --- refusals -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("csv", b"", "expected CSV with a line of names, found none"),
        ("csv", b"id\n1\n", r"the column\(s\) 'city' are not there; the model takes city"),
        ("csv", b"city,city\na,b\n", r"the column\(s\) 'city' are there more than once"),
        ("csv", b"id,city\n1,a\n2,b\n3\n", "row 3: expected 2 columns, found 1"),
        ("jsonl", b'{"id": 1}\n', r"the column\(s\) 'city' are not there"),
        ("jsonl", b"city\n", "row 1: expected a JSON object on one line"),
        ("jsonl", b"[1]\n", r"row 1: .*no single object"),
        ("jsonl", b'{"city": "a"} {"city": "b"}\n', r"row 1: .*no single object"),
        ("jsonl", b'{"city": "a", "city": "b"}\n', "row 1: .*more than once"),
        ("jsonl", b'{"city": "a"}\n\n{"id": 1}\n', "row 2: column 'city' is not there; write null"),
        ("jsonl", b'{"city": "a"}\n{"city": "\xff"}\n', "row 2: expected a JSON object"),
        ("parquet", b"PAR1", "expected Parquet, found something else"),
        ("arrow", b"ARROW", "expected an Arrow .* found something else"),
    ],
)
def test_a_file_that_is_none_is_refused(kind, content, message):
    with pytest.raises(UnsuitableData, match=message):
        read(io.BytesIO(content), kind, CITY)


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("utf-16", "expected CSV in UTF-8, found UTF-16; write the file in UTF-8"),
        ("utf-16-le", "expected CSV in UTF-8, found UTF-16; write the file in UTF-8"),
        ("latin-1", "the line of names: expected CSV in UTF-8, found the byte 0xe7, which is none"),
    ],
)
def test_csv_in_another_encoding(encoding, message, tmp_path):
    content = "city,façade\na,b\n".encode(encoding)
    (tmp_path / "rows.csv").write_bytes(content)
    for source in (tmp_path / "rows.csv", io.BufferedReader(io.BytesIO(content))):
        with pytest.raises(UnsuitableData, match=message):
            open_reader(source, "csv", CITY)


@pytest.mark.parametrize(
    ("cell", "found"),
    [("1", "1"), ("true", "True"), ("[]", r"\[\]"), ("{}", "{}"), ('"\\ud800"', r"'\\ud800'")],
)
def test_a_json_value_of_another_type_is_found(cell, found):
    file = io.BytesIO(b'{"city": "a"}\n{"city": null}\n{"city": %s}\n' % cell.encode())
    with pytest.raises(UnsuitableCell, match=f"column 'city': expected text, found {found}") as no:
        read(file, "jsonl", CITY)
    assert no.value.position == 2


@pytest.mark.parametrize("number", ["1e400", "9007199254740993", "Infinity", "true", '"1"'])
def test_a_json_number_that_no_float_is_equal_to_is_refused(number):
    file = io.BytesIO(b'{"x": 1.5}\n{"x": %s}\n' % number.encode())
    with pytest.raises(UnsuitableData):
        read(file, "jsonl", [Column("x", "double")])


def test_bytes_that_are_no_utf8_are_found():
    file = io.BytesIO(b"city\na\nb\n\xff\n")
    with pytest.raises(UnsuitableCell, match=r"column 'city': expected text, found b'\\xff'") as no:
        read(file, "csv", CITY)
    assert no.value.position == 2


@pytest.mark.parametrize("column", [Column("x", "double"), Column("x", "double", finite=True)])
def test_a_value_that_the_model_cannot_handle_is_found(column):
    wrong, what = (float("inf"), "finite") if column.finite else (float("nan"), "missing")
    with pytest.raises(UnsuitableCell, match=what) as caught:
        decode(column, pa.array([1.0, 2.0, wrong]))
    assert caught.value.position == 2


def test_text_in_parquet_is_no_number():
    file = io.BytesIO()
    parquet.write_table(pa.table({"x": ["1"]}), file)
    with pytest.raises(UnsuitableData, match="column 'x': expected double values, found string"):
        open_reader(file, "parquet", [Column("x", "double")])


def test_a_file_that_is_not_there(tmp_path):
    for kind in ("csv", "jsonl", "parquet", "arrow"):
        with pytest.raises(InvalidArgument, match=r"rows: cannot be read \(No such file or dir"):
            open_reader(tmp_path / "rows", kind, [])
        with pytest.raises(InvalidArgument, match="expected a file, found a directory"):
            open_reader(tmp_path, kind, [])


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "arrow"])
def test_only_csv_says_in_words_that_a_value_is_missing(kind):
    with pytest.raises(InvalidArgument, match=f"--missing says .* in CSV; {kind} has null for it"):
        open_reader(io.BytesIO(), kind, [], missing=["NA"])


def test_a_pipe_by_its_name(tmp_path):
    pipe = tmp_path / "rows"
    os.mkfifo(pipe)
    with pytest.raises(
        InvalidArgument, match=r"found a pipe or a device; .* standard input, which"
    ):
        open_reader(pipe, "csv", CITY)
    with pytest.raises(InvalidArgument, match=r"found a pipe or a device; save it as one$"):
        open_reader(pipe, "parquet", CITY)


# --- writers --------------------------------------------------------------------------------


def rendered(kind, columns, lines=()):
    file = io.BytesIO()
    writer = make_writer(file, kind)
    writer.write(writer.render(columns, lines))
    writer.close()
    return file.getvalue().decode()


def test_json_lines_are_json_whatever_is_in_them():
    texts = ['a"b', "\\", "\n\x00é\u2028", None, ""]
    columns = {'t"': pa.array(texts), "x": pa.array([1.5, np.nan, np.inf, None, 1e300])}
    found = [json.loads(line) for line in rendered("jsonl", columns).split("\n")[:-1]]
    assert [row['t"'] for row in found] == texts
    assert [row["x"] for row in found] == [1.5, None, None, None, 1e300]


def test_a_line_that_came_stays_as_it_is():
    line = '{"id": 12345678901234567890.10, "tags": ["a", {}] }'
    assert rendered("jsonl", {"y": pa.array([1])}, [line]) == (
        '{"id": 12345678901234567890.10, "tags": ["a", {}],"y":1}\n'
    )


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_lists_have_no_place_in_text(kind):
    with pytest.raises(UnsuitableData, match=r"column 'x' holds list<.*> values"):
        rendered(kind, {"x": pa.array([[1]])})


def test_categories_that_change_from_block_to_block_are_written_to_arrow_files():
    table = pa.table({"x": pa.chunked_array([pa.array(["a"]), pa.array(["b"])])})
    file = io.BytesIO()
    parquet.write_table(
        table.cast(pa.schema([("x", pa.dictionary(pa.int32(), pa.string()))])), file
    )
    reader = open_reader(file, "parquet", [Column("x", "string")])
    result = io.BytesIO()
    writer = make_writer(result, "arrow")
    for block in reader.blocks(1):
        writer.write(writer.render({"x": reader.to_arrow(block.columns["x"])}))
    writer.close()
    assert feather.read_table(io.BytesIO(result.getvalue()))["x"].to_pylist() == ["a", "b"]
