"""What the fast lane reads by itself, and what it leaves to MLServer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.types import InferenceRequest
from pydantic import ValidationError

from mlserver_pyfunc.bodies import BodyHeaders
from mlserver_pyfunc.decode import Decoder
from mlserver_pyfunc.envelope import Envelope, read_request
from mlserver_pyfunc.envelope import read_envelope as read
from mlserver_pyfunc.exact_json import parse_exactly
from mlserver_pyfunc.plain import Decoded, PlainReader
from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import Column, Schema

SCHEMA = Schema((Column("x", "double", nullable=True), Column("n", "long")))
#: A model whose requests these are not, so that nothing is plain.
OTHER = PlainReader(Schema((Column("other", "double"),)))


def read_envelope(body: bytes) -> Envelope | None:
    return read(parse_exactly(body), OTHER)


GOOD: dict[str, Any] = {"name": "x", "shape": [2], "datatype": "FP64", "data": [0.5, None]}


def encode(**fields: Any) -> bytes:
    return json.dumps({"inputs": [GOOD], **fields}).encode()


def test_all_of_a_request() -> None:
    tensor = {**GOOD, "parameters": {"content_type": "np", "colour": "blue"}}
    envelope = read_envelope(
        encode(
            id="7",
            inputs=[GOOD, tensor],
            outputs=[{"name": "a", "parameters": {"content_type": None}}, {"name": "b"}],
            parameters={"content_type": "pd", "threshold": 0.5},
        )
    )
    assert envelope is not None
    assert envelope.id == "7"
    assert envelope.outputs == ["a", "b"]
    assert envelope.parameters == {"threshold": 0.5}
    assert isinstance(envelope.inputs, list)
    first, second = envelope.inputs
    assert (first.name, first.shape, first.datatype) == ("x", [2], "FP64")
    assert (first.data, first.parameters) == ([0.5, None], None)
    assert second.parameters is not None
    assert second.parameters.content_type == "np"


def test_what_may_be_left_out() -> None:
    envelope = read_envelope(encode(id=None, outputs=None, parameters=None, more=[1]))
    assert envelope is not None
    assert (envelope.id, envelope.outputs, envelope.parameters) == (None, [], {})


def test_integers_beyond_64_bits_are_exact() -> None:
    envelope = read_envelope(encode(inputs=[{**GOOD, "data": [2**64 + 1]}]))
    assert envelope is not None
    assert isinstance(envelope.inputs, list)
    assert envelope.inputs[0].data == [2**64 + 1]


@pytest.mark.parametrize(
    ("fields", "plain"),
    [
        ({}, True),
        ({"id": "7"}, True),
        ({"id": None}, True),
        ({"outputs": []}, False),
        ({"parameters": {}}, False),
        ({"inputs": [{**GOOD, "parameters": None}]}, False),
    ],
)
def test_plain(fields: dict[str, Any], plain: bool) -> None:
    reader = PlainReader(Schema((Column("x", "double", nullable=True),)))
    envelope = read(parse_exactly(encode(**fields)), reader)
    assert envelope is not None
    assert isinstance(envelope.inputs, Decoded) == plain
    assert (envelope.id, envelope.outputs, envelope.parameters) == (fields.get("id"), [], {})


@pytest.mark.parametrize(
    "body",
    [
        b"5",
        b"null",
        b"[]",
        b"{}",
        encode(inputs={}),
        encode(inputs=[1]),
        encode(inputs=[[]]),
        encode(inputs=["name"]),
        encode(id=7),
        encode(parameters=[]),
        encode(parameters={"headers": {}}),
        encode(parameters={"content_type": 5}),
        encode(outputs={}),
        encode(outputs=[5]),
        encode(outputs=[{}]),
        encode(outputs=[{"name": "a", "parameters": 5}]),
        *(encode(inputs=[{k: v for k, v in GOOD.items() if k != name}]) for name in GOOD),
        encode(inputs=[{**GOOD, "name": 5}]),
        encode(inputs=[{**GOOD, "shape": 2}]),
        encode(inputs=[{**GOOD, "shape": ["2"]}]),
        encode(inputs=[{**GOOD, "shape": [2.0]}]),
        encode(inputs=[{**GOOD, "shape": [True]}]),
        encode(inputs=[{**GOOD, "datatype": "DOUBLE"}]),
        encode(inputs=[{**GOOD, "datatype": ["FP64"]}]),
        encode(inputs=[{**GOOD, "data": None}]),
        encode(inputs=[{**GOOD, "data": "ab"}]),
        encode(inputs=[{**GOOD, "parameters": []}]),
        encode(inputs=[{**GOOD, "parameters": {"headers": None}}]),
    ],
)
def test_left_to_mlserver(body: bytes) -> None:
    assert read_envelope(body) is None


def test_wishes_for_bytes() -> None:
    outputs = [{"name": "a", "parameters": {"binary_data": False}}, {"name": "b"}]
    envelope = read_envelope(encode(outputs=outputs, parameters={"binary_data_output": True}))
    assert envelope is not None
    assert "a" not in envelope.wishes
    assert "b" in envelope.wishes
    with pytest.raises(InvalidRequest, match="'binary_data_output': expected true or false"):
        read_envelope(encode(parameters={"binary_data_output": 1}))


cells = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
values = st.recursive(
    cells,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)
parameters = st.fixed_dictionaries(
    {}, optional={"content_type": cells, "headers": cells, "other": values}
)
tensors = st.fixed_dictionaries(
    {},
    optional={
        "name": st.just("x") | values,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | values,
        "datatype": st.sampled_from(["FP64", "BYTES", "BF16", "fp64"]) | values,
        "data": st.lists(cells, max_size=3) | values,
        "parameters": st.none() | parameters | values,
    },
)
requests = st.fixed_dictionaries(
    {},
    optional={
        "id": st.none() | st.just("a") | values,
        "inputs": st.lists(tensors, max_size=3) | values,
        "outputs": st.none() | st.lists(tensors, max_size=2) | values,
        "parameters": st.none() | parameters | values,
    },
)


@given(requests)
def test_reads_what_pydantic_reads(request: dict[str, Any]) -> None:
    """Whatever is read here, MLServer's own types read in the same way."""
    try:
        body = json.dumps(request, allow_nan=False).encode()
    except (ValueError, UnicodeEncodeError):  # NaN is no JSON
        return
    try:
        envelope = read_envelope(body)
    except InvalidRequest:  # of a parameter that only we read
        return
    if envelope is None:
        return
    try:
        expected = InferenceRequest.model_validate(json.loads(body))
    except ValidationError as error:
        raise AssertionError(f"read {envelope}, which MLServer refuses") from error
    assert envelope.id == expected.id
    assert envelope.outputs == [output.name for output in expected.outputs or []]
    assert envelope.parameters == ((expected.parameters or GOOD_PARAMETERS).model_extra or {})
    assert isinstance(envelope.inputs, list)
    assert len(envelope.inputs) == len(expected.inputs)
    for found, tensor in zip(envelope.inputs, expected.inputs, strict=True):
        assert (found.name, found.shape, found.datatype) == (
            tensor.name,
            tensor.shape,
            getattr(tensor.datatype, "value", tensor.datatype),
        )
        assert repr(found.data) == repr(tensor.data.root)
        assert (found.parameters is None) == (tensor.parameters is None)
        if found.parameters is not None:
            assert found.parameters.content_type == tensor.parameters.content_type


