"""gRPC: typed and raw contents, Triton's client, and refusals with the right status."""

from __future__ import annotations

import asyncio
import json
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from mlserver import ModelSettings
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from mlserver.settings import ModelParameters

from mlserver_pyfunc.grpc_lane import GRPCLane

NAME = "CaliforniaHousingRegressor"

Change = Callable[[Any], Any]


class TwinStubs:
    """A stub of a server with the fast lane and one of a server without.

    ``ModelInfer`` asks both: response and metadata, or status and details, must be the same.
    Everything else is the first one's.
    """

    def __init__(self, *stubs: Any) -> None:
        self._stubs = stubs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stubs[0], name)

    def ModelInfer(self, request: Any, timeout: float) -> Any:  # noqa: N802 - as the protocol says
        answer, other = (self._ask(stub, request, timeout) for stub in self._stubs)
        assert answer == other
        return self._stubs[0].ModelInfer(request, timeout=timeout)

    @staticmethod
    def _ask(stub: Any, request: Any, timeout: float) -> Any:
        try:
            response, call = stub.ModelInfer.with_call(request, timeout=timeout)
        except grpc.RpcError as error:
            return error.code(), error.details()  # type: ignore[attr-defined]  # it is a Call too
        return response, sorted(call.trailing_metadata())


@pytest.fixture(scope="module")
def stub(california_server: Any) -> Iterator[Any]:
    twins = (california_server.fast, california_server.ordinary)
    addresses = [f"127.0.0.1:{twin.ports['grpc']}" for twin in twins]
    with grpc.insecure_channel(addresses[0]) as fast, grpc.insecure_channel(addresses[1]) as other:
        yield TwinStubs(GRPCInferenceServiceStub(fast), GRPCInferenceServiceStub(other))


def typed(rows: pd.DataFrame, **fields: Any) -> pb.ModelInferRequest:
    """Rows as typed ``contents``."""
    request = pb.ModelInferRequest(model_name=NAME, **fields)
    for name in rows.columns:
        tensor = request.inputs.add(name=name, shape=[len(rows)])
        if rows[name].dtype.kind == "f":
            tensor.datatype = "FP64"
            tensor.contents.fp64_contents.extend(rows[name])
        else:
            tensor.datatype = "BYTES"
            tensor.contents.bytes_contents.extend(text.encode() for text in rows[name])
    return request


def pack_text(texts: Any) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def raw(rows: pd.DataFrame, **fields: Any) -> pb.ModelInferRequest:
    """Rows as ``raw_input_contents``."""
    request = typed(rows, **fields)
    for tensor in request.inputs:
        contents = tensor.contents
        request.raw_input_contents.append(
            pack_text(contents.bytes_contents)
            if tensor.datatype == "BYTES"
            else np.array(contents.fp64_contents).tobytes()
        )
        tensor.ClearField("contents")
    return request


def read(response: Any) -> list[float]:
    (output,) = response.outputs
    assert (output.name, output.datatype) == ("median_house_value", "FP64")
    found = (
        np.frombuffer(response.raw_output_contents[0]).tolist()
        if response.raw_output_contents
        else list(output.contents.fp64_contents)
    )
    assert list(output.shape) == [len(found)]
    return found


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=30)
    return caught.value.code(), caught.value.details()


@pytest.fixture(scope="module")
def rows(california: Any) -> pd.DataFrame:
    """Ten complete rows."""
    return california[1].dropna().head(10).reset_index(drop=True)


@pytest.mark.parametrize("make", [typed, raw])
@pytest.mark.parametrize("count", [0, 1, 10])
def test_predicts_as_the_pipeline(
    stub: Any, california: Any, rows: pd.DataFrame, make: Any, count: int
) -> None:
    rows = rows.head(count)
    response = stub.ModelInfer(make(rows, id="order 66"), timeout=30)
    assert response.id == "order 66"
    assert read(response) == (california[0].predict(rows).tolist() if count else [])


@pytest.mark.parametrize("make", [typed, raw])
def test_nan_is_a_missing_value(stub: Any, california: Any, rows: pd.DataFrame, make: Any) -> None:
    rows = rows.assign(total_bedrooms=np.nan)
    assert read(stub.ModelInfer(make(rows), timeout=30)) == california[0].predict(rows).tolist()


def test_streams_an_answer_a_request(stub: Any, california: Any, rows: pd.DataFrame) -> None:
    parts = [rows.head(1), rows.tail(2), rows]
    answers = stub.ModelStreamInfer(iter([raw(part) for part in parts]), timeout=30)
    expected = [california[0].predict(part).tolist() for part in parts]
    assert [read(answer) for answer in answers] == expected


@pytest.mark.parametrize("make", [typed, raw])
@pytest.mark.parametrize("identity", ["", "7", "line\nbreak", "Zürich", "x" * 300])
def test_ids(stub: Any, rows: pd.DataFrame, make: Any, identity: str) -> None:
    assert stub.ModelInfer(make(rows.head(1), id=identity), timeout=30).id == identity


