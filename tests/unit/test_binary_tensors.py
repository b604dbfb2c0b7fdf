"""Tensors as bytes: what comes in goes out again, and what does not fit is refused."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.utils import serialize_byte_tensor

from mlserver_pyfunc.binary_tensors import SIZE, attach_tensors, split_elements, to_bytes
from mlserver_pyfunc.elements import NUMBERS
from pyfunc_packaging.errors import InvalidRequest


def tensor(size: Any, **fields: Any) -> dict[str, Any]:
    usual = {"name": "x", "shape": [2], "datatype": "FP64"}
    return {**usual, "parameters": {SIZE: size}, **fields}


def attach(content: bytes, **fields: Any) -> Any:
    given = tensor(len(content), **fields)
    attach_tensors({"inputs": [given]}, content)
    assert "parameters" not in given
    return given


@pytest.mark.parametrize("datatype", NUMBERS)
def test_numbers_and_booleans(datatype: str) -> None:
    values = np.array([1, 0], NUMBERS[datatype])
    found = attach(values.tobytes(), datatype=datatype)["data"]
    assert found.dtype == NUMBERS[datatype]
    assert found.tolist() == values.tolist()
    assert to_bytes(datatype, values.tolist()) == values.tobytes()


def test_bfloat16_becomes_float32() -> None:
    values = np.array([1.5, -0.0, 3e38, np.inf], np.float32)
    upper = (values.view(np.uint32) >> 16).astype("<u2")
    found = attach(upper.tobytes(), datatype="BF16", shape=[4])
    assert found["datatype"] == "FP32"
    # BF16 keeps 8 bits of a number
    np.testing.assert_allclose(found["data"], values, rtol=2**-7)
    assert np.signbit(found["data"][1])


def test_texts() -> None:
    texts = ["", "Bern", "Zürich 🌊", "a\0b"]
    content = serialize_byte_tensor(np.array(texts, dtype=object)).item()
    found = attach(content, datatype="BYTES", shape=[2, 2])["data"]
    assert [cell.decode() for cell in found] == texts
    assert to_bytes("BYTES", texts) == to_bytes("BYTES", found) == content


def test_what_is_missing_in_an_output() -> None:
    assert np.isnan(np.frombuffer(to_bytes("FP64", [None]))[0])
    assert to_bytes("BYTES", [None]) == bytes(4)


@given(st.lists(st.binary(max_size=9)))
def test_elements_come_back(elements: list[bytes]) -> None:
    content = to_bytes("BYTES", elements)
    assert split_elements("x", content, len(elements)) == elements


@given(st.binary(max_size=60), st.integers(0, 5))
def test_any_bytes_are_split_or_refused(content: bytes, count: int) -> None:
    try:
        elements = split_elements("x", content, count)
    except InvalidRequest:
        return
    assert to_bytes("BYTES", elements) == content


def test_several_tensors_in_their_order() -> None:
    inputs = [
        tensor(8, name="a", shape=[1]),
        {"name": "b", "shape": [1], "datatype": "FP64", "data": [2.0]},
        tensor(1, name="c", shape=[1], datatype="INT8", parameters={SIZE: 1, "colour": "blue"}),
    ]
    attach_tensors({"inputs": inputs}, struct.pack("<db", 1.0, 3))
    assert [each["data"][0] for each in inputs] == [1.0, 2.0, 3]
    assert inputs[2]["parameters"] == {"colour": "blue"}


def test_no_bytes_at_all() -> None:
    assert attach(b"", shape=[0])["data"].tolist() == []
    assert attach(b"", shape=[0], datatype="BYTES")["data"] == []


@pytest.mark.parametrize("content", [None, 5, [], {}, {"inputs": 5}, {"inputs": [5, None, {}]}])
def test_what_is_no_request_is_left_alone(content: Any) -> None:
    attach_tensors(content, b"")


@pytest.mark.parametrize(
    ("given", "tail", "message"),
    [
        (tensor(16), bytes(15), "input 'x': binary_data_size is 16, and only 15 bytes are left"),
        (tensor(16), bytes(17), "expected 16 bytes of tensors behind the JSON, got 17"),
        (tensor(8), bytes(8), r"shape \[2\] of FP64 means 16 bytes, got 8"),
        (tensor(0), b"", "means 16 bytes, got 0"),
        (tensor(-1), b"", "expected binary_data_size to be a number of bytes"),
        (tensor("16"), bytes(16), "expected binary_data_size to be a number of bytes"),
        (tensor(True), bytes(1), "expected binary_data_size to be a number of bytes"),
        (tensor(10**30), bytes(1), "only 1 bytes are left"),
        (tensor(16, data=[1.0, 2.0]), bytes(16), "has data and binary_data_size"),
        (tensor(16, shape=[-2]), bytes(16), "expected a shape of non-negative integers"),
        (tensor(16, shape=[-1, -2]), bytes(16), "expected a shape of non-negative integers"),
        (tensor(16, shape=[2**62] * 65), bytes(16), "a shape of at most 64 dimensions, got 65"),
        (tensor(16, shape=["2"]), bytes(16), "expected a shape of non-negative integers"),
        (tensor(16, shape=None), bytes(16), "expected a shape of non-negative integers"),
        (tensor(16, shape=[2**62, 2**62]), bytes(16), "got 16"),
        (tensor(16, datatype="DOUBLE"), bytes(16), "expected a datatype of BOOL, .*, BF16, BYTES"),
        (tensor(16, datatype=["FP64"]), bytes(16), "expected a datatype of"),
        (tensor(2, datatype="BOOL"), b"\1\2", "expected bytes 0 or 1 for BOOL"),
        (tensor(6, datatype="BF16"), bytes(6), "means 4 bytes, got 6"),
        (tensor(3, datatype="BYTES"), bytes(3), "the bytes end within a length prefix"),
        (tensor(5, datatype="BYTES"), b"\2\0\0\0a", "value 0: its length prefix goes beyond"),
        (tensor(4, datatype="BYTES"), b"\xff\xff\xff\xff", "value 0: its length prefix goes"),
        (tensor(4, datatype="BYTES"), bytes(4), "expected 2 elements, the bytes have 1"),
        (tensor(12, datatype="BYTES"), bytes(12), "expected 2 elements, the bytes have 3"),
    ],
)
def test_refused(given: dict[str, Any], tail: bytes, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        attach_tensors({"inputs": [given]}, tail)


def test_bytes_that_nobody_asked_for() -> None:
    plain = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}
    with pytest.raises(InvalidRequest, match="expected 0 bytes of tensors behind the JSON, got 8"):
        attach_tensors({"inputs": [plain]}, bytes(8))
