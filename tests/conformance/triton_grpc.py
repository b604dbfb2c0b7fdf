"""Run by test_triton.py: ask with ``tritonclient.grpc`` for all it can ask a V2 server.

In a process of its own: the generated messages of tritonclient and of mlserver have the same names,
and one process cannot hold both.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from typing import Any

import numpy as np
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio

OUTPUT = "median_house_value"


def make_inputs(columns: dict[str, list[Any]]) -> list[Any]:
    inputs = []
    for name, cells in columns.items():
        text = isinstance(cells[0], str)
        tensor = triton.InferInput(name, [len(cells)], "BYTES" if text else "FP64")
        tensor.set_data_from_numpy(np.array(cells, dtype=object if text else "float64"))
        inputs.append(tensor)
    return inputs


async def wait(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


async def ask(client: Any, asked: dict[str, Any]) -> dict[str, Any]:
    name, version, columns = asked["name"], asked["version"], asked["columns"]
    answers: dict[str, Any] = {
        "live": await wait(client.is_server_live()),
        "ready": await wait(client.is_server_ready()),
        "server": await wait(client.get_server_metadata(as_json=True)),
        "index": await wait(client.get_model_repository_index(as_json=True)),
    }
    for asked_version in ("", version):
        of = f" {asked_version}"
        answers["model_ready" + of] = await wait(client.is_model_ready(name, asked_version))
        answers["metadata" + of] = await wait(
            client.get_model_metadata(name, asked_version, as_json=True)
        )
        result = await wait(
            client.infer(
                name,
                make_inputs(columns),
                model_version=asked_version,
                outputs=[triton.InferRequestedOutput(OUTPUT)],
                request_id="order 66",
            )
        )
        response = result.get_response()
        answers["infer" + of] = {
            "id": response.id,
            "model_version": response.model_version,
            "data": result.as_numpy(OUTPUT).tolist(),
        }
    answers["unknown"] = await refusal(client.infer, "nobody", make_inputs(columns))
    columns = {key: cells for key, cells in columns.items() if key != "population"}
    answers["incomplete"] = await refusal(client.infer, name, make_inputs(columns))
    await wait(client.unload_model(name))
    answers["ready_after_unload"] = await wait(client.is_server_ready())
    await wait(client.load_model(name))
    answers["ready_after_load"] = await wait(client.is_server_ready())
    return answers


async def refusal(call: Any, *arguments: Any) -> list[str]:
    try:
        await wait(call(*arguments))
    except triton.InferenceServerException as error:
        return [error.status(), error.message()]
    raise AssertionError("nothing was refused")


async def main() -> None:
    asked = json.load(sys.stdin)
    url = f"127.0.0.1:{asked['ports']['grpc']}"
    with triton.InferenceServerClient(url) as client:
        plain = await ask(client, asked)
    async with triton_aio.InferenceServerClient(url) as client:
        print(json.dumps({"sync": plain, "aio": await ask(client, asked)}))


if __name__ == "__main__":
    asyncio.run(main())
