import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter

from mlserver_pyfunc.elements import NUMBERS
from mlserver_pyfunc.raw import check_raw_contents, check_request
from pyfunc_packaging.errors import InvalidRequest

Tensor = pb.ModelInferRequest.InferInputTensor
Contents = pb.InferTensorContents


def request(*tensors, raw=()):
    return pb.ModelInferRequest(inputs=tensors, raw_input_contents=raw)


def tensor(name="x", datatype="FP64", shape=(2,), **more):
    return Tensor(name=name, datatype=datatype, shape=shape, **more)


def packed(*texts):
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


@pytest.mark.parametrize(("datatype", "dtype"), NUMBERS.items())
@pytest.mark.parametrize("shape", [(2,), (2, 1), (1, 2), (0,), (0, 3), ()])
def test_raw_numbers_that_fit_pass_and_can_be_unpacked(datatype, dtype, shape):
    values = np.ones(shape, dtype)
    sent = request(tensor(datatype=datatype, shape=shape), raw=[values.tobytes()])
    check_request(sent)
    [got] = ModelInferRequestConverter.to_types(sent).inputs
    assert list(got.data) == values.ravel().tolist()


@pytest.mark.parametrize("texts", [(), (b"",), (b"Rome", b"", b"\xff\x00")])
def test_raw_texts_that_fit_pass_and_can_be_unpacked(texts):
    sent = request(tensor(datatype="BYTES", shape=[len(texts)]), raw=[packed(*texts)])
    check_request(sent)
    [got] = ModelInferRequestConverter.to_types(sent).inputs
    assert list(got.data) == list(texts)


@pytest.mark.parametrize(
    "sent",
    [
        request(),
        request(tensor(contents=Contents(fp64_contents=[1.0, 2.0]))),
        request(tensor(shape=[-5])),
    ],
)
def test_requests_without_raw_contents_pass(sent):
    check_request(sent)


EIGHT = bytes(8)


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (
            request(tensor(), tensor("y"), raw=[2 * EIGHT]),
            "raw_input_contents: expected one for each of the 2 inputs, got 1",
        ),
        (request(raw=[b""]), "expected one for each of the 0 inputs, got 1"),
        (
            request(tensor(contents=Contents(fp64_contents=[1.0])), raw=[2 * EIGHT]),
            "input 'x': has contents although the request has raw_input_contents",
        ),
        (request(tensor(shape=[-1]), raw=[EIGHT]), "input 'x': expected a shape of non-neg"),
        (request(tensor(shape=[-1, -2]), raw=[2 * EIGHT]), "a shape of non-negative integers"),
        (request(tensor(shape=[2**62] * 20_000), raw=[EIGHT]), "at most 64 dimensions, got 20000"),
        (request(tensor(datatype="FP8"), raw=[b""]), "input 'x': expected a datatype of .*'FP8'"),
        (request(tensor(datatype=""), raw=[b""]), "input 'x': expected a datatype of "),
        (
            request(tensor(), raw=[EIGHT]),
            r"input 'x': shape \[2\] of FP64 means 16 raw bytes, got 8",
        ),
        (request(tensor(), raw=[3 * EIGHT]), "means 16 raw bytes, got 24"),
        (request(tensor(), raw=[b""]), "means 16 raw bytes, got 0"),
        (request(tensor(shape=[2**62, 2**62]), raw=[EIGHT]), "raw bytes, got 8"),
        (
            request(tensor(), tensor("y", "INT8"), raw=[2 * EIGHT, b"1"]),
            r"input 'y': shape \[2\] of INT8 means 2 raw bytes, got 1",
        ),
        (
            request(tensor(datatype="BYTES"), raw=[packed(b"a")]),
            "input 'x': expected 2 elements, the bytes have 1",
        ),
        (
            request(tensor(datatype="BYTES"), raw=[packed(b"a", b"b", b"c")]),
            "input 'x': expected 2 elements, the bytes have 3",
        ),
        (
            request(tensor(datatype="BYTES"), raw=[packed(b"a") + b"\x05\x00\x00\x00b"]),
            "input 'x', value 1: its length prefix goes beyond the bytes",
        ),
        (
            request(tensor(datatype="BYTES"), raw=[packed(b"a") + b"\x00\x00"]),
            "input 'x': the bytes end within a length prefix",
        ),
    ],
)
def test_raw_contents_that_do_not_fit_are_refused(sent, message):
    with pytest.raises(InvalidRequest, match=message):
        check_raw_contents(sent)


@given(
    st.sampled_from([*NUMBERS, "BYTES"]),
    st.lists(st.integers(0, 3), max_size=2),
    st.binary(max_size=24) | st.lists(st.binary(max_size=3), max_size=3).map(lambda t: packed(*t)),
)
def test_whatever_passes_can_be_unpacked(datatype, shape, content):
    sent = request(tensor(datatype=datatype, shape=shape), raw=[content])
    try:
        check_request(sent)
    except InvalidRequest:
        return
    [got] = ModelInferRequestConverter.to_types(sent).inputs
    assert len(list(got.data)) == int(np.prod(shape, dtype=int))


def test_contents_of_two_types_are_refused():
    both = Contents(fp64_contents=[1.0], int64_contents=[1])
    with pytest.raises(InvalidRequest, match="input 'x': has contents of more than one type"):
        check_request(request(tensor(contents=both)))


@pytest.mark.parametrize("owner", ["request", "input", "output"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("headers", {"string_param": "a"}, "'headers' is no parameter"),
        ("content_type", {"int64_param": 5}, "content_type to be a string_param, got int64_param"),
        ("content_type", {}, "content_type to be a string_param, got None"),
    ],
)
def test_parameters_that_mlserver_fails_on_are_refused(owner, name, value, message):
    parameters = {name: pb.InferParameter(**value)}
    sent = {
        "request": lambda: pb.ModelInferRequest(parameters=parameters),
        "input": lambda: request(tensor(parameters=parameters)),
        "output": lambda: pb.ModelInferRequest(
            outputs=[
                pb.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=parameters)
            ]
        ),
    }[owner]()
    with pytest.raises(InvalidRequest, match=message):
        check_request(sent)


def test_other_parameters_pass_and_stay_as_they_are():
    fine = {"content_type": pb.InferParameter(string_param="base64")}
    sent = request(tensor(parameters=fine))
    before = sent.SerializeToString(deterministic=True)
    check_request(sent)
    assert sent.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize(("content", "fine"), [(b"\x00\x01", True), (b"\x00\x02", False)])
def test_raw_booleans_are_zero_or_one(content, fine):
    sent = request(tensor(datatype="BOOL"), raw=[content])
    if fine:
        check_request(sent)
    else:
        with pytest.raises(InvalidRequest, match="input 'x': expected bytes 0 or 1 for BOOL"):
            check_request(sent)
