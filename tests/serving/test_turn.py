"""Requests that arrive together are predicted together; nobody may notice."""

from __future__ import annotations

import asyncio
import json
import random
import re
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import DecisionTreeRegressor

from pyfunc_packaging import package_model

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


def test_more_than_a_turn_holds(california: Any, california_server: Any, rows: Any) -> None:
    """Long and short requests, one after the other without waiting; some clients leave."""
    bundle = california[2]
    expected = bundle.predict(rows).tolist()
    many = pd.concat([rows] * 15, ignore_index=True)  # 960 rows: some milliseconds
    order = random.Random(0)

    async def ask(client: int) -> bool:
        asked = []
        for number in range(4):
            kind = order.choice(["long", "short", "wrong"])
            position = order.randrange(len(rows))
            table = many if kind == "long" else rows.iloc[[position]]
            body = make_body(bundle, table, f"{client} {number}")
            if kind == "wrong":
                body = body.replace(b"FP64", b"FP65", 1)
            asked.append((kind, position, body))
        reader, writer = await asyncio.open_connection("127.0.0.1", california_server.ports["http"])
        for _, _, body in asked:
            writer.write(
                f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
        stays = client % 4 > 0
        if stays:
            for number, (kind, position, _) in enumerate(asked):
                status, content = await _read(reader)
                assert status == (400 if kind == "wrong" else 200)
                if kind != "wrong":
                    assert content["id"] == f"{client} {number}"
                    wanted = expected * 15 if kind == "long" else [expected[position]]
                    assert content["outputs"][0]["data"] == wanted
        else:
            await asyncio.sleep(order.random() / 50)
        writer.close()
        return stays

    async def ask_all() -> list[bool]:
        return await asyncio.gather(*[ask(client) for client in range(48)])

    assert sum(asyncio.run(ask_all())) == 36
    with urllib.request.urlopen(f"{california_server.url}/v2/health/live", timeout=10) as answer:
        assert answer.status == 200


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


# --- rows that the model refuses, among others --------------------------------------------------

CONNECTIONS, ROUNDS = 32, 60


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A bundle whose graph refuses cities that training did not have."""
    order = np.random.default_rng(0)
    rows = pd.DataFrame(
        {"city": order.choice(["Bern", "Rome", "Oslo"], 200), "x": order.uniform(size=200)}
    )
    encode = OneHotEncoder(handle_unknown="error", sparse_output=False)
    columns = make_column_transformer((encode, ["city"]), remainder="passthrough")
    model = make_pipeline(columns, DecisionTreeRegressor(random_state=0))
    target = rows["x"] * 2 + rows["city"].map({"Bern": 1.0, "Rome": 20.0, "Oslo": 300.0})
    model.fit(rows, target)
    path = tmp_path_factory.mktemp("closed") / "bundle"
    bundle = package_model(model, rows, y=target, path=path, name="closed", report=False)
    assert bundle.manifest["engine"] == "onnx"
    return bundle


@pytest.fixture(scope="module", params=["on", "off"], ids=["fast", "ordinary"])
def closed_server(request: Any, closed: Any, start_server: Callable[..., Any]) -> Any:
    return start_server(closed.path, env={"PYFUNC_FAST_LANE": request.param})


def to_post(cities: list[str], x: list[float]) -> bytes:
    """A request whose id is six characters, to be replaced."""
    inputs = [
        {"name": "city", "shape": [len(cities)], "datatype": "BYTES", "data": cities},
        {"name": "x", "shape": [len(x)], "datatype": "FP64", "data": x},
    ]
    content = json.dumps({"id": "NUMBER", "inputs": inputs}).encode()
    head = f"POST /v2/models/closed/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}"
    return head.encode() + b"\r\n\r\n" + content


def make_posts(order: random.Random) -> list[tuple[bytes, int]]:
    """Requests of one row and of several, good, refused by the model, and mistaken; their rows."""
    posts = []
    for number in range(60):
        size = order.choice([1, 1, 1, 2, 17])
        cities = order.choices(["Bern", "Rome", "Oslo"], k=size)
        x = [order.gauss(0, 1) for _ in range(size)]
        if number % 3 == 1:
            cities[order.randrange(size)] = f"Atlantis {number}"
        if number % 6 == 2:
            x.append(0.0)
        posts.append((to_post(cities, x), size))
    return posts


def count(server: Any) -> Counter[str]:
    """Everything that is counted of requests and is no time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        text = response.read().decode()
    found: Counter[str] = Counter()
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        said = re.findall(r'(?:reason|status_code)="(.*?)"', labels)
        if not name.endswith(("_sum", "_created")):
            found[" ".join([name, *said])] += int(float(value))
    return found


def test_refused_rows_touch_no_other(closed: Any, closed_server: Any) -> None:
    """Each client gets what he gets alone, and is counted once; some send several at a time."""
    order = random.Random(5)
    posts = make_posts(order)
    port = closed_server.ports["http"]

    async def alone() -> list[Any]:
        found = []
        for post, _ in posts:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(post)
            found.append(await _read(reader))
            writer.close()
        return found

    async def together(expected: list[Any]) -> tuple[Counter[int], int]:
        connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(CONNECTIONS)]
        statuses: Counter[int] = Counter()
        rows = 0
        for number in range(ROUNDS):
            asked = [
                order.choices(range(len(posts)), k=order.choice([1, 1, 2])) for _ in connections
            ]
            for place, ((_, writer), own) in enumerate(zip(connections, asked, strict=True)):
                identity = f"{number:03}-{place:02}".encode()
                writer.write(b"".join(posts[each][0].replace(b"NUMBER", identity) for each in own))
            for place, ((reader, _), own) in enumerate(zip(connections, asked, strict=True)):
                for each in own:
                    status, content = await _read(reader)
                    if status == 200:
                        assert content.pop("id") == f"{number:03}-{place:02}"
                        rows += posts[each][1]
                    assert (status, content) == expected[each]
                    statuses[status] += 1
        for _, writer in connections:
            writer.close()
        return statuses, rows

    expected = [
        (status, {key: value for key, value in content.items() if key != "id"})
        for status, content in asyncio.run(alone())
    ]
    assert Counter(status for status, _ in expected) == {200: 30, 400: 30}
    refused = [content["error"] for status, content in expected[1::3]]
    assert all(error.startswith("the model refuses the values") for error in refused)
    before = count(closed_server)
    statuses, rows = asyncio.run(together(expected))
    found = count(closed_server) - before
    assert found["pyfunc_requests_total"] == statuses.total() >= CONNECTIONS * ROUNDS
    assert found["pyfunc_rows_total"] == found["pyfunc_prediction_count"] == rows
    reasons = ("refused_value", "ragged")
    assert sum(found[f"pyfunc_refusals_total {reason}"] for reason in reasons) == statuses[400]
    assert found["pyfunc_request_duration_seconds_count"] == statuses[200]
    assert found["model_infer_request_success_total"] == statuses[200]
    for status, answers in statuses.items():
        assert found[f"rest_server_requests_total {status}"] == answers
    assert "Traceback" not in closed_server.log


