"""What a person types: ``curl`` and ``mlserver infer``; and raw gRPC stubs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

NAME = "CaliforniaHousingRegressor"
OUTPUT = "median_house_value"


def to_body(rows: pd.DataFrame, **fields: Any) -> dict[str, Any]:
    inputs = [
        {
            "name": name,
            "shape": [len(rows)],
            "datatype": "FP64" if rows[name].dtype.kind == "f" else "BYTES",
            "data": rows[name].tolist(),
        }
        for name in rows.columns
    ]
    return {"inputs": inputs, **fields}


def curl(server: Any, path: str, *options: str) -> tuple[int, str]:
    """Status and body."""
    command = ["curl", "--silent", "--show-error", "--max-time", "60"]
    command += ["--write-out", r"\n%{http_code}", *options, server.url + path]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def post(server: Any, path: str, body: str) -> tuple[int, Any]:
    status, text = curl(
        server, path, "--header", "Content-Type: application/json", "--data-binary", body
    )
    return status, json.loads(text) if text else None


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/v2/health/live", 200, {"live": True}),
        ("/v2/health/ready", 200, {"ready": True}),
        (f"/v2/models/{NAME}/ready", 200, {"name": NAME, "ready": True}),
        (f"/v2/models/{NAME}/versions/3/ready", 200, {"name": NAME, "ready": True}),
        ("/v2/models/nobody/ready", 404, {"error": "Model nobody not found"}),
        (
            f"/v2/models/{NAME}/versions/4/ready",
            404,
            {"error": f"Model {NAME} with version 4 not found"},
        ),
    ],
)
def test_health(server: Any, path: str, status: int, said: Any) -> None:
    found, text = curl(server, path)
    assert (found, json.loads(text)) == (status, said)


@pytest.mark.parametrize("path", [f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/3"])
def test_metadata(server: Any, path: str) -> None:
    status, text = curl(server, path)
    said = json.loads(text)
    assert status == 200
    assert (said["name"], said["versions"], said["platform"]) == (NAME, ["3"], "onnxruntime_onnx")
    assert {tensor["datatype"] for tensor in said["inputs"]} == {"FP64", "BYTES"}


@pytest.mark.parametrize("path", [f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/3"])
@pytest.mark.parametrize("encoding", [(), ("--compressed",), ("--http1.0",)])
def test_infer(
    server: Any, rows: pd.DataFrame, expected: list[float], path: str, encoding: tuple[str, ...]
) -> None:
    body = json.dumps(to_body(rows, id="order 66", parameters={"tenant": "blue"}))
    status, text = curl(server, f"{path}/infer", *encoding, "--json", body)
    assert status == 200
    assert json.loads(text) == {
        "model_name": NAME,
        "model_version": "3",
        "id": "order 66",
        "parameters": {},
        "outputs": [{"name": OUTPUT, "shape": [3], "datatype": "FP64", "data": expected}],
    }


@pytest.mark.parametrize("body", ["", "{}", '{"ready": true}', '{"ready": false}'])
def test_repository_index(server: Any, body: str) -> None:
    status, said = post(server, "/v2/repository/index", body)
    assert status == 200
    assert said == [{"name": NAME, "version": "3", "state": "READY", "reason": ""}]


@pytest.mark.parametrize("body", ["[]", "nonsense", '{"ready": "perhaps"}', "null"])
def test_repository_index_refuses(server: Any, body: str) -> None:
    status, said = post(server, "/v2/repository/index", body)
    assert status == 400
    assert said == {"error": 'expected no body, or {"ready": true} for the ready models'}


def test_unload_and_load(server: Any, rows: pd.DataFrame, expected: list[float]) -> None:
    body = json.dumps(to_body(rows))
    assert post(server, f"/v2/repository/models/{NAME}/unload", "")[0] == 200
    try:
        status, text = curl(server, "/v2/health/ready")
        assert (status, json.loads(text)) == (400, {"ready": False})
        assert json.loads(curl(server, "/v2/health/live")[1]) == {"live": True}
        assert post(server, f"/v2/models/{NAME}/infer", body)[0] == 404
        assert post(server, "/v2/repository/index", '{"ready": true}') == (200, [])
    finally:
        assert post(server, f"/v2/repository/models/{NAME}/load", "")[0] == 200
    answer = post(server, f"/v2/models/{NAME}/infer", body)[1]
    assert answer["outputs"][0]["data"] == expected
    for action in ("load", "unload"):
        path = f"/v2/repository/models/nobody/{action}"
        assert post(server, path, "{}") == (404, {"error": "Model nobody not found"})


@pytest.mark.parametrize("options", [(), ("--binary-data",), ("--batch-size", "2")])
def test_mlserver_infer(
    server: Any,
    rows: pd.DataFrame,
    expected: list[float],
    options: tuple[str, ...],
    tmp_path: Path,
) -> None:
    """One request a line, each of one row; the answers keep their order by index."""
    lines = [json.dumps(to_body(rows.iloc[[row]])) for row in range(len(rows))]
    (tmp_path / "in").write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = [str(Path(sys.executable).with_name("mlserver")), "infer", "--workers", "1"]
    command += ["--url", f"127.0.0.1:{server.ports['http']}", "--model-name", NAME]
    command += ["--input-data-path", "in", "--output-data-path", "out", *options]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in (tmp_path / "out").read_text("utf-8").splitlines()]
    answers.sort(key=lambda answer: int(answer["parameters"]["batch_index"]))
    assert [answer["outputs"][0]["data"] for answer in answers] == [[each] for each in expected]


# --- raw gRPC stubs -----------------------------------------------------------------------------


@pytest.fixture
def stub(server: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        yield GRPCInferenceServiceStub(channel)


@pytest.mark.parametrize("version", ["", "3"])
def test_stub_metadata(server: Any, stub: Any, version: str) -> None:
    assert stub.ServerLive(pb.ServerLiveRequest(), timeout=30).live
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=30).ready
    assert stub.ModelReady(pb.ModelReadyRequest(name=NAME, version=version), timeout=30).ready
    said = stub.ServerMetadata(pb.ServerMetadataRequest(), timeout=30)
    over_rest = json.loads(curl(server, "/v2")[1])
    assert (said.name, said.version, list(said.extensions)) == tuple(over_rest.values())
    request = pb.ModelMetadataRequest(name=NAME, version=version)
    metadata = stub.ModelMetadata(request, timeout=30)
    assert (metadata.name, list(metadata.versions)) == (NAME, ["3"])


@pytest.mark.parametrize("version", ["", "3"])
def test_stub_infer(stub: Any, rows: pd.DataFrame, expected: list[float], version: str) -> None:
    request = pb.ModelInferRequest(model_name=NAME, model_version=version, id="order 66")
    request.parameters["tenant"].string_param = "blue"
    for tensor in to_body(rows)["inputs"]:
        made = request.inputs.add(name=tensor["name"], shape=[3], datatype=tensor["datatype"])
        if tensor["datatype"] == "BYTES":
            made.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
        else:
            made.contents.fp64_contents.extend(tensor["data"])
    response = stub.ModelInfer(request, timeout=30)
    assert (response.model_name, response.model_version) == (NAME, "3")
    assert response.id == "order 66"
    (output,) = response.outputs
    assert (output.name, output.datatype, list(output.shape)) == (OUTPUT, "FP64", [3])
    assert list(output.contents.fp64_contents) == expected


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ModelInfer", pb.ModelInferRequest(model_name="nobody")),
        ("ModelReady", pb.ModelReadyRequest(name="nobody")),
        ("ModelMetadata", pb.ModelMetadataRequest(name="nobody")),
        ("RepositoryModelLoad", pb.RepositoryModelLoadRequest(model_name="nobody")),
        ("RepositoryModelUnload", pb.RepositoryModelUnloadRequest(model_name="nobody")),
    ],
)
def test_stub_not_found(stub: Any, method: str, request_: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        getattr(stub, method)(request_, timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "Model nobody not found"


def test_stub_repository(stub: Any) -> None:
    def index(ready: bool) -> list[tuple[str, str, str]]:
        response = stub.RepositoryIndex(pb.RepositoryIndexRequest(ready=ready), timeout=30)
        return [(item.name, item.version, item.state) for item in response.models]

    assert index(ready=True) == index(ready=False) == [(NAME, "3", "READY")]
    stub.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=NAME), timeout=30)
    try:
        assert not stub.ServerReady(pb.ServerReadyRequest(), timeout=30).ready
        assert index(ready=True) == []
        assert index(ready=False) == [(NAME, "3", "UNAVAILABLE")]
    finally:
        stub.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name=NAME), timeout=30)
    assert stub.ServerReady(pb.ServerReadyRequest(), timeout=30).ready
