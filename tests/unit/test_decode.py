from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlserver.types import RequestInput

from mlserver_pyfunc.decode import Decoder
from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import DATATYPES, NUMPY_TYPES, TENSOR_DATATYPES, Column, Schema, Tensor


def tensor(name="x", shape=(2,), datatype="FP64", data=None, content_type=None):
    return SimpleNamespace(
        name=name,
        shape=list(shape),
        datatype=datatype,
        data=[1.0, 2.0] if data is None else data,
        parameters=SimpleNamespace(content_type=content_type),
    )


def decode(field, **sent):
    return Decoder(Schema((field,))).decode([tensor(**sent)]).values["x"]


def refuse(field, message, **sent):
    with pytest.raises(InvalidRequest, match=f"^input 'x'{message}"):
        decode(field, **sent)


X = Column("x", "double")

# --- names ---------------------------------------------------------------------------------

TWO = Decoder(Schema((Column("a", "double"), Column("b", "string"))))
A = tensor("a", [1], "FP64", [1.5])
B = tensor("b", [1], "BYTES", ["t"])


@pytest.mark.parametrize("inputs", [[A, B], [B, A]])
def test_inputs_come_in_any_order(inputs):
    decoded = TWO.decode(inputs)
    assert decoded.rows == 1
    assert {name: values.tolist() for name, values in decoded.values.items()} == {
        "a": [1.5],
        "b": ["t"],
    }


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([A], r"\(missing: 'b'\)\. The model takes 'a', 'b'"),
        ([], r"\(missing: 'a', 'b'\)"),
        ([A, B, tensor("c")], r"\(unknown: 'c'\)"),
        ([A, tensor("B")], r"\(missing: 'b'; unknown: 'B'\)"),
        ([A, B, *(tensor(f"c{i}") for i in range(9))], r"'c0', .*'c4' and 4 more\)"),
    ],
)
def test_names_that_are_not_those_of_the_signature_are_refused(inputs, message):
    with pytest.raises(InvalidRequest, match=f"inputs do not match the signature.*{message}"):
        TWO.decode(inputs)


def test_repeated_names_are_refused():
    with pytest.raises(InvalidRequest, match="input 'a': sent more than once; send it once"):
        TWO.decode([A, B, A])


def test_long_names_are_cut_in_messages():
    with pytest.raises(InvalidRequest) as caught:
        TWO.decode([A, B, tensor("z" * 10_000)])
    assert len(str(caught.value)) < 400


# --- shapes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "data"),
    [
        ([3], [1, 2, 3]),
        ([3, 1], [1, 2, 3]),
        ([3, 1], [[1], [2], [3]]),
        ([3], np.array([1.0, 2.0, 3.0])),
        ([3, 1], np.array([[1.0], [2.0], [3.0]])),
    ],
)
def test_a_column_is_flat_or_a_column_of_a_table(shape, data):
    got = decode(X, shape=shape, data=data)
    assert got.shape == (3,)
    assert got.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([], r": expected shape \[n\] or \[n, 1\] for n rows, got \[\]"),
        ([1, 2], r": expected shape \[n\] or \[n, 1\] for n rows, got \[1, 2\]"),
        ([2, 1, 1], r": expected shape \[n\] or \[n, 1\] for n rows, got \[2, 1, 1\]"),
        ([-1], ": expected a shape of non-negative integers, got -1"),
        ([2, -1], ": expected a shape of non-negative integers, got 2, -1"),
        ([2.0], r": expected a shape of non-negative integers, got 2\.0"),
        ([True], ": expected a shape of non-negative integers, got True"),
        (["2"], ": expected a shape of non-negative integers, got '2'"),
        ([[2]], r": expected a shape of non-negative integers, got \[2\]"),
        ([None], ": expected a shape of non-negative integers, got None"),
        ([3], r": shape \[3\] means 3 values, data has 2"),
        ([1], r": shape \[1\] means 1 values, data has 2"),
        ([0], r": shape \[0\] means 0 values, data has 2"),
        ([3, 1], r": shape \[3, 1\] means 3 values, data has 2"),
        ([10**30], ": shape .* values, data has 2"),
    ],
)
@pytest.mark.parametrize("data", [[1.0, 2.0], np.array([1.0, 2.0])])
def test_shapes_that_do_not_fit_are_refused(shape, message, data):
    refuse(X, message, shape=shape, data=data)


