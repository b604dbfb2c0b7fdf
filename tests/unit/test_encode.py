import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from mlserver_pyfunc.encode import Encoded, Encoder, describe, name_predictions
from pyfunc_packaging.errors import InvalidRequest, ModelFailure
from pyfunc_packaging.schema import DATATYPES, NUMPY_TYPES, Column, Tensor

Y = (Column("y", "double", nullable=True),)
AB = (Column("a", "double"), Column("b", "double"))
UNNAMED = (Column("output-0", "double"), Column("output-1", "double"))


def plain(parts):
    return {name: values.tolist() for name, values in parts.items()}


# --- naming what came ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "result",
    [
        np.array([1.5, 2.5]),
        [1.5, 2.5],
        (1.5, 2.5),
        pd.Series([1.5, 2.5], index=[7, 7], name="other"),
        pd.Series([1.5, 2.5], dtype="Float64"),
        pd.Series([1.5, 2.5], dtype="double[pyarrow]"),
        pd.Series([1.5, 2.5], dtype="category"),
        pd.DataFrame({"y": [1.5, 2.5]}),
        [{"y": 1.5}, {"y": 2.5}],
        {"y": [1.5, 2.5]},
        {"y": pd.Series([1.5, 2.5])},
    ],
    ids=lambda result: type(result).__name__,
)
def test_one_output_in_any_container(result):
    assert plain(name_predictions(result, Y)) == {"y": [1.5, 2.5]}


@pytest.mark.parametrize(
    "result",
    [
        np.array([[1.0, 2.0], [3.0, 4.0]]),
        [[1.0, 2.0], [3.0, 4.0]],
        sparse.csr_matrix([[1.0, 2.0], [3.0, 4.0]]),
        sparse.coo_array([[1.0, 2.0], [3.0, 4.0]]),
        pd.DataFrame({"b": [2.0, 4.0], "a": [1.0, 3.0]}),
        {"b": np.array([2.0, 4.0]), "a": [1.0, 3.0]},
        [{"b": 2.0, "a": 1.0}, {"a": 3.0, "b": 4.0}],
    ],
    ids=lambda result: type(result).__name__,
)
def test_several_outputs_in_any_container(result):
    assert plain(name_predictions(result, AB)) == {"a": [1.0, 3.0], "b": [2.0, 4.0]}


@pytest.mark.parametrize("outputs", [(), UNNAMED[:1]])
def test_what_has_no_name_is_numbered(outputs):
    assert plain(name_predictions(np.array([1.5]), outputs)) == {"output-0": [1.5]}


def test_unnamed_outputs_take_columns_in_their_order():
    frame = pd.DataFrame({"x": [1.0], "w": [2.0]})
    assert plain(name_predictions(frame, UNNAMED)) == {"output-0": [1.0], "output-1": [2.0]}
    assert plain(name_predictions(frame, ())) == {"x": [1.0], "w": [2.0]}


def test_columns_without_names_become_text():
    assert plain(name_predictions(pd.DataFrame([[1, 2]]), ())) == {"0": [1], "1": [2]}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (pd.DataFrame({"a": [1.0], "c": [2.0]}), "returned 'a', 'c', where .* 'a', 'b'"),
        ({"a": [1.0]}, "returned 'a', where its signature says 'a', 'b'"),
        ([{"a": 1.0, "b": 2.0}, {"c": 1.0}], "returned 'a', 'b', 'c', where"),
        (np.zeros(3), r"an array of shape \[3\], where its signature says 2 outputs"),
        (np.zeros((3, 3)), r"an array of shape \[3, 3\], where its signature says 2 outputs"),
        (5.0, r"an array of shape \[\], where its signature says 2 outputs"),
        ([[1.0], [1.0, 2.0]], "lists of different lengths"),
        (pd.DataFrame([[1.0, 2.0]], columns=["a", "a"]), "repeats a column name"),
        ([{"a": 1.0}, 5], r"an array of shape \[2\]"),
    ],
)
def test_other_outputs_than_those_of_the_signature_fail(result, message):
    with pytest.raises(ModelFailure, match=message):
        name_predictions(result, AB)


@pytest.mark.parametrize("result", [5.0, np.float64(5), "text", None, True])
def test_a_scalar_is_no_prediction_a_row(result):
    with pytest.raises(
        ModelFailure, match=r"returned shape \[\] for output 'y' of a request with 1"
    ):
        Encoder(Y).encode(name_predictions(result, Y), rows=1)