def test_rows_of_a_model_that_refuses_some_are_joined(closed: Any) -> None:
    """Otherwise the test above would say nothing of turns."""
    from mlserver import ModelSettings
    from mlserver.settings import ModelParameters

    from mlserver_pyfunc import PyFuncRuntime
    from mlserver_pyfunc.counts import Times

    settings = ModelSettings(
        name="closed",
        implementation="mlserver_pyfunc.PyFuncRuntime",
        parameters=ModelParameters(uri=str(closed.path)),
    )

    async def predict(*cities: str) -> Any:
        model = PyFuncRuntime(settings)
        await model.load()
        shapes = ([1], [1])
        rows = [
            model.plain.read(("city", "x"), ("BYTES", "FP64"), shapes, ([city], [0.5]))
            for city in cities
        ]
        return model.infer_together([row for row in rows if row], [Times() for _ in rows])

    together = asyncio.run(predict("Bern", "Rome"))
    assert [len(outputs[0].data) for outputs in together] == [1, 1]
    assert asyncio.run(predict("Bern", "Atlantis")) is None


def test_what_was_answered_has_been_counted(closed: Any, closed_server: Any) -> None:
    """A scrape right after an answer shows it, of whatever size and outcome."""
    before = count(closed_server)
    for number, (post, rows) in enumerate(make_posts(random.Random(6))):
        answer = closed_server.infer("closed", post.partition(b"\r\n\r\n")[2])
        now = count(closed_server)
        found, before = now - before, now
        good = number % 3 != 1 and number % 6 != 2
        assert answer.status == (200 if good else 400)
        assert found["pyfunc_requests_total"] == 1
        assert found[f"rest_server_requests_total {answer.status}"] == 1
        assert found["pyfunc_rows_total"] == (rows if good else 0)
        assert found["model_infer_request_success_total"] == int(good)