@pytest.mark.parametrize("shape", [None, 5, "2", {}, 2.5])
def test_a_shape_that_is_no_list_is_refused(shape):
    sent = tensor()
    sent.shape = shape
    with pytest.raises(
        InvalidRequest, match="input 'x': expected a shape of non-negative integers"
    ):
        Decoder(Schema((X,))).decode([sent])


@pytest.mark.parametrize(
    ("shape", "data", "message"),
    [
        ([2], [[1.0], [2.0]], r": data is nested otherwise than shape \[2\] says"),
        ([2], [[1.0, 2.0]], r": shape \[2\] means 2 values, data has 1"),
        ([2, 1], [[1.0, 2.0]], r": shape \[2, 1\] means 2 values, data has 1"),
        ([2, 1], [[1.0], [2.0, 3.0]], ": data is nested otherwise"),
        ([2, 1], [[1.0], []], ": data is nested otherwise"),
        ([2, 1], [[1.0], 2.0], ", value 0: expected a number for FP64, got a list"),
        ([2, 1], [1.0, [2.0]], ", value 1: expected a number for FP64, got a list"),
        ([2, 1], [[[1.0]], [[2.0]]], ": data is nested otherwise"),
        ([0, 1], [[]], r": shape \[0, 1\] means 0 values, data has 1"),
    ],
)
def test_data_nested_otherwise_than_the_shape_is_refused(shape, data, message):
    refuse(X, message, shape=shape, data=data)


@pytest.mark.parametrize("data", ["text", 5, {"a": 1}, True, (1.0, 2.0)])
def test_data_that_is_no_list_is_refused(data):
    refuse(X, f": expected data to be a list, got {type(data).__name__}", data=data)


@pytest.mark.parametrize("kind", DATATYPES)
@pytest.mark.parametrize("shape", [[0], [0, 1]])
def test_zero_rows_are_fine(kind, shape):
    got = decode(Column("x", kind), shape=shape, datatype=DATATYPES[kind], data=[])
    assert (got.dtype, got.shape) == (np.dtype(NUMPY_TYPES[kind]), (0,))


@pytest.mark.parametrize(
    ("counts", "odd", "rows"),
    [([2, 2, 3], "c", 3), ([3, 2, 2], "a", 3), ([2, 5, 2], "b", 5), ([0, 2, 2], "a", 0)],
)
def test_ragged_columns_blame_the_odd_one(counts, odd, rows):
    decoder = Decoder(Schema(tuple(Column(name, "double") for name in "abc")))
    inputs = [
        tensor(name, [count], data=[1.0] * count) for name, count in zip("abc", counts, strict=True)
    ]
    with pytest.raises(
        InvalidRequest, match=f"input '{odd}': expected 2 rows as in .*, got {rows};"
    ):
        decoder.decode(inputs)


def test_a_column_and_a_column_of_a_table_have_the_same_rows():
    decoder = Decoder(Schema((X, Column("y", "long"))))
    decoded = decoder.decode([tensor("y", [2, 1], "INT64", [[1], [2]]), tensor("x", [2])])
    assert decoded.rows == 2
    assert decoded.values["y"].tolist() == [1, 2]


# --- datatypes -----------------------------------------------------------------------------

NUMBERS = sorted(set(TENSOR_DATATYPES.values()) - {"BYTES"})


@pytest.mark.parametrize("kind", ["boolean", "integer", "long", "float", "double"])
@pytest.mark.parametrize("datatype", NUMBERS)
def test_every_number_fits_every_column_where_nothing_is_lost(kind, datatype):
    data = [True, False] if datatype == "BOOL" else [1, 0]
    got = decode(Column("x", kind), datatype=datatype, data=data)
    assert got.dtype == NUMPY_TYPES[kind]
    assert got.tolist() == [1, 0]


@pytest.mark.parametrize("kind", ["string", "binary", "datetime"])
@pytest.mark.parametrize("datatype", [*NUMBERS, "STRING", "bytes", "", None, 5])
def test_numbers_for_a_column_of_text_are_refused(kind, datatype):
    refuse(Column("x", kind), ": expected datatype BYTES, got ", datatype=datatype)


