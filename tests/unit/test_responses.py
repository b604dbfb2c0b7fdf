"""Answers: numbers are written from arrays as they would be from lists."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlserver.codecs.json import encode_to_json_bytes

from mlserver_pyfunc.binary_tensors import BinaryWishes
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.responses import make_answer


def write(datatype: str, cells: Any) -> bytes:
    output = Encoded("y", datatype, [len(cells)], cells)
    return make_answer({"model_name": "m"}, [output], BinaryWishes(), compress=None).content


def write_as_mlserver_does(datatype: str, cells: list[Any]) -> bytes:
    tensor = {"name": "y", "shape": [len(cells)], "datatype": datatype, "data": cells}
    return bytes(encode_to_json_bytes({"model_name": "m", "outputs": [tensor]}))


@given(st.lists(st.floats() | st.floats(-1e6, 1e6) | st.integers().map(float), max_size=5))
def test_floats(cells: list[float]) -> None:
    for many in (cells, cells * 20):
        assert write("FP64", np.array(many)) == write_as_mlserver_does("FP64", many)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5))
def test_integers(cells: list[int]) -> None:
    for many in (cells, cells * 20):
        found = write("INT64", np.array(many, dtype=np.int64))
        assert found == write_as_mlserver_does("INT64", many)


@pytest.mark.parametrize(
    ("datatype", "cells"),
    [
        ("FP32", np.array([0.1, 1e30], dtype=np.float32)),
        ("FP16", np.array([0.1], dtype=np.float16)),
        ("UINT64", np.array([2**64 - 1], dtype=np.uint64)),
        ("INT8", np.array([-1], dtype=np.int8)),
        ("BOOL", np.array([True, False])),
        ("FP64", np.arange(6.0)[::2]),
        ("FP64", np.array([0.5, 1e16], dtype=">f8")),
    ],
)
def test_other_arrays(datatype: str, cells: Any) -> None:
    for many in (cells, np.repeat(cells, 40)[::2].astype(cells.dtype), np.tile(cells, 20)[::-1]):
        assert write(datatype, many) == write_as_mlserver_does(datatype, many.tolist())


def test_texts() -> None:
    assert json.loads(write("BYTES", [b"Bern", "Zürich".encode(), None]))["outputs"][0]["data"] == [
        "Bern",
        "Zürich",
        None,
    ]
