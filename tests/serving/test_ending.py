"""Servers that end while clients are busy lose no request, and one that lives long keeps none."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pyfunc_packaging import package_model

CLIENTS = 8
PATIENCE = 60

#: The model of these tests is a pickle.
TRUSTED = {"PYFUNC_TRUST": "code"}

#: Notes every row that it predicts.
MODEL = """
import sys

from sklearn.base import BaseEstimator, RegressorMixin


class Noting(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        cells = X["x"].to_numpy(dtype=float)
        sys.stderr.write(f"predicting {cells[0]:.0f}.\\n")
        sys.stderr.flush()
        return cells
"""


@pytest.fixture(scope="module")
def noting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("noting")
    (folder / "noting.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        from noting import Noting

        rows = pd.DataFrame({"x": [0.0, 1.0]})
        return package_model(Noting().fit(rows), rows, path=folder / "bundle", name="noting").path


def body(value: float) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}


class Client(threading.Thread):
    """Sends one request after another, each with a number of its own, until it gets no more."""

    def __init__(self, server: Any, first: int) -> None:
        super().__init__()
        self._port = server.ports["http"]
        self._next = first
        self.answered: set[int] = set()
        self.broken: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        with closing(connection):
            self._send(connection)

    def _send(self, connection: http.client.HTTPConnection) -> None:
        while True:
            try:
                connection.request("POST", "/v2/models/noting/infer", json.dumps(body(self._next)))
                response = connection.getresponse()
            except ConnectionRefusedError:
                return  # after an answer that said that its connection ends
            except (ConnectionError, http.client.RemoteDisconnected) as error:
                self.broken.append(repr(error))
                return
            try:
                answer = json.loads(response.read())
            except (http.client.IncompleteRead, ConnectionError, ValueError) as error:
                self.broken.append(repr(error))
                return
            if response.status != 200 or answer["outputs"][0]["data"] != [self._next]:
                self.broken.append(f"{response.status}: {answer}")
            self.answered.add(self._next)
            self._next += 1


@pytest.mark.parametrize("lane", ["on", "off"])
@pytest.mark.parametrize(
    "signals",
    [[signal.SIGTERM], [signal.SIGTERM, signal.SIGTERM], [signal.SIGINT]],
    ids=["SIGTERM", "SIGTERM twice", "SIGINT"],
)
def test_no_request_is_lost(
    start_server: Callable[..., Any], noting: Path, lane: str, signals: list[signal.Signals]
) -> None:
    server = start_server(noting, env={**TRUSTED, "PYFUNC_FAST_LANE": lane})
    clients = [Client(server, first=1_000_000 * (1 + each)) for each in range(CLIENTS)]
    for client in clients:
        client.start()
    deadline = time.monotonic() + PATIENCE
    while any(len(client.answered) < 20 for client in clients):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert server.process.poll() is None
    for each in signals:
        os.kill(server.process.pid, each)
    assert server.process.wait(timeout=PATIENCE) == 0
    for client in clients:
        client.join(PATIENCE)
        assert not client.is_alive()
        assert client.broken == []
    answered = set().union(*(client.answered for client in clients))
    predicted = {int(number) for number in re.findall(r"predicting (\d{7,})\.", server.log)}
    assert predicted == answered
    assert "Traceback" not in server.log


def test_memory_stays_flat(start_server: Callable[..., Any], noting: Path) -> None:
    """Good and bad requests in any order; a leak of 2 KiB a request would show."""
    server = start_server(noting, env=TRUSTED)
    order = random.Random(0)
    good = json.dumps(body(5.0)).encode()
    large = json.dumps(
        {"inputs": [{**body(1.0)["inputs"][0], "shape": [30_000], "data": [1.0] * 30_000}]}
    ).encode()
    kinds = [
        good,
        good[:-3],
        b"",
        b"[]",
        good.replace(b"5.0", b'"x"'),
        good.replace(b'"x"', b'"y"'),
    ]
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=PATIENCE)

    def send(requests: int) -> None:
        for position in range(requests):
            wire = large if position % 100 == 0 else order.choice(kinds)
            connection.request("POST", "/v2/models/noting/infer", wire)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == (200 if wire in (good, large) else 400)

    send(1000)  # pools and caches fill
    before = read_memory(server)
    send(4000)
    assert read_memory(server) - before < 8 * 1024
    connection.close()


def read_memory(server: Any) -> int:
    """What the process has in memory, in KiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])
