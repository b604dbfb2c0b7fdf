"""One connection and many requests on it: upgrades, trailers, floods, and what stands behind."""

from __future__ import annotations

import gzip
import json
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model

NAME = "double"
INFER = f"/v2/models/{NAME}/infer"
PATIENCE = 60
H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = pd.DataFrame({"x": np.arange(20.0)})
    model = LinearRegression().fit(rows, 2 * rows["x"])
    path = tmp_path_factory.mktemp("double") / "bundle"
    return package_model(model, rows, path=path, name=NAME).path


@pytest.fixture(scope="module", params=["on", "off"])
def server(request: Any, bundle: Path, start_server: Callable[..., Any]) -> Any:
    return start_server(bundle, env={"PYFUNC_FAST_LANE": request.param})


def body(*cells: float, identity: str = "1") -> bytes:
    tensor = {"name": "x", "shape": [len(cells)], "datatype": "FP64", "data": cells}
    return json.dumps({"id": identity, "inputs": [tensor]}).encode()


def post(content: bytes, *, path: str = INFER, headers: str = "") -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


class Client:
    """A raw connection."""

    def __init__(self, server: Any) -> None:
        address = ("127.0.0.1", server.ports["http"])
        self.socket = socket.create_connection(address, PATIENCE)
        self._received = b""

    def send(self, *parts: bytes) -> Client:
        for part in parts:
            self.socket.sendall(part)
        return self

    def answer(self) -> tuple[int, str]:
        """The next answer; status 0 if the server closed the connection."""
        while b"\r\n\r\n" not in self._received:
            if not self._more():
                return 0, ""
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        size = int(length[1]) if length else 0
        while len(self._received) < size:
            assert self._more()
        content, self._received = self._received[:size], self._received[size:]
        return int(head.split()[1]), content.decode()

    def _more(self) -> bool:
        chunk = self.socket.recv(1 << 16)
        self._received += chunk
        return bool(chunk)


def read(answer: tuple[int, str]) -> tuple[int, str, list[float]]:
    """Status, id and predictions."""
    content = json.loads(answer[1])
    return answer[0], content["id"], content["outputs"][0]["data"]


Connect = Callable[..., Client]


@pytest.fixture
def connect(server: Any) -> Iterator[Connect]:
    """Open connections, to the server or to another one, which end with the test."""
    clients = []

    def open_one(another: Any = None) -> Client:
        clients.append(Client(another or server))
        return clients[-1]

    yield open_one
    for client in clients:
        client.socket.close()


@pytest.mark.parametrize("apart", [False, True], ids=["in one part", "head and body apart"])
def test_another_protocol_is_not_taken_up(server: Any, connect: Connect, apart: bool) -> None:
    """The body of such a request is its body, not the next request."""
    hidden = post(b"", path=f"/v2/repository/models/{NAME}/unload")
    for content, status in ((body(3.0), 200), (hidden, 400)):
        head, end, rest = post(content, headers=H2C).partition(b"\r\n\r\n")
        client = connect().send(*([head + end, rest] if apart else [head + end + rest]))
        assert client.answer()[0] == status
        assert read(client.send(post(body(4.0, identity="next"))).answer()) == (200, "next", [8.0])
    together = connect().send(post(body(1.0), headers=H2C) + post(body(2.0, identity="2")))
    assert read(together.answer()) == (200, "1", [2.0])
    assert read(together.answer()) == (200, "2", [4.0])


