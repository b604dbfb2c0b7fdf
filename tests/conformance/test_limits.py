"""Requests that are too large are refused, in the same words on every way."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

NAME = "CaliforniaHousingRegressor"
LIMITS = {"PYFUNC_MAX_ROWS": "100", "PYFUNC_MAX_INPUTS": "20", "PYFUNC_MAX_BODY_BYTES": "8000000"}

TOO_MANY_ROWS = (
    "expected at most 100 rows in a request, got 101; send fewer, or let the server take more with"
    " PYFUNC_MAX_ROWS"
)
TOO_MANY_INPUTS = (
    "expected at most 20 inputs in a request, got 21; send those of the model, or let the server"
    " take more with PYFUNC_MAX_INPUTS"
)


@pytest.fixture(scope="module", params=["on", "off"], ids=["fast", "ordinary"])
def limited(request: Any, california: Any, start_server: Callable[..., Any]) -> Any:
    return start_server(california[2].path, env={**LIMITS, "PYFUNC_FAST_LANE": request.param})


def repeat(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    return rows.iloc[np.arange(count) % len(rows)].reset_index(drop=True)


def to_body(rows: pd.DataFrame) -> dict[str, Any]:
    return {
        "inputs": [
            {
                "name": name,
                "shape": [len(rows)],
                "datatype": "FP64" if rows[name].dtype.kind == "f" else "BYTES",
                "data": rows[name].tolist(),
            }
            for name in rows.columns
        ]
    }


def to_message(rows: pd.DataFrame) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=NAME)
    for tensor in to_body(rows)["inputs"]:
        request.inputs.add(name=tensor["name"], shape=[len(rows)], datatype=tensor["datatype"])
        if tensor["datatype"] == "FP64":
            request.raw_input_contents.append(np.array(tensor["data"], "<f8").tobytes())
            continue
        cells = [text.encode() for text in tensor["data"]]
        request.raw_input_contents.append(
            b"".join(struct.pack("<I", len(cell)) + cell for cell in cells)
        )
    return request


def ask_grpc(server: Any, request: pb.ModelInferRequest) -> Any:
    """The response, or status and details."""
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}", options) as channel:
        try:
            return GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
        except grpc.RpcError as error:
            return error.code(), error.details()


def test_rows(limited: Any, california: Any, rows: pd.DataFrame) -> None:
    fits, too_many = repeat(rows, 100), repeat(rows, 101)
    expected = california[0].predict(fits).tolist()
    answer = limited.infer(NAME, to_body(fits))
    assert answer.json["outputs"][0]["data"] == expected
    refused = limited.infer(NAME, to_body(too_many))
    assert (refused.status, refused.error) == (413, TOO_MANY_ROWS)
    response = ask_grpc(limited, to_message(fits))
    assert np.frombuffer(response.raw_output_contents[0]).tolist() == expected
    assert ask_grpc(limited, to_message(too_many)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        TOO_MANY_ROWS,
    )


@pytest.mark.parametrize("integers", [False, True])
def test_rows_that_are_not_plain(limited: Any, rows: pd.DataFrame, integers: bool) -> None:
    """What the quick reader leaves to the decoder has the same limit."""
    body = to_body(repeat(rows, 101))
    if integers:
        body["inputs"][2].update(datatype="INT32", data=[30] * 101)
    else:
        body["inputs"][4]["data"][0] = None
    refused = limited.infer(NAME, body)
    assert (refused.status, refused.error) == (413, TOO_MANY_ROWS)


def test_inputs(limited: Any, rows: pd.DataFrame) -> None:
    more = rows.assign(**{f"more {number}": 1.0 for number in range(11)})
    unknown = limited.infer(NAME, to_body(more))
    assert unknown.status == 400
    assert "unknown: 'more 0'" in unknown.error
    more = more.assign(last=1.0)
    refused = limited.infer(NAME, to_body(more))
    assert (refused.status, refused.error) == (413, TOO_MANY_INPUTS)
    assert ask_grpc(limited, to_message(more)) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        TOO_MANY_INPUTS,
    )


def test_messages_of_grpc_have_the_limit_of_bodies(limited: Any, rows: pd.DataFrame) -> None:
    """Beyond gRPC's own 4 MiB, up to PYFUNC_MAX_BODY_BYTES; more is refused by gRPC itself."""
    large, larger = to_message(repeat(rows, 90_000)), to_message(repeat(rows, 110_000))
    assert 5_000_000 < large.ByteSize() < 8_000_000 < larger.ByteSize()
    status, details = ask_grpc(limited, large)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "expected at most 100 rows in a request, got 90000" in details
    status, details = ask_grpc(limited, larger)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in details


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("PYFUNC_MAX_ROWS", "0", "PYFUNC_MAX_ROWS should be a number of rows, found '0'"),
        ("PYFUNC_MAX_INPUTS", "all", "PYFUNC_MAX_INPUTS should be a number of inputs, found 'all'"),
        ("PYFUNC_MAX_INPUTS", "8", "PYFUNC_MAX_INPUTS is 8, and the model has 9 inputs"),
    ],
)
def test_limits_that_make_no_sense(
    california: Any, start_server: Callable[..., Any], variable: str, value: str, words: str
) -> None:
    server = start_server(california[2].path, env={variable: value}, wait=False)
    assert server.process.wait(timeout=120) == 3
    assert words in server.log
    assert "Traceback" not in server.log


def test_a_row_limit_below_the_golden_rows(
    california: Any, rows: pd.DataFrame, start_server: Callable[..., Any]
) -> None:
    server = start_server(california[2].path, env={"PYFUNC_MAX_ROWS": "1"})
    assert server.infer(NAME, to_body(repeat(rows, 1))).status == 200
    assert server.infer(NAME, to_body(repeat(rows, 2))).status == 413