# --- encoding ------------------------------------------------------------------------------


def encode(output, result, *, rows=2):
    [encoded] = Encoder([output]).encode(name_predictions(result, [output]), rows=rows)
    return encoded


@pytest.mark.parametrize("kind", ["boolean", "integer", "long", "float", "double"])
def test_every_kind_of_number_has_its_datatype(kind):
    values = np.array([1, 0], dtype=NUMPY_TYPES[kind])
    encoded = encode(Column("y", kind), values)
    assert encoded == Encoded("y", DATATYPES[kind], [2], [1, 0])
    assert {type(cell) for cell in encoded.data} == {type(values[0].item())}


@pytest.mark.parametrize(
    "result",
    [
        np.array(["a", "b"]),
        ["a", "b"],
        pd.Series(["a", "b"]),
        pd.Series(["a", "b"], dtype="category"),
    ],
)
def test_text_is_encoded(result):
    encoded = encode(Column("y", "string"), result)
    assert encoded == Encoded("y", "BYTES", [2], [b"a", b"b"])
    assert encoded.to_json() == {
        "name": "y",
        "datatype": "BYTES",
        "shape": [2],
        "data": ["a", "b"],
    }


@pytest.mark.parametrize("unit", ["s", "us", "ns"])
def test_datetimes_are_encoded(unit):
    values = np.array(["2026-11-22T14:00:00", "NaT"], dtype=f"datetime64[{unit}]")
    expected = ["2026-11-22T14:00:00.000000000", None]
    assert encode(Column("y", "datetime"), values).to_json()["data"] == expected


@pytest.mark.parametrize(
    ("kind", "result", "expected"),
    [
        ("double", np.array([np.nan, 1.5]), [None, 1.5]),
        ("float", np.array([np.nan, 1.5], dtype="float32"), [None, 1.5]),
        ("double", [None, 1.5], [None, 1.5]),
        ("double", [{}, {"y": 1.5}], [None, 1.5]),
        ("double", pd.Series([None, 1.5], dtype="Float64"), [None, 1.5]),
        ("double", pd.Series([None, 2], dtype="Int64"), [None, 2.0]),
        ("string", pd.Series([None, "a"]), [None, "a"]),
        ("string", pd.Series([np.nan, "a"], dtype=object), [None, "a"]),
        ("string", pd.Series([pd.NA, "a"], dtype="string"), [None, "a"]),
    ],
)
def test_missing_values_are_null(kind, result, expected):
    assert encode(Column("y", kind, nullable=True), result).to_json()["data"] == expected


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        ("long", np.array([1.0, 2.0]), [1, 2]),
        ("double", np.array([1, 2]), [1.0, 2.0]),
        ("long", np.array([True, False]), [1, 0]),
        ("boolean", np.array([1, 0]), [True, False]),
        ("integer", np.array([1, 2], dtype="int64"), [1, 2]),
        ("float", np.array([0.5, np.nan]), [0.5, None]),
        ("double", np.array([1, 2.5], dtype=object), [1.0, 2.5]),
    ],
)
def test_lossless_conversions_are_done(kind, values, expected):
    encoded = encode(Column("y", kind), values)
    assert encoded.to_json()["data"] == expected
    kinds = [float if cell is None else type(cell) for cell in expected]
    assert [type(cell) for cell in encoded.data] == kinds  # NaN is null in JSON only


@pytest.mark.parametrize(
    ("output", "values"),
    [
        (Column("y", "long"), np.array([1.5, 2.0])),
        (Column("y", "long"), np.array([np.nan, 2.0])),
        (Column("y", "long"), np.array([None, 1], dtype=object)),
        (Column("y", "integer"), np.array([2**31, 0])),
        (Column("y", "boolean"), np.array([2, 0])),
        (Column("y", "float"), np.array([0.1, 0.2])),
        (Column("y", "double"), np.array(["a", "b"])),
        (Column("y", "double"), np.array(["1.5", "2.5"], dtype=object)),
        (Column("y", "double"), np.array([{}, {}])),
        (Column("y", "datetime"), np.array([1, 2])),
        (Column("y", "string"), np.array([1, 2])),
        (Column("y", "string"), np.array([1, "a"], dtype=object)),
        (Column("y", "string"), np.array([b"a", "a"], dtype=object)),
        (Column("y", "binary"), np.array(["a", "a"], dtype=object)),
        (Tensor("y", "object", (-1,)), np.array([{}, []], dtype=object)),
        (Tensor("y", "int64", (-1,)), np.array([1.5, 2.0])),
    ],
)
def test_predictions_of_another_type_fail(output, values):
    with pytest.raises(
        ModelFailure, match=r"the model returned .* output 'y', where its signature"
    ):
        encode(output, values)