@pytest.mark.parametrize("kind", ["boolean", "integer", "long", "float", "double"])
def test_text_for_a_column_of_numbers_is_refused(kind):
    field = Column("x", kind)
    message = f": expected datatype {field.datatype}, got 'BYTES'"
    refuse(field, message, datatype="BYTES", data=["1", "2"])


@pytest.mark.parametrize("datatype", ["FP128", "fp64", "", None, 5])
def test_unknown_datatypes_are_refused(datatype):
    refuse(X, ": expected a datatype of BOOL, .*, BYTES, got ", datatype=datatype)


@pytest.mark.parametrize(
    ("field", "datatype", "data", "message"),
    [
        (Column("x", "long"), "FP64", [1, 2.5], ", value 1: .* where int64 is expected"),
        (Column("x", "long"), "INT64", [1, None], ", value 1: expected INT64, got null"),
        (Column("x", "double"), "FP64", [1, 2**53 + 1], r", value 1: .* beyond 2\*\*53"),
        (Column("x", "double"), "FP64", [1, float("nan")], ", value 1: got NaN"),
        (Column("x", "double", finite=True), "FP64", [1, float("inf")], ", value 1: got an infin"),
        (Column("x", "boolean"), "INT64", [1, 2], ", value 1: got a INT64 that a boolean"),
        (Column("x", "integer"), "INT64", [1, 2**31], ", value 1: got a INT64 too large for int32"),
        (Column("x", "string"), "BYTES", ["a", b"\xff"], ", value 1: expected text in UTF-8"),
        (Column("x", "string"), "BYTES", ["a", None], ", value 1: expected BYTES, got null"),
        (Column("x", "datetime"), "BYTES", ["2026-11-22", "no"], ", value 1: expected a datetime"),
    ],
)
def test_values_that_do_not_fit_are_refused(field, datatype, data, message):
    refuse(field, message, datatype=datatype, data=data)


@pytest.mark.parametrize("secret", ["s3cr3t", 271828182845904523536, 3.14159265358979])
@pytest.mark.parametrize("field", [Column("x", "boolean"), Column("x", "datetime")])
def test_refusals_never_repeat_a_value(field, secret):
    with pytest.raises(InvalidRequest) as caught:
        decode(field, shape=[1], datatype=field.datatype, data=[secret])
    assert str(secret) not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "content_type", "data", "expected"),
    [
        ("string", None, ["a", b"\xc3\xa9"], ["a", "é"]),
        ("string", "str", ["Um9tZQ==", "b"], ["Um9tZQ==", "b"]),
        ("string", "base64", ["Um9tZQ==", b"YQ=="], ["Rome", "a"]),
        ("binary", None, ["a", b"\xff"], [b"a", b"\xff"]),
        ("binary", "base64", ["/w==", "YQ=="], [b"\xff", b"a"]),
    ],
)
def test_the_content_type_says_what_is_base64(kind, content_type, data, expected):
    field = Column("x", kind)
    sent = {"datatype": "BYTES", "data": data, "content_type": content_type}
    assert decode(field, **sent).tolist() == expected


@pytest.mark.parametrize("kind", DATATYPES)
def test_null_is_a_missing_value_where_the_column_may_be_missing(kind):
    got = decode(Column("x", kind, nullable=True), datatype=DATATYPES[kind], data=[None, None])
    if got.dtype == object:
        assert got.tolist() == [None, None]
    elif got.dtype.kind in "fM":
        assert np.isnan(got).tolist() == [True, True]
    else:
        assert np.ma.getmaskarray(got).tolist() == [True, True]


# --- tensors -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TENSOR_DATATYPES)
def test_tensors_of_every_dtype(dtype):
    field = Tensor("x", dtype, (-1, 2))
    data = {"BYTES": ["a", "b", "c", "d"], "BOOL": [True, False, True, True]}
    flat = data.get(field.datatype, [1, 2, 3, 4])
    for sent in (flat, [flat[:2], flat[2:]]):
        got = decode(field, shape=[2, 2], datatype=field.datatype, data=sent)
        assert got.shape == (2, 2)
        assert got.tolist() == [flat[:2], flat[2:]]
        assert got.dtype == ("object" if field.datatype == "BYTES" else dtype)


def test_a_tensor_keeps_row_major_order():
    data = [[[1, 2, 3], [4, 5, 6]]]
    got = decode(Tensor("x", "int64", (-1, 2, 3)), shape=[1, 2, 3], datatype="INT8", data=data)
    assert got.tolist() == data


