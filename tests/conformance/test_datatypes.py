"""Every datatype for every type of column: taken where nothing is lost, and what the model sees.

Each request goes four ways: JSON and bytes over REST, typed and raw contents over gRPC. All ways
that can say a value say the same, and so do the answers.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import mlflow
import numpy as np
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec
from mlflow.types import Schema as MlflowSchema
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

pytestmark = pytest.mark.filterwarnings(
    # MLflow would make a model's example a part of it, and guess the signature from that
    "ignore:.*An input example was not provided:UserWarning"
)

#: Column by type, with a datatype and a value that it takes as they are.
USUAL: dict[str, tuple[str, Any]] = {
    "boolean": ("BOOL", True),
    "integer": ("INT32", 1),
    "long": ("INT64", 1),
    "float": ("FP32", 1.0),
    "double": ("FP64", 1.0),
    "string": ("BYTES", "one"),
    "binary": ("BYTES", "one"),
    "datetime": ("BYTES", "2026-11-25T08:00:00Z"),
}

DTYPES: dict[str, str] = {
    "BOOL": "bool",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}

CONTENTS: dict[str, str] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

#: The model answers with what it got, in Python's own words.
MODEL = """
import mlflow
import pandas as pd


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame(
            {f"{name} said": [_say(cell) for cell in model_input[name]] for name in model_input}
        )


def _say(cell):
    if cell is None or cell is pd.NaT or cell != cell:
        return "missing"
    return repr(cell.item() if hasattr(cell, "item") else cell)