@pytest.mark.parametrize(
    ("output", "shape", "expected"),
    [
        (Column("y", "double"), (2,), [2]),
        (Column("y", "double"), (2, 1), [2]),
        (Tensor("y", "float64", (-1,)), (2,), [2]),
        (Tensor("y", "float64", (-1, 3)), (2, 3), [2, 3]),
        (Tensor("y", "float64", (-1, -1, 2)), (2, 3, 2), [2, 3, 2]),
        (Tensor("y", "float64", (2, 3)), (2, 3), [2, 3]),
    ],
)
def test_shapes_are_those_of_the_signature(output, shape, expected):
    values = np.arange(np.prod(shape), dtype=float).reshape(shape)
    encoded = encode(output, values)
    assert encoded.shape == expected
    assert encoded.data == list(range(int(np.prod(shape))))


@pytest.mark.parametrize(
    ("output", "shape"),
    [
        (Column("y", "double"), (2, 2)),
        (Column("y", "double"), (2, 1, 1)),
        (Tensor("y", "float64", (-1, 3)), (2, 2)),
        (Tensor("y", "float64", (-1, 3)), (2,)),
        (Tensor("y", "float64", (-1,)), (2, 1)),
    ],
)
def test_other_shapes_fail(output, shape):
    with pytest.raises(ModelFailure, match=r"returned shape \[2.*\] for output 'y', wh(ere|ich)"):
        encode(output, np.zeros(shape))


@pytest.mark.parametrize("rows", [0, 1, 3])
@pytest.mark.parametrize("output", [Column("y", "double"), Tensor("y", "float64", (-1,))])
def test_another_number_of_rows_fails(output, rows):
    with pytest.raises(
        ModelFailure, match=rf"shape \[2\] for output 'y' of a request with {rows} r"
    ):
        encode(output, np.zeros(2), rows=rows)


@pytest.mark.parametrize("kind", DATATYPES)
def test_zero_rows_are_encoded(kind):
    encoded = encode(Column("y", kind), np.empty(0, NUMPY_TYPES[kind]), rows=0)
    assert (encoded.shape, encoded.data) == ([0], [])


# --- which outputs -------------------------------------------------------------------------


@pytest.mark.parametrize("requested", [None, []])
def test_all_outputs_are_sent_where_none_is_asked_for(requested):
    assert Encoder(AB).select(requested) == ["a", "b"]


def test_outputs_are_sent_in_the_order_asked_for():
    encoder = Encoder(AB)
    predictions = name_predictions(np.array([[1.0, 2.0]]), AB)
    for names in (["b"], ["b", "a"]):
        encoded = encoder.encode(predictions, rows=1, names=encoder.select(names))
        assert [output.name for output in encoded] == names
    assert [output.data for output in encoder.encode(predictions, rows=1)] == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        (["c"], "output 'c': unknown; the model returns 'a', 'b'"),
        (["a", "c"], "output 'c': unknown"),
        (["a", "a"], "expected each name once, got one more than once"),
        (["c" * 1000], "output 'ccc.{1,80}: unknown"),
    ],
)
def test_outputs_that_do_not_exist_are_refused(requested, message):
    with pytest.raises(InvalidRequest, match=message):
        Encoder(AB).select(requested)


# --- describing ----------------------------------------------------------------------------


def test_arrays_are_described_as_they_are():
    found = describe(
        {
            "n": np.zeros(2, "int32"),
            "wide": np.zeros((2, 3), "float32"),
            "text": np.array(["a"], dtype=object),
            "at": np.zeros(2, "datetime64[us]"),
        }
    )
    assert found == (
        Tensor("n", "int32", (-1,)),
        Tensor("wide", "float32", (-1, 3)),
        Tensor("text", "object", (-1,)),
        Column("at", "datetime", nullable=True),
    )


@pytest.mark.parametrize("dtype", ["complex128", "timedelta64[s]", "longdouble"])
def test_arrays_that_no_datatype_carries_fail(dtype):
    with pytest.raises(ModelFailure, match="output 'y', which no datatype can carry"):
        describe({"y": np.zeros(2, dtype)})