def test_a_tensor_of_one_value_has_no_dimensions():
    got = decode(Tensor("x", "float64", ()), shape=[], data=[1.5])
    assert (got.shape, got.tolist()) == ((), 1.5)


@pytest.mark.parametrize("data", [[], [[], []]])
def test_a_tensor_may_be_empty(data):
    assert decode(Tensor("x", "float64", (-1, -1)), shape=[2, 0], data=data).shape == (2, 0)


@pytest.mark.parametrize("shape", [[2], [2, 3], [2, 2, 1], []])
def test_a_tensor_of_another_shape_is_refused(shape):
    field = Tensor("x", "float64", (-1, 2))
    refuse(field, r": expected shape \[-1, 2\] \(-1 is any length\), got ", shape=shape)


def test_null_in_a_tensor_is_refused():
    refuse(Tensor("x", "float64", (-1,)), ", value 1: expected FP64, got null", data=[1.0, None])


# --- as MLServer sends it ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "sent", "expected"),
    [
        (X, {"shape": [2], "datatype": "FP64", "data": [1, 2.5]}, [1.0, 2.5]),
        (X, {"shape": [2, 1], "datatype": "INT8", "data": [[1], [2]]}, [1.0, 2.0]),
        (
            Column("x", "long"),
            {"shape": [1], "datatype": "INT64", "data": [2**63 - 1]},
            [2**63 - 1],
        ),
        (Column("x", "boolean"), {"shape": [1], "datatype": "BOOL", "data": [True]}, [True]),
        (
            Column("x", "string"),
            {
                "shape": [1],
                "datatype": "BYTES",
                "data": ["Um9tZQ=="],
                "parameters": {"content_type": "base64"},
            },
            ["Rome"],
        ),
    ],
)
def test_inputs_of_mlserver_are_decoded(field, sent, expected):
    decoded = Decoder(Schema((field,))).decode([RequestInput(name="x", **sent)])
    assert decoded.values["x"].tolist() == expected


# --- anything at all -----------------------------------------------------------------------

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=[]), max_size=3)
    | st.sampled_from([2**63, -(2**63), 2**64 - 1, 10**400, "2026-11-22", "/w=="])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
FIELDS = [
    *(Column(f"{kind}-{n}", kind, nullable=bool(n)) for kind in DATATYPES for n in range(2)),
    Tensor("flat", "float32", (-1,)),
    Tensor("wide", "object", (-1, 2)),
]
ARRAYS = st.sampled_from([np.zeros(2), np.zeros((2, 1), "int8"), np.array(["a", None], object)])


def lists_of(size):
    return st.lists(SCALARS, min_size=size, max_size=size)


@st.composite
def attempts(draw, field):
    """Inputs that are right now and then, so that every step is reached."""
    rows = draw(st.integers(0, 2))
    likely = st.sampled_from([[rows], [rows, 1], [rows, 2]])
    return SimpleNamespace(
        name=field.name,
        shape=draw(likely | likely | JSON),
        datatype=draw(st.sampled_from(sorted(set(TENSOR_DATATYPES.values()))) | JSON),
        data=draw(lists_of(rows) | lists_of(2 * rows) | JSON | ARRAYS),
        parameters=draw(
            st.none() | st.builds(SimpleNamespace, content_type=st.just("base64") | JSON)
        ),
    )


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_whatever_is_sent_is_decoded_or_refused(field, data):
    sent = data.draw(attempts(field))
    try:
        decoded = Decoder(Schema((field,))).decode([sent])
    except InvalidRequest:
        return
    values = decoded.values[field.name]
    assert len(values) == decoded.rows == sent.shape[0]
    if isinstance(field, Column):
        assert values.dtype == NUMPY_TYPES[field.type]
        assert values.shape == (decoded.rows,)


@settings(deadline=None)
@given(st.lists(st.builds(tensor, st.text(max_size=2) | st.sampled_from("ab") | JSON), max_size=4))
@example([tensor(["a"])])
@example([tensor({})])
def test_whatever_the_names_are_they_match_or_are_refused(inputs):
    try:
        decoded = Decoder(Schema((Column("a", "double"), Column("b", "double")))).decode(inputs)
    except InvalidRequest:
        return
    assert sorted(each.name for each in inputs) == sorted(decoded.values) == ["a", "b"]