mlflow.models.set_model(Echo())
"""


@pytest.fixture(scope="session")
def echo_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("echo")
    (folder / "echo.py").write_text(MODEL, encoding="utf-8")
    optional = ("double", "float", "string", "datetime")
    signature = ModelSignature(
        MlflowSchema([ColSpec(kind, kind, required=kind not in optional) for kind in USUAL]),
        MlflowSchema([ColSpec("string", f"{kind} said") for kind in USUAL]),
    )
    mlflow.pyfunc.save_model(
        folder / "model",
        python_model=str(folder / "echo.py"),
        signature=signature,
        pip_requirements=["mlflow"],
    )
    return folder / "model"


@pytest.fixture(scope="module", params=["on", "off"], ids=["fast", "ordinary"])
def echo(request: Any, echo_model: Path, start_server: Any) -> Any:
    env = {"PYFUNC_FAST_LANE": request.param, "PYFUNC_TRUST": "code"}  # MLflow's models are code
    return start_server(echo_model, "--name", "echo", env=env)


@pytest.fixture(scope="module")
def stub(echo: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{echo.ports['grpc']}") as channel:
        yield GRPCInferenceServiceStub(channel)


# --- the four ways ------------------------------------------------------------------------------


def to_bytes(datatype: str, value: Any) -> bytes:
    if datatype == "BYTES":
        element = value.encode()
        return struct.pack("<I", len(element)) + element
    if datatype == "BF16":
        return np.float32(value).tobytes()[2:]
    return np.array([value], DTYPES[datatype]).tobytes()


def ask_rest(server: Any, name: str, datatype: str, value: Any, *, binary: bool) -> str:
    """What the model saw in a column, or the refusal."""
    inputs, tail = [], b""
    for kind, usual in USUAL.items():
        sent = (datatype, value) if kind == name else usual
        tensor: dict[str, Any] = {"name": kind, "shape": [1], "datatype": sent[0]}
        if binary:
            content = to_bytes(*sent)
            tensor["parameters"] = {"binary_data_size": len(content)}
            tail += content
        else:
            tensor["data"] = [sent[1]]
        inputs.append(tensor)
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    answer = server.infer("echo", head + tail, headers=headers)
    if answer.status != 200:
        assert answer.status == 400
        return str(answer.error)
    (said,) = (out["data"][0] for out in answer.json["outputs"] if out["name"] == f"{name} said")
    return str(said)


def ask_grpc(stub: Any, name: str, datatype: str, value: Any, *, raw: bool) -> str:
    request = pb.ModelInferRequest(model_name="echo")
    for kind, usual in USUAL.items():
        sent = (datatype, value) if kind == name else usual
        tensor = request.inputs.add(name=kind, shape=[1], datatype=sent[0])
        if raw:
            request.raw_input_contents.append(to_bytes(*sent))
        else:
            element = sent[1].encode() if sent[0] == "BYTES" else sent[1]
            getattr(tensor.contents, CONTENTS[sent[0]]).append(element)
    request.outputs.add(name=f"{name} said")
    try:
        response = stub.ModelInfer(request, timeout=30)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise
        return str(error.details())
    if raw:
        return str(response.raw_output_contents[0][4:].decode())
    return str(response.outputs[0].contents.bytes_contents[0].decode())


def ask(echo: Any, stub: Any, name: str, datatype: str, value: Any) -> str:
    """The same from every way that can say it."""
    found = {
        "bytes": ask_rest(echo, name, datatype, value, binary=True),
        "raw": ask_grpc(stub, name, datatype, value, raw=True),
    }
    if datatype != "BF16":
        found["JSON"] = ask_rest(echo, name, datatype, value, binary=False)
    if datatype in CONTENTS:
        found["contents"] = ask_grpc(stub, name, datatype, value, raw=False)
    said = set(found.values())
    assert len(said) == 1, found
    return said.pop()


# --- the table ----------------------------------------------------------------------------------

#: A number one as each type of column sees it; text and datetimes are no numbers.
ONE = {"boolean": "True", "integer": "1", "long": "1", "float": "1.0", "double": "1.0"}


@pytest.mark.parametrize("name", USUAL)
@pytest.mark.parametrize("datatype", [*DTYPES, "BF16"])
def test_one(echo: Any, stub: Any, datatype: str, name: str) -> None:
    value: Any = True if datatype == "BOOL" else 1.0 if "FP" in datatype else 1
    said = ask(echo, stub, name, datatype, 1.0 if datatype == "BF16" else value)
    if name in ONE:
        assert said == ONE[name]
    else:
        came = "FP32" if datatype == "BF16" else datatype
        assert said == f"input '{name}': expected datatype BYTES, got '{came}'"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *((name, f"input '{name}': expected datatype") for name in ONE),
        ("string", "'2026-11-25T09:00:00+01:00'"),
        ("binary", "b'2026-11-25T09:00:00+01:00'"),
        ("datetime", "Timestamp('2026-11-25 08:00:00')"),
    ],
)
def test_text(echo: Any, stub: Any, name: str, said: str) -> None:
    assert ask(echo, stub, name, "BYTES", "2026-11-25T09:00:00+01:00").startswith(said)


@pytest.mark.parametrize(
    ("datatype", "value", "name", "said"),
    [
        ("INT8", -128, "integer", "-128"),
        ("INT8", 127, "double", "127.0"),
        ("UINT8", 255, "long", "255"),
        ("INT16", -32768, "float", "-32768.0"),
        ("UINT16", 65535, "integer", "65535"),
        ("UINT32", 2**31 - 1, "integer", "2147483647"),
        ("UINT32", 2**32 - 1, "long", "4294967295"),
        ("INT64", 2**53, "double", "9007199254740992.0"),
        ("INT64", -(2**63), "long", "-9223372036854775808"),
        ("UINT64", 2**63 - 1, "long", "9223372036854775807"),
        ("UINT64", 2**63, "double", "9.223372036854776e+18"),
        ("FP16", 65504.0, "integer", "65504"),
        ("FP16", 0.5, "float", "0.5"),
        ("FP32", 0.5, "double", "0.5"),
        ("FP32", 16777216.0, "long", "16777216"),
        ("FP64", 0.25, "float", "0.25"),
        ("FP64", 3.0, "integer", "3"),
        ("FP64", 0.0, "boolean", "False"),
        ("BF16", 1.5, "double", "1.5"),
        ("BF16", -2.0, "integer", "-2"),
        ("INT8", 0, "boolean", "False"),
        ("BOOL", False, "double", "0.0"),
        ("BYTES", "", "string", "''"),
        ("BYTES", "Zürich", "string", "'Zürich'"),
        ("BYTES", "Zürich", "binary", r"b'Z\xc3\xbcrich'"),
        ("BYTES", "2026-11-25", "datetime", "Timestamp('2026-11-25 00:00:00')"),
        ("BYTES", "2026-11-25T08:00:00", "datetime", "Timestamp('2026-11-25 08:00:00')"),
        ("BYTES", "2026-11-25T08:00:00Z", "datetime", "Timestamp('2026-11-25 08:00:00')"),
        ("BYTES", "2026-11-24T22:00:00-10:00", "datetime", "Timestamp('2026-11-25 08:00:00')"),
        (
            "BYTES",
            "2026-11-25T08:00:00.000000001",
            "datetime",
            "Timestamp('2026-11-25 08:00:00.000000001')",
        ),
    ],
)
def test_taken(echo: Any, stub: Any, datatype: str, value: Any, name: str, said: str) -> None:
    assert ask(echo, stub, name, datatype, value) == said


@pytest.mark.parametrize(
    ("datatype", "value", "name", "words"),
    [
        ("INT8", 2, "boolean", "that a boolean (bool) cannot hold exactly"),
        ("INT16", -1, "boolean", "that a boolean (bool) cannot hold exactly"),
        ("UINT32", 2**31, "integer", "a UINT32 too large for int32"),
        ("INT64", 2**31, "integer", "a INT64 too large for int32"),
        ("INT64", 2**53 + 1, "double", "cannot hold exactly"),
        ("INT32", 2**24 + 1, "float", "cannot hold exactly"),
        ("UINT64", 2**63, "long", "a UINT64 too large for int64"),
        ("UINT64", 2**64 - 1, "double", "cannot hold exactly"),
        ("FP64", 2.5, "long", "a FP64 that is no integer, where int64 is expected"),
        ("FP64", 0.1, "float", "cannot hold exactly"),
        ("FP64", 1e300, "integer", "a FP64 too large for int32"),
        ("FP64", 0.5, "boolean", "cannot hold exactly"),
        ("FP32", 2.5, "integer", "a FP32 that is no integer"),
        ("FP16", 0.5, "long", "a FP16 that is no integer"),
        ("BF16", 1.5, "long", "a FP32 that is no integer"),
        ("BYTES", "tomorrow", "datetime", "expected a datetime in ISO 8601"),
        ("BYTES", "2026-13-01", "datetime", "expected a datetime in ISO 8601"),
        ("BYTES", "1066-10-14", "datetime", "expected a datetime from 1677-09-22"),
    ],
)
def test_refused(echo: Any, stub: Any, datatype: str, value: Any, name: str, words: str) -> None:
    said = ask(echo, stub, name, datatype, value)
    assert said.startswith(f"input '{name}', value 0: ")
    assert words in said


# --- what only some ways can say -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["double", "float", "string", "datetime"])
def test_null(echo: Any, name: str) -> None:
    assert ask_rest(echo, name, USUAL[name][0], None, binary=False) == "missing"


@pytest.mark.parametrize("name", ["boolean", "integer", "long", "binary"])
def test_null_where_nothing_may_be_missing(echo: Any, name: str) -> None:
    said = ask_rest(echo, name, USUAL[name][0], None, binary=False)
    assert said.startswith(f"input '{name}', value 0: expected {USUAL[name][0]}, got null")


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "BF16"])
@pytest.mark.parametrize("name", ["double", "float"])
def test_nan_as_bytes_is_a_missing_value(echo: Any, stub: Any, datatype: str, name: str) -> None:
    assert ask_rest(echo, name, datatype, float("nan"), binary=True) == "missing"
    assert ask_grpc(stub, name, datatype, float("nan"), raw=True) == "missing"


def test_bfloat16_is_bytes_only(echo: Any, stub: Any) -> None:
    said = ask_rest(echo, "double", "BF16", 1.5, binary=False)
    assert said.startswith("input 'double', datatype: Input should be 'BOOL', 'UINT8'")
    request = pb.ModelInferRequest(model_name="echo")
    request.inputs.add(name="double", shape=[1], datatype="BF16").contents.fp32_contents.append(1)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=30)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'double'" in caught.value.details()


@pytest.mark.parametrize(
    ("name", "content_type", "value", "said"),
    [
        ("double", "np", 1.5, "1.5"),
        ("long", "np", 2, "2"),
        ("double", "pd", 1.5, "1.5"),
        ("string", "str", "one", "'one'"),
        ("string", "pd", "one", "'one'"),
        ("string", "base64", "b25l", "'one'"),
        ("binary", "base64", "b25l", "b'one'"),
        ("datetime", "datetime", "2026-11-25T08:00:00Z", "Timestamp('2026-11-25 08:00:00')"),
    ],
)
@pytest.mark.parametrize("whole", [False, True])
def test_content_types(
    echo: Any, stub: Any, name: str, content_type: str, value: Any, said: str, whole: bool
) -> None:
    """Hints of MLServer's clients are taken, on the input and ("pd" or "np") on the request."""
    hint = {"parameters": {"content_type": content_type}}
    inputs = [
        {
            "name": kind,
            "shape": [1],
            "datatype": usual[0],
            "data": [value if kind == name else usual[1]],
            **(hint if kind == name else {}),
        }
        for kind, usual in USUAL.items()
    ]
    body: dict[str, Any] = {"inputs": inputs}
    if whole:
        body["parameters"] = {"content_type": "pd"}
    answer = echo.infer("echo", body)
    assert answer.status == 200, answer.text
    found = {output["name"]: output["data"] for output in answer.json["outputs"]}
    assert found[f"{name} said"] == [said]

    request = pb.ModelInferRequest(model_name="echo")
    if whole:
        request.parameters["content_type"].string_param = "pd"
    for sent in inputs:
        tensor = request.inputs.add(name=sent["name"], shape=[1], datatype=sent["datatype"])
        (cell,) = sent["data"]
        cell = cell.encode() if isinstance(cell, str) else cell
        getattr(tensor.contents, CONTENTS[sent["datatype"]]).append(cell)
        for key, text in sent.get("parameters", {}).items():
            tensor.parameters[key].string_param = text
    request.outputs.add(name=f"{name} said")
    response = stub.ModelInfer(request, timeout=30)
    assert list(response.outputs[0].contents.bytes_contents) == [said.encode()]