def test_small_requests_take_the_fast_lane(
    rows: pd.DataFrame, california: Any, data_plane: Any
) -> None:
    """What the comparison above compares are two ways indeed."""
    settings = ModelSettings(
        name=NAME,
        implementation="mlserver_pyfunc.PyFuncRuntime",
        parameters=ModelParameters(uri=str(california[2].path)),
    )

    async def answer() -> list[Any]:
        await data_plane._model_registry.load(settings)
        lane = GRPCLane(data_plane)
        requests = (typed(rows), raw(rows), typed(rows, model_version="2"), typed(rows.iloc[:, 1:]))
        return [lane.answer(request, Context()) for request in requests]

    found = asyncio.run(answer())
    expected = california[0].predict(rows).tolist()
    assert [answer and read(answer) for answer in found] == [expected, expected, None, None]


class Context:
    """Stands for gRPC's, of which the lane uses this much."""

    def set_trailing_metadata(self, metadata: Any) -> None:
        assert ("ce-modelid", NAME) in metadata


# --- refusals -----------------------------------------------------------------------------------


def tensor(request: Any, name: str) -> Any:
    (found,) = (tensor for tensor in request.inputs if tensor.name == name)
    return found


def drop_first(request: Any) -> None:
    del request.inputs[0]
    del request.raw_input_contents[:1]


def repeat_first(request: Any) -> None:
    request.inputs.append(request.inputs[0])
    request.raw_input_contents.extend(request.raw_input_contents[:1])


def alter(name: str, /, **fields: Any) -> Change:
    def change(request: Any) -> None:
        for field, value in fields.items():
            if field == "shape":
                tensor(request, name).shape[:] = value
            else:
                setattr(tensor(request, name), field, value)

    return change


def contents(name: str, /, **fields: Any) -> Change:
    def change(request: Any) -> None:
        tensor(request, name).ClearField("contents")
        for field, values in fields.items():
            getattr(tensor(request, name).contents, field).extend(values)

    return change


def replace_raw(position: int, content: bytes) -> Change:
    return lambda request: request.raw_input_contents.__setitem__(position, content)


def set_parameter(parameters: Callable[[Any], Any], name: str, **value: Any) -> Change:
    return lambda request: parameters(request)[name].CopyFrom(pb.InferParameter(**value))


BOTH = {
    "missing input": (drop_first, "missing: 'longitude'"),
    "unknown input": (alter("longitude", name="colour"), "unknown: 'colour'"),
    "repeated input": (repeat_first, "input 'longitude': sent more than once"),
    "unknown datatype": (alter("population", datatype="DOUBLE"), "input 'population': expected a"),
    "no datatype": (alter("population", datatype=""), "input 'population': expected a datatype"),
    "negative shape": (alter("population", shape=[-10]), "input 'population': expected a shape"),
    "negative sizes": (alter("population", shape=[-1, -10]), "a shape of non-negative integers"),
    "endless shape": (alter("population", shape=[2**62] * 20_000), "input 'population': expected"),
    "[1, n]": (alter("population", shape=[1, 10]), "input 'population': expected shape [n]"),
    "gigantic shape": (alter("population", shape=[2**62, 2**62]), "input 'population'"),
    "other shape": (alter("population", shape=[11]), "input 'population'"),
    "number for BYTES": (alter("ocean_proximity", datatype="FP64"), "input 'ocean_proximity'"),
    "BYTES for a number": (alter("population", datatype="BYTES"), "input 'population'"),
    "unknown output": (lambda request: request.outputs.add(name="price"), "output 'price'"),
    "headers as a parameter": (
        set_parameter(lambda request: request.parameters, "headers", string_param="x"),
        "'headers' is no parameter",
    ),
    "content_type a number": (
        set_parameter(lambda r: r.inputs[0].parameters, "content_type", int64_param=5),
        "input 'longitude': expected content_type to be a string_param",
    ),
}
TYPED = {
    "text in FP64": (contents("population", bytes_contents=[b"1"] * 10), "value 0: expected a num"),
    "booleans in FP64": (contents("population", bool_contents=[True] * 10), "value 0: expected a"),
    "too few values": (contents("population", fp64_contents=[1.0]), "means 10 values, data has 1"),
    "no values": (contents("population"), "input 'population': shape [10] means 10 values"),
    "two kinds of contents": (
        contents("population", fp64_contents=[1.0] * 10, int64_contents=[1] * 10),
        "input 'population': has contents of more than one type",
    ),
    "invalid UTF-8": (
        contents("ocean_proximity", bytes_contents=[b"\xff"] * 10),
        "input 'ocean_proximity', value 0: expected text in UTF-8",
    ),
}
RAW = {
    "too short": (replace_raw(5, b"1234"), "input 'population': shape [10] of FP64 means 80 raw"),
    "empty": (replace_raw(5, b""), "input 'population': shape [10] of FP64 means 80 raw bytes"),
    "length prefix beyond the bytes": (
        replace_raw(8, struct.pack("<I", 2**32 - 1) + b"INLAND"),
        "input 'ocean_proximity', value 0: its length prefix",
    ),
    "cut within a length prefix": (replace_raw(8, b"\x01\x00"), "input 'ocean_proximity'"),
    "too few texts": (
        replace_raw(8, pack_text([b"INLAND"])),
        "expected 10 elements, the bytes have 1",
    ),
    "invalid UTF-8": (
        replace_raw(8, pack_text([b"\xff\xfe"] * 10)),
        "input 'ocean_proximity', value 0: expected text in UTF-8",
    ),
    "one content too many": (
        lambda request: request.raw_input_contents.append(b""),
        "expected one for each of the 9 inputs, got 10",
    ),
    "one content too few": (
        lambda request: request.raw_input_contents.pop(),
        "expected one for each of the 9 inputs, got 8",
    ),
    "contents too": (
        lambda request: tensor(request, "population").contents.fp64_contents.append(1.0),
        "input 'population': has contents although",
    ),
}
CASES = [
    pytest.param(make, *case, id=f"{make.__name__}: {name}")
    for make, cases in ((typed, BOTH), (raw, BOTH), (typed, TYPED), (raw, RAW))
    for name, case in cases.items()
]


