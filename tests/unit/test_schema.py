import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.models import infer_signature

from pyfunc_packaging.errors import MalformedBundle
from pyfunc_packaging.schema import (
    DATATYPES,
    TENSOR_DATATYPES,
    Column,
    Param,
    Schema,
    Tensor,
)

TEXT = st.text(max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
CATEGORIES = st.lists(TEXT, max_size=3) | st.lists(st.integers(), max_size=3)
COLUMNS = st.builds(
    Column,
    TEXT,
    st.sampled_from(sorted(DATATYPES)),
    nullable=st.booleans(),
    dtype=st.none() | st.sampled_from(["Int64", "category", "datetime64[us, UTC]"]),
    categories=st.none() | CATEGORIES.map(tuple),
    ordered=st.booleans(),
    missing=st.sampled_from([None, "None", "NaN", "NA"]),
    finite=st.booleans(),
)
TENSORS = st.builds(
    Tensor,
    TEXT,
    st.sampled_from(sorted(TENSOR_DATATYPES)),
    st.lists(st.integers(-1, 9), max_size=4).map(tuple),
)
PARAMS = st.builds(
    Param, TEXT, st.sampled_from(sorted(DATATYPES)), SCALARS, st.none() | st.just((-1,))
)
SCHEMAS = st.builds(
    Schema,
    st.lists(COLUMNS | TENSORS, max_size=4).map(tuple),
    st.lists(COLUMNS | TENSORS, max_size=3).map(tuple),
    st.lists(PARAMS, max_size=3).map(tuple),
)


def mlflow(**parts):
    return Schema.from_mlflow({key: json.dumps(value) for key, value in parts.items()})


# --- MLflow signatures ---------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "datatype"), DATATYPES.items())
def test_a_column_of_each_type_has_its_datatype(kind, datatype):
    [column] = mlflow(inputs=[{"type": kind, "name": "x", "required": True}]).inputs
    assert column == Column("x", kind)
    assert (column.datatype, column.shape, column.nullable) == (datatype, (-1,), False)


@pytest.mark.parametrize(
    ("required", "nullable"),
    [({"required": True}, False), ({"required": False}, True), ({}, False)],
)
def test_what_is_not_required_is_nullable(required, nullable):
    assert (
        mlflow(inputs=[{"type": "double", "name": "x", **required}]).inputs[0].nullable is nullable
    )


@pytest.mark.parametrize(("dtype", "datatype"), TENSOR_DATATYPES.items())
def test_a_tensor_of_each_dtype_has_its_datatype(dtype, datatype):
    spec = {"type": "tensor", "name": "t", "tensor-spec": {"dtype": dtype, "shape": [-1, 3]}}
    schema = mlflow(inputs=[spec])
    assert schema.inputs == (Tensor("t", dtype, (-1, 3)),)
    assert schema.inputs[0].datatype == datatype
    assert (schema.columnar, schema.columns) == (False, ())


def test_columns_are_told_from_tensors():
    schema = Schema((Column("x", "double"),), (Tensor("y", "float64", (-1,)),))
    assert schema.columnar
    assert schema.columns == schema.inputs


def test_unnamed_fields_are_numbered():
    tensor = {"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}
    schema = mlflow(inputs=[{"type": "double"}, {"type": "long"}], outputs=[tensor, tensor])
    assert [field.name for field in schema.inputs] == ["input-0", "input-1"]
    assert [field.name for field in schema.outputs] == ["output-0", "output-1"]


@pytest.mark.parametrize(("dtype", "name"), [("<U5", "str"), ("|S4", "bytes"), ("|O", "object")])
def test_text_tensors_lose_their_length(dtype, name):
    spec = {"type": "tensor", "name": "t", "tensor-spec": {"dtype": dtype, "shape": [-1]}}
    assert mlflow(inputs=[spec]).inputs[0] == Tensor("t", name, (-1,))


def test_parameters_of_a_signature():
    schema = mlflow(
        inputs=[],
        params=[
            {"name": "temperature", "type": "double", "default": 0.5, "shape": None},
            {"name": "stops", "type": "string", "default": ["a"], "shape": [-1]},
            {"name": "seed", "type": "long"},
        ],
    )
    assert schema.params == (
        Param("temperature", "double", 0.5),
        Param("stops", "string", ["a"], (-1,)),
        Param("seed", "long"),
    )


def test_absent_parts_of_a_signature_are_empty():
    assert Schema.from_mlflow({"inputs": None}) == Schema(())


def test_what_mlflow_itself_writes_is_read():
    signature = infer_signature(np.zeros((2, 3)), np.zeros(2, "float32"))
    schema = Schema.from_mlflow(signature.to_dict())
    assert schema.inputs == (Tensor("input-0", "float64", (-1, 3)),)
    assert schema.outputs == (Tensor("output-0", "float32", (-1,)),)


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (
            {"type": "array", "name": "x", "items": {"type": "long"}},
            ["input 'x'", "'array'", "long"],
        ),
        ({"type": "any", "name": "x"}, ["input 'x'", "'any'"]),
        ({"name": "x"}, ["input 'x'", "None"]),
        (
            {"type": "tensor", "name": "t", "tensor-spec": {"dtype": "complex64", "shape": [-1]}},
            ["input 't'", "complex64", "float32"],
        ),
        (
            {
                "type": "tensor",
                "name": "t",
                "tensor-spec": {"dtype": "datetime64[ns]", "shape": []},
            },
            ["input 't'", "datetime64[ns]"],
        ),
    ],
)
def test_types_that_no_tensor_carries_are_refused_by_name(field, words):
    with pytest.raises(MalformedBundle) as caught:
        mlflow(inputs=[field])
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(
    "signature",
    [
        {"inputs": "not JSON"},
        {"inputs": 5},
        {"inputs": "5"},
        {"inputs": '"text"'},
        {"inputs": "[1]"},
        {"inputs": '[{"type": ["double"], "name": "x"}]'},
        {"inputs": '[{"type": "tensor", "name": "x"}]'},
        {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "nonsense", "shape": [1]}}]'},
        {"inputs": '[{"type": "tensor", "tensor-spec": {"dtype": "int8", "shape": 3}}]'},
        {"inputs": "[]", "params": '[{"type": "double"}]'},
        {"inputs": "[]", "params": "[3]"},
        "text",
        None,
    ],
)
def test_what_is_no_signature_is_refused(signature):
    with pytest.raises(MalformedBundle, match="MLmodel: "):
        Schema.from_mlflow(signature)


