"""Requests that arrive together are predicted together; nobody may notice."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest

INFER = "/v2/models/CaliforniaHousingRegressor/infer"


@pytest.fixture(scope="module")
def rows(california: Any) -> Any:
    return california[1].drop(columns="median_house_value", errors="ignore").head(64)


def make_body(bundle: Any, row: Any, identity: str) -> bytes:
    from pyfunc_packaging.frame import from_frame
    from pyfunc_packaging.golden import make_request

    request = make_request(bundle.schema.columns, from_frame(bundle.schema, row))
    return json.dumps({**request, "id": identity}).encode()


async def ask_at_once(port: int, bodies: list[bytes], times: int) -> list[list[Any]]:
    """Every body over a connection of its own, all of them at the same moment, several times."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in bodies]
    found = []
    for _ in range(times):
        for (_, writer), body in zip(connections, bodies, strict=True):
            writer.write(
                f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
        found.append([await _read(reader) for reader, _ in connections])
    for _, writer in connections:
        writer.close()
    return found


async def _read(reader: asyncio.StreamReader) -> tuple[int, Any]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    return int(head.split()[1]), json.loads(await reader.readexactly(length))


def test_everyone_gets_his_own_answer(california: Any, california_server: Any, rows: Any) -> None:
    bundle = california[2]
    expected = bundle.predict(rows).tolist()
    bodies = [
        make_body(bundle, rows.iloc[[position]], f"row {position}") for position in range(len(rows))
    ]
    port = california_server.ports["http"]
    for answers in asyncio.run(ask_at_once(port, bodies, times=20)):
        for position, (status, content) in enumerate(answers):
            assert status == 200
            assert content["id"] == f"row {position}"
            assert content["outputs"][0]["data"] == [expected[position]]


def test_a_wrong_request_touches_no_other(
    california: Any, california_server: Any, rows: Any
) -> None:
    """One lacks a column, one repeats one, one is ragged, one is empty: they alone are refused."""
    bundle = california[2]
    expected = bundle.predict(rows).tolist()
    bodies = [make_body(bundle, rows.iloc[[position]], "x") for position in range(len(rows))]
    wrong = {3: lacking, 17: repeating, 40: ragged, 41: empty}
    for position, spoil in wrong.items():
        bodies[position] = json.dumps(spoil(json.loads(bodies[position]))).encode()
    port = california_server.ports["http"]
    for answers in asyncio.run(ask_at_once(port, bodies, times=10)):
        for position, (status, content) in enumerate(answers):
            if position in wrong and wrong[position] is not empty:
                assert status == 400
                assert "input" in content["error"]
            elif position in wrong:
                assert (status, content["outputs"][0]["data"]) == (200, [])
            else:
                assert status == 200
                assert content["outputs"][0]["data"] == [expected[position]]


def lacking(request: Any) -> Any:
    return {**request, "inputs": request["inputs"][1:]}


def repeating(request: Any) -> Any:
    return {**request, "inputs": [*request["inputs"], request["inputs"][0]]}


def ragged(request: Any) -> Any:
    first, *others = request["inputs"]
    return {**request, "inputs": [{**first, "shape": [2], "data": first["data"] * 2}, *others]}


def empty(request: Any) -> Any:
    return {
        **request,
        "inputs": [{**tensor, "shape": [0], "data": []} for tensor in request["inputs"]],
    }


def test_joined_predictions_are_single_ones(california: Any) -> None:
    """The example's graph predicts a row alike, alone and among others."""
    from mlserver import ModelSettings
    from mlserver.settings import ModelParameters

    from mlserver_pyfunc import PyFuncRuntime
    from mlserver_pyfunc.counts import Times

    bundle = california[2]
    settings = ModelSettings(
        name="x",
        implementation="mlserver_pyfunc.PyFuncRuntime",
        parameters=ModelParameters(uri=str(bundle.path)),
    )

    async def predict() -> Any:
        model = PyFuncRuntime(settings)
        await model.load()
        inputs = bundle.golden()["request"]["inputs"]
        size = inputs[0]["shape"][0]
        parts = []
        for position in range(size):
            read = model.plain.read(
                tuple(tensor["name"] for tensor in inputs),
                tuple(tensor["datatype"] for tensor in inputs),
                tuple([1] for _ in inputs),
                tuple([tensor["data"][position]] for tensor in inputs),
            )
            if read is not None:
                parts.append(read)
        assert len(parts) > 1
        together = model.infer_together(parts, [Times() for _ in parts])
        alone = [model.infer_now(part, [], {}, Times()) for part in parts]
        return together, alone

    together, alone = asyncio.run(predict())
    assert together is not None
    assert [np.isfinite(outputs[0].data).all() for outputs in together] == [True] * len(alone)
    assert together == alone
