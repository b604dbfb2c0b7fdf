"""A model that is slow, hangs or fails: the queue, the time a predict may take, and the probes."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from pyfunc_packaging import package_model

PATIENCE = 60

CALIFORNIA = "CaliforniaHousingRegressor"

#: The model of these tests is a pickle.
TRUSTED = {"PYFUNC_TRUST": "code"}

#: The model says with its input what it should do: sleep for that many seconds, or misbehave.
HANG, SPIN, EXIT, FEWER, TEXT, RAISE = -1.0, -2.0, -3.0, -4.0, -5.0, -6.0

MODEL = """
import sys
import time

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Troubled(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        cells = X["x"].to_numpy(dtype=float)
        wish = cells[0]
        print("predicting", wish, file=sys.stderr, flush=True)
        if wish == -1:
            time.sleep(1000)
        elif wish == -2:
            end = time.monotonic() + 3
            while time.monotonic() < end:
                np.sort(np.random.default_rng(0).normal(size=100_000))
        elif wish == -3:
            sys.exit("the model says good-bye")
        elif wish == -4:
            return cells[:-1]
        elif wish == -5:
            return np.array(["text"] * len(cells), dtype=object)
        elif wish == -6:
            raise ZeroDivisionError("minus six")
        elif 0 < wish < 60:
            time.sleep(wish)
        return cells
"""


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("troubled")
    (folder / "troubled.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        from troubled import Troubled

        rows = pd.DataFrame({"x": [0.0, 100.0]})
        return package_model(
            Troubled().fit(rows), rows, path=folder / "bundle", name="troubled"
        ).path


def body(*wishes: float) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [len(wishes)], "datatype": "FP64", "data": list(wishes)}
    return {"inputs": [tensor]}


def assert_right(server: Any) -> None:
    answer = server.infer("troubled", body(100.0, 200.0))
    assert answer.status == 200, answer.text
    assert answer.json["outputs"][0]["data"] == [100.0, 200.0]


def each(twins: Any) -> tuple[Any, Any]:
    return twins.fast, twins.ordinary


@contextmanager
def occupied(server: Any, seconds: float) -> Iterator[None]:
    """While the model works on a request of another client."""
    with ThreadPoolExecutor(1) as pool:
        begun = server.log.count("predicting")
        work = pool.submit(server.infer, "troubled", body(seconds))
        wait_until(lambda: server.log.count("predicting") > begun)
        yield
        assert work.result().status == 200


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def count_in_progress(server: Any) -> int:
    """How many requests over HTTP have come and are not answered."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        lines = response.read().decode().splitlines()
    counts = [line for line in lines if line.startswith("rest_server_requests_in_progress{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in counts)


# --- models that fail -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twins(start_twins: Any, troubled: Path) -> Any:
    return start_twins(troubled, env={**TRUSTED, "PYFUNC_MAX_QUEUE": "2"})


@pytest.mark.parametrize(
    ("wish", "said", "logged"),
    [
        (RAISE, "the model raised ZeroDivisionError", "ZeroDivisionError: minus six"),
        (EXIT, "the model raised SystemExit", "SystemExit: the model says good-bye"),
        (FEWER, "2", "Traceback"),
        (TEXT, "", "Traceback"),
    ],
)
def test_a_model_that_fails_is_a_500_with_a_log(
    twins: Any, wish: float, said: str, logged: str
) -> None:
    before = twins.log.count(logged)
    answer = twins.infer("troubled", body(wish, 1.0))
    assert answer.status == 500, answer.text
    assert said in answer.error
    assert twins.log.count(logged) >= before + 2  # on either server
    assert_right(twins)


# --- more requests than can wait ------------------------------------------------------------------


def test_beyond_the_queue_it_is_503_at_once(twins: Any) -> None:
    answers = []
    for server in each(twins):
        with ThreadPoolExecutor(12) as pool:
            start = time.monotonic()
            took: list[tuple[float, Any]] = list(
                pool.map(
                    lambda _, server=server, start=start: (
                        server.infer("troubled", body(1.0)),
                        time.monotonic() - start,
                    ),
                    range(12),
                )
            )
        served = [answer for answer, _ in took if answer.status == 200]
        refused = [(answer, seconds) for answer, seconds in took if answer.status == 503]
        assert len(served) == 3  # one that runs, two that wait
        assert len(refused) == 9
        assert max(seconds for _, seconds in refused) < 1
        answers.append(refused[0][0])
        assert server.log.count("requests wait for the model") == 1
    assert answers[0].text == answers[1].text
    assert "2 requests are waiting already" in answers[0].error
    for answer in answers:
        assert {name.lower(): value for name, value in answer.headers.items()}["retry-after"] == "1"
    assert sorted(map(str.lower, answers[0].headers)) == sorted(map(str.lower, answers[1].headers))
    assert_right(twins)


def test_a_large_body_that_finds_the_queue_full_is_503_too(twins: Any) -> None:
    """The fast lane reads large bodies in the thread."""
    text = json.dumps(body(*[100.0] * 60_000)).encode()
    assert len(text) > 256 * 1024
    answers = []
    for server in each(twins):
        with occupied(server, 2.0), occupied_queue(server, 2):
            answers.append(server.infer("troubled", text))
        assert_right(server)
    assert [answer.status for answer in answers] == [503, 503]
    assert answers[0].text == answers[1].text


@contextmanager
def occupied_queue(server: Any, waiting: int) -> Iterator[None]:
    with ThreadPoolExecutor(waiting) as pool:
        work = [pool.submit(server.infer, "troubled", body(100.0)) for _ in range(waiting)]
        wait_until(lambda: count_in_progress(server) == 1 + waiting)
        yield
        assert [each.result().status for each in work] == [200] * waiting


def test_grpc_says_unavailable(twins: Any) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{twins.fast.ports['grpc']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(message(0.5)) for _ in range(8)]
        codes = [call.code() for call in calls]
    assert codes.count(grpc.StatusCode.OK) == 3
    assert codes.count(grpc.StatusCode.UNAVAILABLE) == 5
    assert_right(twins)


def message(*wishes: float) -> pb.ModelInferRequest:
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="x",
        datatype="FP64",
        shape=[len(wishes)],
        contents=pb.InferTensorContents(fp64_contents=wishes),
    )
    return pb.ModelInferRequest(model_name="troubled", inputs=[tensor])


def test_a_request_whose_client_has_left_makes_room(twins: Any) -> None:
    text = json.dumps(body(3.0)).encode()
    head = (
        "POST /v2/models/troubled/infer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    )
    wire = f"{head}Content-Length: {len(text)}\r\n\r\n".encode() + text
    for server in each(twins):
        log, began = len(server.log), time.monotonic()
        with occupied(server, 2.0):
            leavers = [
                socket.create_connection(("127.0.0.1", server.ports["http"])) for _ in range(2)
            ]
            for leaver in leavers:
                leaver.sendall(wire)
            wait_until(lambda server=server: count_in_progress(server) == 3)
            assert server.infer("troubled", body(100.0)).status == 503  # they fill the queue
            for leaver in leavers:
                leaver.close()
            deadline = time.monotonic() + PATIENCE
            while server.infer("troubled", body(100.0)).status != 200:
                assert time.monotonic() < deadline
        # three seconds more for each of them, had anybody worked for them
        assert time.monotonic() - began < 5
        assert "predicting 3.0" not in server.log
        assert "Traceback" not in server.log[log:]


# --- predicts that take too long ------------------------------------------------------------------


def test_a_predict_that_hangs(start_twins: Any, troubled: Path) -> None:
    twins = start_twins(troubled, env={**TRUSTED, "PYFUNC_PREDICT_TIMEOUT": "1"})
    for hung in (1, 2):
        answer = twins.infer("troubled", body(HANG))
        assert answer.status == 504, answer.text
        assert "the model took longer than 1 s" in answer.error
        for server in each(twins):
            assert "(PYFUNC_PREDICT_TIMEOUT): given up, at" in server.log
            assert f"in predict; {hung} of at most 3 hang" in server.log
            assert "Traceback" not in server.log
        assert_right(twins)
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/troubled/ready"):
        assert twins.request(path).status == 200
    with grpc.insecure_channel(f"127.0.0.1:{twins.fast.ports['grpc']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(message(HANG), timeout=PATIENCE)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert not stub.ServerLive(pb.ServerLiveRequest()).live
    assert twins.ordinary.infer("troubled", body(HANG)).status == 504
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/troubled/ready"):
        assert twins.request(path).status == 400
    refused = twins.infer("troubled", body(100.0))
    assert refused.status == 503
    assert "the server has to be restarted" in refused.error
    for server in each(twins):
        assert "too many predicts hang: not live until one ends" in server.log
        assert server.stop() == 0  # threads that hang do not keep the process


@pytest.mark.parametrize(
    ("variable", "value"), [("PYFUNC_MAX_QUEUE", "none"), ("PYFUNC_PREDICT_TIMEOUT", "0")]
)
def test_settings_that_are_no_numbers(
    start_server: Callable[..., Any], troubled: Path, variable: str, value: str
) -> None:
    server = start_server(troubled, env={**TRUSTED, variable: value}, wait=False)
    assert server.process.wait(timeout=PATIENCE) == 3
    assert f"{variable} should be a number of" in server.log
    assert f"found '{value}'" in server.log
    assert "Traceback" not in server.log


# --- probes ---------------------------------------------------------------------------------------

PROBES = ("/v2/health/live", "/v2/health/ready", "/v2/models/{name}/ready")


def probe(server: Any, times: int, name: str = "troubled") -> list[float]:
    """Seconds that each probe took; all have to say yes."""
    connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=PATIENCE)
    taken = []
    for position in range(times):
        start = time.perf_counter()
        connection.request("GET", PROBES[position % len(PROBES)].format(name=name))
        answer = connection.getresponse()
        answer.read()
        taken.append(time.perf_counter() - start)
        assert answer.status == 200
    connection.close()
    return taken


@pytest.mark.parametrize("wish", [2.0, SPIN], ids=["sleeps", "spins in numpy"])
def test_probes_answer_during_a_slow_predict(twins: Any, wish: float) -> None:
    for server in each(twins):
        with occupied(server, wish):
            taken = probe(server, 60)
        assert statistics.median(taken) < 0.05


def test_probes_answer_between_many_requests(california_server: Any, request_body: Any) -> None:
    """Sixteen clients, each with a thousand rows at a time: some milliseconds on the loop each."""
    inputs = [
        {**tensor, "shape": [1000], "data": (tensor["data"] * 1000)[:1000]}
        for tensor in request_body["inputs"]
    ]
    body = json.dumps({"inputs": inputs}).encode()
    for server in each(california_server):
        done = threading.Event()

        def ask(server: Any = server, done: threading.Event = done) -> int:
            connection = http.client.HTTPConnection("127.0.0.1", server.ports["http"], PATIENCE)
            answers = 0
            while not done.is_set():
                connection.request("POST", f"/v2/models/{CALIFORNIA}/infer", body)
                answer = connection.getresponse()
                assert len(json.loads(answer.read())["outputs"][0]["data"]) == 1000
                answers += 1
            connection.close()
            return answers

        with ThreadPoolExecutor(16) as clients:
            asked = [clients.submit(ask) for _ in range(16)]
            try:
                time.sleep(0.5)
                taken = probe(server, 60, CALIFORNIA)
            finally:
                done.set()
            assert all(answers.result() for answers in asked)
        assert statistics.median(taken) < 0.05


# --- ending ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_what_runs_and_what_waits_is_answered_before_the_end(
    start_server: Callable[..., Any], troubled: Path, sent: signal.Signals
) -> None:
    server = start_server(troubled, env=TRUSTED)
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        call = GRPCInferenceServiceStub(channel).ModelInfer.future(message(1.0))
        wait_until(lambda: "predicting 1.0" in server.log)
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(server.infer, "troubled", body(100.0)) for _ in range(4)]
            wait_until(lambda: count_in_progress(server) == 4)
            server.process.send_signal(sent)
            assert [work.result().status for work in waiting] == [200] * 4
        assert call.code() == grpc.StatusCode.OK
    assert server.process.wait(timeout=PATIENCE) == 0
    assert "Traceback" not in server.log