# --- the manifest --------------------------------------------------------------------------


@given(SCHEMAS)
def test_a_schema_survives_the_manifest(schema):
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


COLUMN = {"kind": "column", "name": "x", "type": "double"}
TENSOR = {"kind": "tensor", "name": "x", "dtype": "float64", "shape": [-1]}
CHANCES = {**TENSOR, "shape": [-1, 2], "classes": ["no", "yes"]}


@pytest.mark.parametrize(
    "field",
    [
        {},
        5,
        "text",
        None,
        {**COLUMN, "type": "decimal"},
        {**COLUMN, "type": ["double"]},
        {**COLUMN, "categories": 5},
        {"kind": "column", "name": "x"},
        {"kind": "column", "type": "double"},
        {**TENSOR, "dtype": "complex64"},
        {**TENSOR, "shape": 5},
        {"kind": "tensor", "name": "x", "shape": [1]},
        {**CHANCES, "classes": []},
        {**CHANCES, "classes": 2},
        {**CHANCES, "classes": "no"},
        {**CHANCES, "classes": ["no", "no"]},
        {**CHANCES, "classes": ["no", None]},
        {**CHANCES, "classes": [1, "yes"]},
        {**CHANCES, "classes": [1, True]},
        {**CHANCES, "classes": [[0], [1]]},
        {**CHANCES, "classes": {"no": 0, "yes": 1}},
        {**CHANCES, "classes": ["no", "yes", "maybe"]},
        {**CHANCES, "shape": [-1]},
        {**CHANCES, "shape": [2, 2]},
        {**CHANCES, "dtype": "float32"},
    ],
)
@pytest.mark.parametrize("side", ["inputs", "outputs"])
def test_a_malformed_field_is_refused(side, field):
    data = {"inputs": [COLUMN], "outputs": [TENSOR], "params": []}
    assert Schema.from_dict(data).inputs == (Column("x", "double"),)
    with pytest.raises(MalformedBundle, match="schema is not one that this version can read"):
        Schema.from_dict({**data, side: [field]})


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"inputs": [], "outputs": []},
        {"inputs": 5, "outputs": [], "params": []},
        {"inputs": [], "outputs": [], "params": [{}]},
        {"inputs": [], "outputs": [], "params": [{"name": "a", "type": "long", "default": 1}]},
        {"inputs": [], "outputs": [], "params": ["text"]},
        [],
        None,
    ],
)
def test_a_malformed_schema_is_refused(data):
    with pytest.raises(MalformedBundle, match="schema is not one that this version can read"):
        Schema.from_dict(data)


@pytest.mark.parametrize(
    "classes", [("no", "yes"), (False, True), (3, 7), (-1.0, 2.0), ("Straße", "")]
)
def test_classes_survive_the_manifest(classes):
    output = Tensor("probability", "float64", (-1, 2), classes)
    schema = Schema((Column("x", "double"),), (Column("label", "string"), output))
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    assert list(map(type, again.outputs[1].classes)) == list(map(type, classes))


def test_what_a_later_version_says_more_of_a_column_is_passed_over():
    data = {"inputs": [{**COLUMN, "surprise": 1}], "outputs": [TENSOR], "params": []}
    assert Schema.from_dict(data).inputs == (Column("x", "double"),)