@pytest.mark.parametrize(("make", "change", "words"), CASES)
def test_refused(
    california_server: Any, stub: Any, rows: pd.DataFrame, make: Any, change: Change, words: str
) -> None:
    request = make(rows)
    change(request)
    status, message = refusal(stub.ModelInfer, request)
    assert status == grpc.StatusCode.INVALID_ARGUMENT, message
    assert words in message
    assert len(read(stub.ModelInfer(make(rows), timeout=30))) == 10
    assert "Traceback" not in california_server.log


@pytest.mark.parametrize(
    ("requests", "words"),
    [
        pytest.param(lambda rows: [], "the stream has none", id="empty"),
        pytest.param(lambda rows: [raw(rows.drop(columns="population"))], "missing", id="missing"),
        pytest.param(lambda rows: [alter_raw(rows)], "means 80 raw bytes", id="raw length"),
    ],
)
def test_stream_refused(
    california_server: Any, stub: Any, rows: pd.DataFrame, requests: Any, words: str
) -> None:
    status, message = refusal(
        lambda sent, timeout: list(stub.ModelStreamInfer(iter(sent), timeout=timeout)),
        requests(rows),
    )
    assert status == grpc.StatusCode.INVALID_ARGUMENT, message
    assert words in message
    assert "Traceback" not in california_server.log


def alter_raw(rows: pd.DataFrame) -> pb.ModelInferRequest:
    request = raw(rows)
    request.raw_input_contents[0] = b"1"
    return request


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelInfer", pb.ModelInferRequest(model_name="nobody")),
        ("ModelInfer", pb.ModelInferRequest(model_name=NAME, model_version="9")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="nobody")),
        ("ModelReady", pb.ModelReadyRequest(name="nobody")),
    ],
)
def test_not_there(california_server: Any, stub: Any, method: str, request_: Any) -> None:
    status, message = refusal(getattr(stub, method), request_)
    assert status == grpc.StatusCode.NOT_FOUND
    assert "not found" in message
    assert "Traceback" not in california_server.log


# --- health, metadata and Triton's own client ---------------------------------------------------


def test_health(stub: Any) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=30).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=30).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name=NAME), timeout=30).ready


def test_metadata_is_that_of_rest(california_server: Any, stub: Any) -> None:
    found = stub.ModelMetadata(pb.ModelMetadataRequest(name=NAME), timeout=30)
    over_rest = california_server.request(f"/v2/models/{NAME}").json
    for side in ("inputs", "outputs"):
        assert [
            {"name": each.name, "datatype": each.datatype, "shape": list(each.shape)}
            for each in getattr(found, side)
        ] == over_rest[side]


#: In a process of its own: the generated messages of tritonclient and of mlserver have the same
#: names, and one process cannot hold both.
TRITON = """
import json, sys
import numpy as np
import tritonclient.grpc as triton

port, name, columns = json.load(sys.stdin)
client = triton.InferenceServerClient(f"127.0.0.1:{port}")
inputs = []
for column, cells in columns.items():
    text = cells and isinstance(cells[0], str)
    tensor = triton.InferInput(column, [len(cells)], "BYTES" if text else "FP64")
    tensor.set_data_from_numpy(np.array(cells, dtype=object if text else "float64"))
    inputs.append(tensor)
try:
    result = client.infer(name, inputs, outputs=[triton.InferRequestedOutput("median_house_value")])
    print(json.dumps(result.as_numpy("median_house_value").tolist()))
except triton.InferenceServerException as error:
    print(json.dumps([error.status(), error.message()]))
"""


def ask_triton(server: Any, rows: pd.DataFrame) -> Any:
    done = subprocess.run(
        [sys.executable, "-I", "-c", TRITON],
        input=json.dumps([server.ports["grpc"], NAME, rows.to_dict("list")]),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_triton_client(california_server: Any, california: Any, rows: pd.DataFrame) -> None:
    assert ask_triton(california_server, rows) == california[0].predict(rows).tolist()


def test_triton_client_is_refused(california_server: Any, rows: pd.DataFrame) -> None:
    status, message = ask_triton(california_server, rows.rename(columns={"population": "people"}))
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "missing: 'population'; unknown: 'people'" in message
