"""The fast lane: what takes it, and that nobody can tell from an answer which way it came.

The fixture ``california_server`` sends whatever any test of this folder asks to both lanes.
"""

from __future__ import annotations

import asyncio
import copy
import gzip
import http.client
import json
import re
import socket
import time
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model

NAME = "CaliforniaHousingRegressor"
INFER = f"/v2/models/{NAME}/infer"


@pytest.fixture(scope="module")
def good() -> Any:
    example = Path(__file__).parents[2] / "models" / "california_housing" / "request.json"
    return json.loads(example.read_text(encoding="utf-8"))


def repeat(body: Any, rows: int) -> Any:
    return {
        "inputs": [
            {**tensor, "shape": [rows], "data": [tensor["data"][0]] * rows}
            for tensor in body["inputs"]
        ]
    }


# --- which way a request goes ---------------------------------------------------------------------


class Lane:
    """The fast lane in this process, before an application that only notes what it gets."""

    def __init__(self, bundle: Path, data_plane: Any) -> None:
        from mlserver import ModelSettings
        from mlserver.settings import ModelParameters

        from mlserver_pyfunc.fast_lane import FastLane

        self._registry = data_plane._model_registry
        self._model = ModelSettings(
            name="sum",
            implementation="mlserver_pyfunc.PyFuncRuntime",
            parameters=ModelParameters(uri=str(bundle)),
        )
        self._lane = FastLane(self._note, data_plane, data_plane._settings)
        self.noted: list[bytes] = []

    async def _note(self, scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        parts = [message.get("body", b"")]
        while message.get("more_body"):
            message = await receive()
            parts.append(message.get("body", b""))
        self.noted.append(b"".join(parts))

    async def load(self) -> None:
        await self._registry.load(self._model)

    async def ask(self, messages: list[dict[str, Any]], **scope: Any) -> int | None:
        """Status of the lane's own answer; None when the application got the request."""
        waiting, sent = list(messages), []

        async def receive() -> dict[str, Any]:
            return waiting.pop(0)

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        usual = {
            "type": "http",
            "method": "POST",
            "path": "/v2/models/sum/infer",
            "headers": [(b"content-type", b"application/json")],
        }
        await self._lane({**usual, **scope}, receive, send)
        return sent[0]["status"] if sent else None


@pytest.fixture(scope="module")
def lane(tmp_path_factory: pytest.TempPathFactory, data_plane: Any) -> Lane:
    rows = pd.DataFrame({"a": np.arange(20.0), "b": np.arange(20.0) % 7})
    model = LinearRegression().fit(rows, rows["a"] + rows["b"])
    path = tmp_path_factory.mktemp("sum") / "bundle"
    lane = Lane(package_model(model, rows, path=path, name="sum").path, data_plane)
    asyncio.run(lane.load())
    return lane


def body_message(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


SUM = json.dumps(
    {
        "inputs": [
            {"name": name, "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]} for name in "ab"
        ]
    }
).encode()


@pytest.mark.parametrize(
    ("messages", "scope", "status"),
    [
        pytest.param([body_message(SUM)], {}, 200, id="plain"),
        pytest.param(
            [body_message(SUM[:9], more=True), body_message(SUM[9:])], {}, 200, id="parts"
        ),
        pytest.param(
            [body_message(SUM)],
            {"headers": [(b"content-type", b"Application/JSON; charset=utf-8")]},
            200,
            id="charset",
        ),
        pytest.param([body_message(b'{"inputs":[]}')], {}, 400, id="refused by the signature"),
        pytest.param([body_message(SUM)], {"headers": []}, 200, id="no content type"),
        pytest.param(
            [body_message(gzip.compress(SUM))],
            {"headers": [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]},
            200,
            id="gzip",
        ),
        pytest.param([body_message(b" " * 300_000 + SUM)], {}, 200, id="large"),
    ],
)
def test_taken(lane: Lane, messages: list[Any], scope: Any, status: int) -> None:
    noted = len(lane.noted)
    assert asyncio.run(lane.ask(messages, **scope)) == status
    assert len(lane.noted) == noted


JSON = (b"content-type", b"application/json")


@pytest.mark.parametrize(
    ("body", "scope"),
    [
        pytest.param(b"{", {}, id="not JSON"),
        pytest.param(b'{"inputs":5}', {}, id="no request"),
        pytest.param(SUM, {"method": "GET"}, id="GET"),
        pytest.param(SUM, {"path": "/v2/models/nobody/infer"}, id="unknown model"),
        pytest.param(SUM, {"path": "/v2/models/sum/versions/1/infer"}, id="unknown version"),
        pytest.param(SUM, {"path": "/v2/models/sum/ready"}, id="another route"),
        pytest.param(SUM, {"path": "/v2/models/sum/infer/"}, id="slash"),
        pytest.param(SUM, {"headers": [(b"content-type", b"text/csv")]}, id="CSV"),
        pytest.param(SUM, {"headers": [JSON, JSON]}, id="two content types"),
        pytest.param(
            SUM, {"headers": [JSON, (b"content-encoding", b"gzip")]}, id="gzip that is none"
        ),
        pytest.param(SUM, {"type": "websocket"}, id="websocket"),
    ],
)
def test_handed_on_whole(lane: Lane, body: bytes, scope: Any) -> None:
    parts = [body_message(body[:3], more=True), body_message(body[3:])]
    assert asyncio.run(lane.ask(parts, **scope)) is None
    assert lane.noted[-1] == body


def test_a_client_that_is_gone_is_handed_on(lane: Lane) -> None:
    parts = [body_message(SUM[:5], more=True), {"type": "http.disconnect"}]
    assert asyncio.run(lane.ask(parts)) is None
    assert lane.noted[-1] == SUM[:5]


def test_one_turn_of_the_event_loop_is_not_held_up_for_long(
    lane: Lane, monkeypatch: pytest.MonkeyPatch
) -> None:
    predicted = 0
    turns: list[int] = []  # how many were predicted before each

    async def ask_at_once() -> list[int | None]:
        model: Any = await lane._registry.get_model("sum")
        predict = model._infer

        def slow(*arguments: Any) -> Any:
            nonlocal predicted
            predicted += 1
            time.sleep(0.003)
            return predict(*arguments)

        async def probe() -> None:
            while predicted < 20:
                turns.append(predicted)
                await asyncio.sleep(0)

        monkeypatch.setattr(model, "_infer", slow)
        *statuses, _ = await asyncio.gather(
            *(lane.ask([body_message(SUM)]) for _ in range(20)), probe()
        )
        return statuses

    assert asyncio.run(ask_at_once()) == [200] * 20
    # four times three milliseconds are enough for one turn; the others wait for the next
    assert predicted == 20
    assert max(np.diff(turns)) <= 4


# --- both ways give the same --------------------------------------------------------------------

odd = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2,
        2.5,
        1e400,
        10**19,
        2**63,
        "",
        "INLAND",
        [],
        [1],
        [[1], [2]],
        {},
        {"a": 1},
    ]
)
FIELDS = ("name", "shape", "datatype", "data", "parameters")
DATATYPES = ("BOOL", "UINT64", "INT8", "INT64", "FP16", "FP32", "FP64", "BYTES", "JSON")


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """A way to spoil a request, or not quite."""
    position, field = draw(st.integers(0, 8)), draw(st.sampled_from(FIELDS))
    kind = draw(st.sampled_from(["field", "drop", "cell", "datatype", "request", "double"]))
    cell, value = draw(st.integers(0, 1)), draw(odd)
    datatype = draw(st.sampled_from(DATATYPES))
    top = draw(st.sampled_from(["id", "parameters", "outputs", "inputs"]))

    def change(body: Any) -> None:
        inputs = body["inputs"]
        if not isinstance(inputs, list) or not isinstance((inputs[position:] or [0])[0], dict):
            return  # spoiled before
        if kind == "request":
            body[top] = value
        elif kind == "double":
            inputs.append(copy.deepcopy(inputs[position]))
        elif kind == "field":
            inputs[position][field] = value
        elif kind == "drop":
            inputs[position].pop(field, None)
        elif kind == "datatype":
            inputs[position]["datatype"] = datatype
        elif isinstance(inputs[position].get("data"), list) and inputs[position]["data"]:
            data = inputs[position]["data"]
            data[cell % len(data)] = value

    return change


@given(st.lists(changes(), min_size=1, max_size=3))
@settings(
    max_examples=300,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_spoiled_requests(california_server: Any, good: Any, spoil: list[Any]) -> None:
    body = copy.deepcopy(good)
    for change in spoil:
        change(body)
    answer = california_server.infer(NAME, json.dumps(body).encode())
    assert answer.status in (200, 400), answer.text
    assert answer.status == 200 or set(answer.json) == {"error"}


def test_a_large_answer_is_compressed_on_demand(california_server: Any, good: Any) -> None:
    body = repeat(good, 3000)
    plain = california_server.infer(NAME, body)
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == "Accept-Encoding"
    small = california_server.infer(NAME, body, headers={"Accept-Encoding": "deflate, gzip"})
    assert small.headers["content-encoding"] == "gzip"
    assert int(small.headers["content-length"]) * 5 < int(plain.headers["content-length"])
    assert small.json["outputs"] == plain.json["outputs"]


def test_a_short_answer_is_not_compressed(california_server: Any, good: Any) -> None:
    answer = california_server.infer(NAME, good, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("identity", ["", "x y", "zwölf", "a\nb", "a" * 300])
def test_ids(california_server: Any, good: Any, identity: str) -> None:
    answer = california_server.infer(NAME, {**good, "id": identity})
    assert answer.json["id"] == identity


def test_chunked_body(california_server: Any, good: Any) -> None:
    outputs = []
    for server in (california_server.fast, california_server.ordinary):
        connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=30)
        text = json.dumps(good).encode()
        parts = (text[start : start + 100] for start in range(0, len(text), 100))
        connection.request("POST", INFER, parts, {"Content-Type": "application/json"})
        outputs.append(json.loads(connection.getresponse().read())["outputs"])
        connection.close()
    assert outputs[0] == outputs[1] == california_server.infer(NAME, good).json["outputs"]


def test_two_requests_on_one_connection_at_once(california_server: Any, good: Any) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % INFER.encode()
    wire = b""
    for identity in ("one", "two"):
        body = json.dumps({**good, "id": identity}).encode()
        wire += head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with socket.create_connection(("127.0.0.1", california_server.ports["http"])) as connection:
        connection.settimeout(30)
        connection.sendall(wire)
        received = b""
        while received.count(b'"outputs"') < 2:
            received += connection.recv(65536)
    assert re.findall(rb'"id":"(\w+)"', received) == [b"one", b"two"]


def test_a_client_that_leaves_in_the_middle(california_server: Any, good: Any) -> None:
    head = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % INFER.encode()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", california_server.ports["http"])) as connection:
            connection.sendall(head + b'Content-Length: 500\r\n\r\n{"inputs":')
    assert california_server.infer(NAME, good).status == 200
    assert "Traceback" not in california_server.fast.log


def test_both_count_the_same(start_twins: Any, california: Any, good: Any) -> None:
    twins = start_twins(california[2].path)
    twins.infer(NAME, good)
    twins.infer(NAME, repeat(good, 2000))
    twins.infer(NAME, {"inputs": []})
    twins.infer(NAME, b"{")
    twins.infer("nobody", good)
    twins.infer(NAME, gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"})
    fast, ordinary = counts(twins.fast), counts(twins.ordinary)
    assert fast == ordinary
    assert fast[f'model_infer_request_success_total{{model="{NAME}",version="None"}}'] == 2
    assert fast[f'model_infer_request_failure_total{{model="{NAME}",version="None"}}'] == 1
    assert sum(value for name, value in fast.items() if "rest_server_requests_total" in name) == 6


def counts(server: Any) -> dict[str, float]:
    """Every metric of requests that is no time."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        lines = response.read().decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {
        name: float(value)
        for name, value in samples.items()
        if re.match(r"model_infer|rest_server", name)
        and not re.search(r"_created|_sum|_bucket", name)
    }


def test_a_model_that_fails(start_twins: Any, tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "failing.py").write_text(FAILING)
    monkeypatch.syspath_prepend(tmp_path)
    from failing import Failing

    rows = pd.DataFrame({"x": [1.0, 2.0]})
    model = Failing().fit(rows)
    bundle = package_model(model, rows, path=tmp_path / "b", name="failing")
    twins = start_twins(bundle.path, env={"PYFUNC_TRUST": "code"})  # it is a pickle

    def ask(value: float) -> Any:
        tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}
        return twins.infer("failing", {"inputs": [tensor]})

    assert ask(-1.0).status == 500
    assert "ZeroDivisionError" in ask(-1.0).error
    for server in (twins.fast, twins.ordinary):
        assert server.log.count("ZeroDivisionError: minus one") == 2
    assert ask(3.0).json["outputs"][0]["data"] == [3.0]


FAILING = """
from sklearn.base import BaseEstimator, RegressorMixin


class Failing(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        if X["x"].iloc[0] == -1:
            raise ZeroDivisionError("minus one")
        return X["x"].to_numpy(dtype=float)
"""


def test_neither_on_nor_off(start_server: Any, california: Any) -> None:
    server = start_server(california[2].path, env={"PYFUNC_FAST_LANE": "maybe"}, wait=False)
    assert server.process.wait(timeout=60) == 3
    assert "PYFUNC_FAST_LANE should be 'on' or 'off', found 'maybe'" in server.log
    assert "Traceback" not in server.log
