"""Run by test_kserve.py with KServe's own client: ask for everything it can ask for."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import grpc
import httpx
import numpy as np
from kserve import (
    InferenceGRPCClient,
    InferenceRESTClient,
    InferInput,
    InferOutput,
    InferRequest,
    RESTConfig,
)
from kserve.protocol.infer_type import RequestedOutput

OUTPUT = "median_house_value"


def make_inputs(columns: dict[str, list[Any]], *, binary: bool) -> list[InferInput]:
    inputs = []
    for name, cells in columns.items():
        text = isinstance(cells[0], str)
        tensor = InferInput(name, [len(cells)], "BYTES" if text else "FP64")
        array = np.array(cells, dtype=object if text else "float64")
        tensor.set_data_from_numpy(array, binary_data=binary)
        inputs.append(tensor)
    return inputs


def describe(response: Any) -> dict[str, Any]:
    (output,) = response.outputs
    assert isinstance(output, InferOutput)
    return {
        "id": response.id,
        "model_name": response.model_name,
        "model_version": response.model_version,
        "output": output.name,
        "data": output.as_numpy().tolist(),
    }


async def ask_rest(asked: dict[str, Any]) -> dict[str, Any]:
    name, url = asked["name"], f"http://127.0.0.1:{asked['ports']['http']}"
    answers: dict[str, Any] = {}
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        answers["live"] = await client.is_server_live(url)
        answers["ready"] = await client.is_server_ready(url)
        answers["model_ready"] = await client.is_model_ready(url, name)
        answers["no_model_ready"] = await client.is_model_ready(url, "nobody")
        for binary_inputs in (True, False):
            for binary_outputs in (True, False):
                request = InferRequest(
                    name,
                    make_inputs(asked["columns"], binary=binary_inputs),
                    request_id="order 66",
                    request_outputs=[RequestedOutput(OUTPUT, {"binary_data": binary_outputs})],
                )
                answer = await client.infer(url, request, model_name=name)
                answers[f"infer {binary_inputs} {binary_outputs}"] = describe(answer)
        del asked["columns"]["population"]
        request = InferRequest(name, make_inputs(asked["columns"], binary=True))
        try:
            await client.infer(url, request, model_name=name)
        except httpx.HTTPStatusError as error:
            answers["refusal"] = str(error)
    return answers


async def ask_grpc(asked: dict[str, Any]) -> dict[str, Any]:
    name = asked["name"]
    answers: dict[str, Any] = {}
    async with InferenceGRPCClient(f"127.0.0.1:{asked['ports']['grpc']}") as client:
        answers["live"] = await client.is_server_live()
        answers["ready"] = await client.is_server_ready()
        answers["model_ready"] = await client.is_model_ready(name)
        for binary in (True, False):
            for version in (None, asked["version"]):
                request = InferRequest(
                    name,
                    make_inputs(asked["columns"], binary=binary),
                    request_id="order 66",
                    model_version=version,
                )
                answers[f"infer {binary} {version}"] = describe(await client.infer(request))
        del asked["columns"]["population"]
        try:
            await client.infer(InferRequest(name, make_inputs(asked["columns"], binary=True)))
        except grpc.RpcError as error:
            answers["refusal"] = [str(error.code()), error.details()]
    return answers


async def main() -> None:
    asked = json.load(sys.stdin)
    columns = dict(asked["columns"])
    rest = await ask_rest({**asked, "columns": dict(columns)})
    print(json.dumps({"rest": rest, "grpc": await ask_grpc({**asked, "columns": columns})}))


if __name__ == "__main__":
    asyncio.run(main())
