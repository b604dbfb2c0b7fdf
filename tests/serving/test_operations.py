"""What operators and awkward clients do to a running server."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

IDS = ["plain-1", "€", "a\nb", "a\r\nX-Evil: 1\r\n", "\0", " x ", "x" * 9000]


@pytest.mark.parametrize("request_id", IDS)
def test_any_id_comes_back(
    request_id: str, california: Any, california_server: Any, request_body: Any
) -> None:
    answer = california_server.infer(california[2].name, {**request_body, "id": request_id})
    assert answer.status == 200
    assert answer.json["id"] == request_id


def test_the_repository_lists_loads_and_unloads_the_model(
    california: Any, start_server: Callable[..., Any], request_body: Any
) -> None:
    bundle = california[2]
    server = start_server(bundle.path)

    def repository(action: str) -> int:
        return int(server.request(f"/v2/repository/models/{bundle.name}/{action}", {}).status)

    index = server.request("/v2/repository/index", {}).json
    assert [(item["name"], item["state"]) for item in index] == [(bundle.name, "READY")]
    with ThreadPoolExecutor(8) as pool:
        pending = [pool.submit(server.infer, bundle.name, request_body) for _ in range(40)]
        assert repository("load") == 200
        statuses = {future.result().status for future in pending}
    assert statuses == {200}
    assert repository("unload") == 200
    assert server.request("/v2/health/ready").status != 200
    assert server.infer(bundle.name, request_body).status == 404
    assert repository("load") == 200
    assert server.request("/v2/health/ready").status == 200
    assert server.infer(bundle.name, request_body).status == 200


def test_a_damaged_bundle_does_not_take_the_place_of_the_one_that_serves(
    california: Any, start_server: Callable[..., Any], request_body: Any, tmp_path: Path
) -> None:
    bundle = california[2]
    path = Path(shutil.copytree(bundle.path, tmp_path / "bundle"))
    server = start_server(path)
    graph = path / "data" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])
    load = f"/v2/repository/models/{bundle.name}/load"
    answer = server.request(load, {})
    assert answer.status == 400
    assert answer.error.startswith(f"cannot load: {path}: ")
    assert "model.onnx" in answer.error
    assert "Traceback" not in server.log
    assert server.infer(bundle.name, request_body).status == 200
    shutil.copy(bundle.path / "data" / "model.onnx", graph)
    assert server.request(load, {}).status == 200
    assert server.infer(bundle.name, request_body).status == 200


def test_batching_cannot_mix_requests(
    california: Any, start_server: Callable[..., Any], request_body: Any
) -> None:
    """One request in eight lacks a value; under MLServer's batching others would get its row."""
    pipeline, rows, bundle = california
    rows = rows.dropna().reset_index(drop=True)
    server = start_server(
        bundle.path,
        env={"MLSERVER_MODEL_MAX_BATCH_SIZE": "8", "MLSERVER_MODEL_MAX_BATCH_TIME": "0.05"},
    )
    assert "max_batch_size is ignored" in server.log

    def ask(position: int) -> tuple[int, Any]:
        row = rows.iloc[[position]]
        inputs = [
            {**tensor, "shape": [1], "data": row[tensor["name"]].tolist()}
            for tensor in request_body["inputs"]
        ]
        if position % 8 == 0:
            inputs.pop(7)
        return position, server.infer(bundle.name, {"inputs": inputs})

    expected = pipeline.predict(rows.head(64)).tolist()
    with ThreadPoolExecutor(8) as pool:
        for position, answer in pool.map(ask, range(64)):
            if position % 8 == 0:
                assert answer.status == 400
                assert "'median_income'" in answer.error
            else:
                assert answer.json["outputs"][0]["data"] == [expected[position]]


def test_a_client_that_never_finishes_does_not_keep_the_server(
    california: Any, start_server: Callable[..., Any], request_body: Any
) -> None:
    bundle = california[2]
    server = start_server(bundle.path)
    body = json.dumps(request_body).encode()
    head = f"POST /v2/models/{bundle.name}/infer HTTP/1.1\r\nHost: x\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.ports["http"])) as half:
        half.sendall(head.encode() + body[:100])
        assert server.infer(bundle.name, request_body).status == 200
        server.process.terminate()
        assert server.process.wait(timeout=60) == 0


@pytest.mark.parametrize(
    "number", [2**53 + 1, 2**64 + 1, -(2**63) - 1, 123456789012345678901, 10**400]
)
def test_an_integer_that_a_double_cannot_hold_is_refused(
    number: int, california: Any, california_server: Any, request_body: Any
) -> None:
    request_body["inputs"][3]["data"][1] = number
    answer = california_server.infer(california[2].name, request_body)
    assert answer.status == 400
    assert "'total_rooms'" in answer.error or "JSON" in answer.error


def test_a_large_integer_that_a_double_holds_is_taken(
    california: Any, california_server: Any, request_body: Any
) -> None:
    request_body["inputs"][3]["data"][1] = 2**70
    assert california_server.infer(california[2].name, request_body).status == 200
