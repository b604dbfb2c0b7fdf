"""Triton's clients: HTTP and gRPC, synchronous and not, with bytes and with JSON."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tritonclient.http as http_client
import tritonclient.http.aio as http_aio
from tritonclient.utils import InferenceServerException

NAME = "CaliforniaHousingRegressor"
OUTPUT = "median_house_value"

EXTENSIONS = ["binary_tensor_data", "model_repository", "parameters"]
INPUTS = ["FP64"] * 8 + ["BYTES"]


class Client:
    """Either of Triton's HTTP clients, called as if it were synchronous."""

    def __init__(self, kind: str, url: str) -> None:
        self._runner = asyncio.Runner()
        self._runner.__enter__()

        async def make() -> Any:
            module = http_client if kind == "http" else http_aio
            return module.InferenceServerClient(url)

        self._client = self._runner.run(make())

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            async def wait() -> Any:
                answer = method(*arguments, **options)
                return await answer if inspect.isawaitable(answer) else answer

            return self._runner.run(wait())

        return call

    def end(self) -> None:
        self.close()
        self._runner.close()


@pytest.fixture(params=["http", "http.aio"])
def client(request: Any, server: Any) -> Any:
    made = Client(request.param, f"127.0.0.1:{server.ports['http']}")
    yield made
    made.end()


def make_inputs(rows: pd.DataFrame, *, binary: bool = True) -> list[Any]:
    inputs = []
    for name in rows.columns:
        text = rows[name].dtype.kind != "f"
        tensor = http_client.InferInput(name, [len(rows)], "BYTES" if text else "FP64")
        cells = rows[name].to_numpy(dtype=object if text else "float64")
        tensor.set_data_from_numpy(cells, binary_data=binary)
        inputs.append(tensor)
    return inputs


def test_health_and_metadata(client: Any, rows: pd.DataFrame) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    said = client.get_server_metadata()
    assert sorted(said["extensions"]) == EXTENSIONS
    assert (said["name"], said["version"]) == ("mlserver", "1.7.1")
    for version in ("", "3"):
        assert client.is_model_ready(NAME, version)
        metadata = client.get_model_metadata(NAME, version)
        assert (metadata["name"], metadata["versions"]) == (NAME, ["3"])
        assert [tensor["name"] for tensor in metadata["inputs"]] == list(rows.columns)
        assert [tensor["datatype"] for tensor in metadata["inputs"]] == INPUTS
        assert [tensor["shape"] for tensor in metadata["inputs"]] == [[-1]] * 9
        assert metadata["outputs"] == [{"name": OUTPUT, "datatype": "FP64", "shape": [-1]}]


@pytest.mark.parametrize("version", ["", "3"])
def test_default_settings(
    client: Any, rows: pd.DataFrame, expected: list[float], version: str
) -> None:
    result = client.infer(NAME, make_inputs(rows), model_version=version)
    assert result.as_numpy(OUTPUT).tolist() == expected
    response = result.get_response()
    assert (response["model_name"], response["model_version"]) == (NAME, "3")
    assert response["outputs"][0]["parameters"] == {"binary_data_size": 24}


@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("outputs", [True, False])
def test_bytes_and_json(
    client: Any, rows: pd.DataFrame, expected: list[float], inputs: bool, outputs: bool
) -> None:
    result = client.infer(
        NAME,
        make_inputs(rows, binary=inputs),
        outputs=[http_client.InferRequestedOutput(OUTPUT, binary_data=outputs)],
        request_id="order 66",
        parameters={"tenant": "blue"},
    )
    assert result.as_numpy(OUTPUT).tolist() == expected
    assert result.get_response()["id"] == "order 66"


@pytest.mark.parametrize("missing", [False, True])
def test_refusals(client: Any, rows: pd.DataFrame, missing: bool) -> None:
    name = NAME if missing else "nobody"
    rows = rows.drop(columns="population") if missing else rows
    with pytest.raises(InferenceServerException) as caught:
        client.infer(name, make_inputs(rows))
    words = "missing: 'population'" if missing else "Model nobody not found"
    assert words in caught.value.message()
    assert caught.value.status() in ("400" if missing else "404", None)  # aio says none


@pytest.mark.parametrize("version", ["4", "x"])
def test_another_version_is_not_there(client: Any, rows: pd.DataFrame, version: str) -> None:
    words = f"Model {NAME} with version {version} not found"
    assert not client.is_model_ready(NAME, version)
    for method, options in (
        ("get_model_metadata", {"model_version": version}),
        ("infer", {"inputs": make_inputs(rows), "model_version": version}),
    ):
        with pytest.raises(InferenceServerException, match=words):
            getattr(client, method)(NAME, **options)


def test_repository(client: Any, rows: pd.DataFrame, expected: list[float]) -> None:
    ready = {"name": NAME, "version": "3", "state": "READY", "reason": ""}
    assert client.get_model_repository_index() == [ready]
    client.unload_model(NAME)
    assert not client.is_server_ready()
    assert [item["state"] for item in client.get_model_repository_index()] == ["UNAVAILABLE"]
    client.load_model(NAME)
    assert client.is_server_ready()
    assert client.infer(NAME, make_inputs(rows)).as_numpy(OUTPUT).tolist() == expected
    with pytest.raises(InferenceServerException, match="Model nobody not found"):
        client.load_model("nobody")


# --- gRPC ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def both(server: Any, run_client: Callable[..., Any]) -> Any:
    """What the synchronous and the asynchronous gRPC client got."""
    return run_client(sys.executable, "triton_grpc.py", server)


@pytest.fixture(params=["sync", "aio"])
def grpc_answers(request: Any, both: Any) -> Any:
    return both[request.param]


def test_grpc_health_and_metadata(grpc_answers: Any, rows: pd.DataFrame) -> None:
    assert (grpc_answers["live"], grpc_answers["ready"]) == (True, True)
    said = grpc_answers["server"]
    assert sorted(said["extensions"]) == EXTENSIONS
    for version in ("", "3"):
        assert grpc_answers[f"model_ready {version}"] is True
        metadata = grpc_answers[f"metadata {version}"]
        assert (metadata["name"], metadata["versions"]) == (NAME, ["3"])
        assert [tensor["name"] for tensor in metadata["inputs"]] == list(rows.columns)
        assert [tensor["datatype"] for tensor in metadata["inputs"]] == INPUTS
        assert metadata["outputs"] == [{"name": OUTPUT, "datatype": "FP64", "shape": ["-1"]}]


@pytest.mark.parametrize("version", ["", "3"])
def test_grpc_infer(grpc_answers: Any, expected: list[float], version: str) -> None:
    assert grpc_answers[f"infer {version}"] == {
        "id": "order 66",
        "model_version": "3",
        "data": expected,
    }


def test_grpc_refusals(grpc_answers: Any) -> None:
    status, message = grpc_answers["unknown"]
    assert (status, message) == ("StatusCode.NOT_FOUND", "Model nobody not found")
    status, message = grpc_answers["incomplete"]
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "missing: 'population'" in message


def test_grpc_repository(grpc_answers: Any) -> None:
    (item,) = grpc_answers["index"]["models"]
    assert (item["name"], item["version"], item["state"]) == (NAME, "3", "READY")
    assert grpc_answers["ready_after_unload"] is False
    assert grpc_answers["ready_after_load"] is True


def test_numbers_that_json_cannot_say(client: Any, california: Any, rows: pd.DataFrame) -> None:
    rows = rows.assign(total_bedrooms=np.nan)
    result = client.infer(NAME, make_inputs(rows))
    assert result.as_numpy(OUTPUT).tolist() == california[0].predict(rows).tolist()