GOOD_PARAMETERS = InferenceRequest(inputs=[], parameters={}).parameters


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
rows = st.lists(st.tuples(numbers | cells, numbers | cells), min_size=1, max_size=3)


@given(rows, st.none() | st.text(max_size=3) | numbers)
def test_integers_are_exact(rows: list[tuple[Any, Any]], identity: Any) -> None:
    """What is read of a body at once is what is read of it exactly."""
    data = dict(zip("xn", map(list, zip(*rows, strict=True)), strict=True))
    shape = [len(rows)]
    inputs = [
        {"name": "x", "shape": shape, "datatype": "FP64", "data": data["x"]},
        {"name": "n", "shape": shape, "datatype": "INT64", "data": data["n"]},
    ]
    try:
        body = json.dumps({"id": identity, "inputs": inputs}, allow_nan=False).encode()
    except (ValueError, UnicodeEncodeError):  # NaN is no JSON
        return
    found = read_request(body, BodyHeaders("application/json"), 10_000, PlainReader(SCHEMA))
    expected = read(parse_exactly(body), OTHER)
    if found is None or expected is None:
        assert found is expected
        return
    assert found.id == expected.id
    inputs = expected.inputs
    if isinstance(found.inputs, Decoded):
        inputs = Decoder(SCHEMA, OTHER).decode(expected.inputs)
    assert repr(found.inputs) == repr(inputs)
