import copy
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import (
    MAX_ROWS,
    choose_rows,
    differences,
    make_request,
    make_response,
    request_frame,
)
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.schema import Column, Schema, Tensor

# --- rows ----------------------------------------------------------------------------------


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)))
def test_chosen_rows_are_few_and_different_and_show_what_is_missing(count, gaps, others):
    frame = pd.DataFrame({"x": np.arange(count, dtype=float), "y": 0.0, "row": range(count)})
    frame.loc[frame["row"].isin(gaps), "x"] = np.nan
    frame.loc[frame["row"].isin(others), "y"] = np.nan
    chosen = choose_rows(frame)
    assert 1 <= len(chosen) <= MAX_ROWS
    assert chosen["row"].is_unique
    assert {0, count - 1} <= set(chosen["row"])
    for name in ("x", "y"):
        assert chosen[name].isna().any() == frame[name].isna().any()


def test_a_column_without_gaps_adds_no_rows():
    assert choose_rows(pd.DataFrame({"x": range(3)}))["x"].tolist() == [0, 1, 2]


def test_rows_that_json_cannot_hold_are_passed_over():
    frame = pd.DataFrame({"x": [np.inf, 1.0, -np.inf, 2.0], "t": list("abcd")})
    assert choose_rows(frame)["t"].tolist() == ["b", "d"]


def test_a_frame_of_infinite_rows_is_refused():
    with pytest.raises(UnsuitableData, match="every row of X has an infinite number"):
        choose_rows(pd.DataFrame({"x": [np.inf]}))


# --- request and response ------------------------------------------------------------------


def test_a_request_gives_back_the_frame_it_was_made_of():
    frame = pd.DataFrame(
        {
            "age": pd.Series([1, None], dtype="Int64"),
            "rooms": [1.5, np.nan],
            "city": pd.Series(["Rome", None], dtype=object),
            "kind": pd.Categorical(["b", "a"], ["b", "a"]),
            "at": pd.to_datetime(["2026-11-22T14:00:00.123456789", None]),
        }
    )
    columns = infer_columns(frame)
    columns = tuple(Column(**{**vars(column), "nullable": True}) for column in columns)
    request = make_request(columns, from_frame(Schema(columns), frame))
    assert [tensor["datatype"] for tensor in request["inputs"]] == [
        "INT64",
        "FP64",
        "BYTES",
        "BYTES",
        "BYTES",
    ]
    assert [tensor["data"] for tensor in request["inputs"]] == [
        [1, None],
        [1.5, None],
        ["Rome", None],
        ["b", "a"],
        ["2026-11-22T14:00:00.123456789", None],
    ]
    stored = json.loads(json.dumps(request, allow_nan=False))
    pd.testing.assert_frame_equal(request_frame(Schema(columns), stored), frame)


@pytest.mark.parametrize(
    ("outputs", "predictions", "expected"),
    [
        (
            [Column("y", "double")],
            {"y": np.array([1.5, np.nan])},
            [("y", [2], "FP64", [1.5, None])],
        ),
        ([Column("y", "string")], {"y": np.array(["a", "b"])}, [("y", [2], "BYTES", ["a", "b"])]),
        (
            [Column("a", "long"), Column("b", "long")],
            {"b": np.array([2, 4, 6]), "a": np.array([1, 3, 5])},
            [("a", [3], "INT64", [1, 3, 5]), ("b", [3], "INT64", [2, 4, 6])],
        ),
        (
            [Tensor("t", "float32", (-1, 2))],
            {"t": np.array([[1, 2], [3, 4]], dtype="float32")},
            [("t", [2, 2], "FP32", [1.0, 2.0, 3.0, 4.0])],
        ),
    ],
)
def test_predictions_as_a_response(outputs, predictions, expected):
    keys = ("name", "shape", "datatype", "data")
    assert make_response(outputs, predictions) == {
        "outputs": [dict(zip(keys, output, strict=True)) for output in expected]
    }


# --- comparing -----------------------------------------------------------------------------

RESPONSE = {
    "outputs": [
        {"name": "y", "shape": [2], "datatype": "FP64", "data": [1.0, None]},
        {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    ]
}


def changed(output, key, value):
    response = copy.deepcopy(RESPONSE)
    response["outputs"][output][key] = value
    return response


@pytest.mark.parametrize(
    "other", [RESPONSE, changed(0, "data", [1.0 + 1e-10, None]), json.loads(json.dumps(RESPONSE))]
)
def test_rounding_is_no_difference(other):
    assert differences(RESPONSE, other) is None


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            changed(0, "data", [1.0 + 1e-8, None]),
            "output 'y', value 0: expected 1.0, found 1.00000001",
        ),
        (changed(0, "data", [None, None]), "output 'y', value 0: expected 1.0, found None"),
        (changed(0, "data", [1.0, 0.0]), "output 'y', value 1: expected None, found 0.0"),
        (changed(0, "data", [1, None]), "output 'y', value 0: expected 1.0, found 1"),
        (changed(0, "data", [float("nan"), None]), "output 'y', value 0: expected 1.0, found nan"),
        (changed(1, "data", ["a", "c"]), "output 'label', value 1: expected b, found c"),
        (changed(0, "shape", [2, 1]), "output 'y': expected shape [2], found [2, 1]"),
        (changed(1, "datatype", "FP32"), "output 'label': expected datatype BYTES, found FP32"),
        (changed(0, "name", "z"), "expected the outputs ['y', 'label'], found ['z', 'label']"),
        ({"outputs": RESPONSE["outputs"][:1]}, "expected the outputs ['y', 'label'], found ['y']"),
    ],
)
def test_differences_are_named(other, message):
    assert differences(RESPONSE, other) == message


def test_zero_is_no_rounding_of_anything():
    zero, tiny = (
        {"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [value]}]}
        for value in (0.0, 1e-300)
    )
    assert differences(zero, tiny) is not None
    assert differences(zero, zero) is None


@pytest.mark.parametrize("value", [True, 1, "1"])
def test_values_of_other_types_differ(value):
    one = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
    other = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [value]}]}
    assert differences(one, other) is not None


@pytest.mark.parametrize(
    ("datatype", "relative", "same"),
    [("FP64", 1e-10, True), ("FP64", 1e-7, False), ("FP32", 1e-6, True), ("FP32", 1e-2, False)],
)
def test_a_difference_counts_by_datatype(datatype, relative, same):
    def response(value):
        data = [value, 1000.0]
        return {"outputs": [{"name": "y", "shape": [2], "datatype": datatype, "data": data}]}

    found = differences(response(1000.0), response(1000.0 * (1 + relative)))
    assert (found is None) == same


def test_sums_that_cancel_keep_the_error_of_their_terms():
    def response(value):
        data = [value, 1000.0]
        return {"outputs": [{"name": "y", "shape": [2], "datatype": "FP64", "data": data}]}

    assert differences(response(1e-13), response(-2e-13)) is None