def test_curl_may_ask_for_http_2(server: Any, tmp_path: Path) -> None:
    (tmp_path / "request.json").write_bytes(body(3.0))
    url = f"http://127.0.0.1:{server.ports['http']}{INFER}"
    command = ["curl", "-sS", "--http2", "--data-binary", f"@{tmp_path / 'request.json'}", url]
    done = subprocess.run(
        [*command, "-H", "Content-Type: application/json"],
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["outputs"][0]["data"] == [6.0]


def test_connect_is_refused(server: Any, connect: Connect) -> None:
    client = connect().send(b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + post(body(1.0)))
    assert client.answer()[0] in (400, 404, 405)
    assert client.answer() == (0, "")


def test_trailers_are_no_headers(server: Any, connect: Connect) -> None:
    head = f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    content = body(3.0)
    chunks = f"{len(content):x}\r\n".encode() + content + b"\r\n0\r\n"
    for trailers in (b"Content-Encoding: gzip\r\n", b"Inference-Header-Content-Length: 3\r\n"):
        client = connect().send(head + chunks, trailers + b"\r\n")
        assert read(client.answer()) == (200, "1", [6.0])
    client = connect().send(head + chunks)
    with pytest.raises(OSError, match=r"reset|[Bb]roken"):
        client.send(*[b"X-Many: 1\r\n" * 1000] * 10_000)


def test_a_flood_of_requests_waits_in_the_network(server: Any, connect: Connect) -> None:
    """Whoever sends without reading costs no memory, and nobody else an answer."""
    before, stop = read_memory(server), threading.Event()
    wire = (b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n") * 1000

    def flood() -> None:
        client = connect()
        client.socket.settimeout(0.2)
        while not stop.is_set():
            try:
                client.send(wire)
            except TimeoutError:  # the server reads no more
                continue
            except OSError:
                return

    thread = threading.Thread(target=flood)
    thread.start()
    waits = []
    for _ in range(30):
        start = time.monotonic()
        assert connect().send(post(body(1.0))).answer()[0] == 200
        waits.append(time.monotonic() - start)
        time.sleep(0.05)
    after = read_memory(server)
    stop.set()
    thread.join(PATIENCE)
    assert after - before < 60 * 1024  # KiB; without a limit it is a gigabyte
    assert sorted(waits)[15] < 1


def read_memory(server: Any) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


def test_what_is_packed_is_unpacked_beside_the_event_loop(server: Any, connect: Connect) -> None:
    """Ten kilobytes that become ten megabytes hold up no probe."""
    packed = gzip.compress(b'{"inputs":[{"name":"x","data":[' + b"0," * 5_000_000 + b"0]}]}")
    assert len(packed) < 16 * 1024
    statuses = []

    def send() -> None:
        client = connect().send(post(packed, headers="Content-Encoding: gzip\r\n"))
        statuses.append(client.answer()[0])

    thread = threading.Thread(target=send)
    thread.start()
    waits = []
    url = f"http://127.0.0.1:{server.ports['http']}/v2/health/live"
    while thread.is_alive():
        start = time.monotonic()
        with urllib.request.urlopen(url, timeout=PATIENCE) as probe:
            assert probe.status == 200
        waits.append(time.monotonic() - start)
    assert statuses == [400]
    # it takes seconds, of which probes feel little; others may be busy on the same processors
    assert max(waits) < 1.5
    assert len(waits) >= 5


def test_a_model_is_loaded_behind_a_request(server: Any, connect: Connect) -> None:
    load = post(b"", path=f"/v2/repository/models/{NAME}/load")
    client = connect().send(post(b"[") + load + post(body(2.0)))
    assert [client.answer()[0] for _ in range(2)] == [400, 200]
    assert read(client.answer()) == (200, "1", [4.0])
    assert "Traceback" not in server.log


def test_what_is_no_http_is_refused_behind_the_answers(server: Any, connect: Connect) -> None:
    for companion in (False, True):
        other = connect() if companion else None
        good = [post(body(float(number), identity=str(number))) for number in range(3)]
        client = connect().send(b"".join(good) + b"BLAH\r\n\r\n")
        for number in range(3):
            assert read(client.answer()) == (200, str(number), [2.0 * number])
        assert client.answer() == (400, "Invalid HTTP request received.")
        assert client.answer() == (0, "")
        if other is not None:
            other.socket.close()


def test_a_request_behind_another_is_not_closed_for_idleness(
    bundle: Path, start_server: Callable[..., Any], connect: Connect
) -> None:
    """The first is answered at once, while the second still waits for the model's thread."""
    server = start_server(bundle)
    wide = 400_000
    busy = [connect(server).send(post(body(*[0.5] * wide))) for _ in range(12)]
    packed = gzip.compress(body(*[1.5] * 20_000, identity="second"))
    assert len(packed) < 3000
    client = connect(server)
    client.send(post(body(1.0)) + post(packed, headers="Content-Encoding: gzip\r\n"))
    assert read(client.answer()) == (200, "1", [2.0])
    status, identity, predictions = read(client.answer())
    assert (status, identity, len(predictions)) == (200, "second", 20_000)
    for each in busy:
        assert each.answer()[0] == 200


def test_names_of_models_that_are_not_there_leave_nothing(server: Any, connect: Connect) -> None:
    name = "nowhere" + "n" * 1000
    client = connect()
    for _ in range(3):
        path = f"/v2/models/{name}/infer"
        assert client.send(post(body(1.0), path=path)).answer()[0] == 404
    url = f"http://127.0.0.1:{server.ports['metrics']}/metrics"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        assert "nowhere" not in answer.read().decode()


def test_nesting_beside_a_long_integer(server: Any, connect: Connect) -> None:
    for depth in (900, 960, 980, 1000, 1020, 1100):
        content = b'{"id":' + b"[" * depth + b"1234567890123456789012" + b"]" * depth + b"}"
        status, text = connect().send(post(content)).answer()
        assert status == 400, depth
        assert json.loads(text)["error"]
    assert "Traceback" not in server.log
