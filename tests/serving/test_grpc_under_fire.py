"""gRPC under attack: calls given up, streams that hang, names and shapes without end, SIGTERM."""

from __future__ import annotations

import asyncio
import random
import re
import signal
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub

from pyfunc_packaging import package_model

PATIENCE = 60

#: The model of these tests is a pickle, and the thread of the model is what it is asked in.
TRUSTED = {"PYFUNC_TRUST": "code", "PYFUNC_MAX_QUEUE": "1000"}

MODEL = """
import sys
import time

from sklearn.base import BaseEstimator, RegressorMixin


class Moody(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        cells = X["x"].to_numpy(dtype=float)
        print(f"asked for {cells[0]:.3f}", file=sys.stderr, flush=True)
        if cells[0] < 0:
            raise ZeroDivisionError("in a bad mood")
        if 0 < cells[0] < 60:
            time.sleep(cells[0])
        return cells
"""


@pytest.fixture(scope="module")
def moody(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("moody")
    (folder / "moody.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        from moody import Moody

        rows = pd.DataFrame({"x": [0.0, 100.0]})
        return package_model(Moody().fit(rows), rows, path=folder / "bundle", name="moody").path


@pytest.fixture(scope="module", params=["on", "off"], ids=["fast", "ordinary"])
def server(request: Any, moody: Path, start_server: Callable[..., Any]) -> Any:
    return start_server(moody, env={**TRUSTED, "PYFUNC_FAST_LANE": request.param})


@pytest.fixture
def stub(server: Any) -> Iterator[Any]:
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        yield GRPCInferenceServiceStub(channel)


def ask_for(*cells: float, name: str = "moody", **fields: Any) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=name, **fields)
    tensor = request.inputs.add(name="x", datatype="FP64", shape=[len(cells)])
    tensor.contents.fp64_contents.extend(cells)
    return request


def read(response: Any) -> list[float]:
    return list(response.outputs[0].contents.fp64_contents)


def refusal(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=PATIENCE)
    return caught.value.code(), caught.value.details()


def count(server: Any) -> Counter[str]:
    """What was counted of requests: by us, by why refused, and by MLServer."""
    found: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        text = response.read().decode()
    for name, labels, value in re.findall(r"^(\w+)\{(.*)\} (\S+)$", text, re.MULTILINE):
        if name == "pyfunc_refusals_total":
            found[re.findall('reason="(.*?)"', labels)[0]] += int(float(value))
        elif name in COUNTED:
            found[name] += int(float(value))
    return found


COUNTED = (
    *("pyfunc_requests_total", "pyfunc_rows_total", "pyfunc_queue_requests"),
    *("model_infer_request_success_total", "model_infer_request_failure_total"),
    "model_infer_request_duration_count",
)


def settle(server: Any) -> Counter[str]:
    """The counts when nothing waits, and nothing is counted any more."""
    deadline = time.monotonic() + PATIENCE
    before = count(server)
    while True:
        time.sleep(0.2)
        now = count(server)
        if now == before and not now["pyfunc_queue_requests"]:
            return now
        assert time.monotonic() < deadline, now
        before = now


# --- a stream is a series of requests -----------------------------------------------------------


def test_a_stream_answers_each_request_by_itself(server: Any, stub: Any) -> None:
    """Each with its own id and its own form."""
    as_bytes = ask_for(100.0, id="two")
    as_bytes.inputs[0].ClearField("contents")
    as_bytes.raw_input_contents.append(pd.Series([200.0]).to_numpy().tobytes())
    sent = [ask_for(100.0, id="one"), as_bytes, ask_for(300.0)]
    before = count(server)
    answers = list(stub.ModelStreamInfer(iter(sent), timeout=PATIENCE))
    assert [answer.id for answer in answers] == ["one", "two", ""]
    assert [list(answer.raw_output_contents) for answer in answers] == [
        [],
        [pd.Series([200.0]).to_numpy().tobytes()],
        [],
    ]
    assert [read(answer) for answer in answers] == [[100.0], [], [300.0]]
    found = count(server) - before
    assert (found["pyfunc_requests_total"], found["model_infer_request_success_total"]) == (3, 3)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (ask_for(100.0, name="nobody"), "Model nobody not found"),
        (ask_for(100.0, model_version="9"), "Model moody with version 9 not found"),
    ],
    ids=["model", "version"],
)
def test_a_stream_does_not_answer_for_another_model(stub: Any, second: Any, words: str) -> None:
    answers = stub.ModelStreamInfer(iter([ask_for(100.0), second]), timeout=PATIENCE)
    assert read(next(answers)) == [100.0]
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, words)


# --- calls that are given up --------------------------------------------------------------------


async def call(stub: Any, request: Any, order: random.Random) -> tuple[str, Any]:
    """One call: half of them are cancelled before, during or after the predict, or run out."""
    mood = order.random()
    timeout = order.choice([0.001, 0.005, 0.05, 1.0]) if mood < 0.25 else PATIENCE
    waiting = stub.ModelInfer(request, timeout=timeout)
    try:
        if mood > 0.7:
            await asyncio.sleep(order.choice([0, 0.001, 0.01, 0.05]))
            waiting.cancel()
        response = await waiting
    except asyncio.CancelledError:
        return "CANCELLED", None
    except grpc.RpcError as error:
        return error.code().name, None  # type: ignore[attr-defined]  # it is a Call too
    return "OK", read(response)


def test_calls_that_are_given_up(server: Any, stub: Any) -> None:
    """Whoever stays gets his own answer; every call is counted once; nothing is left behind."""
    order = random.Random(1)
    cells = [100.0 + number if number % 3 else 0.002 * (number % 5) for number in range(400)]
    before, log = settle(server), len(server.log)

    async def storm() -> list[Any]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            own = GRPCInferenceServiceStub(channel)
            return await asyncio.gather(*[call(own, ask_for(cell), order) for cell in cells])

    found = asyncio.run(storm())
    kinds = Counter(kind for kind, _ in found)
    assert set(kinds) == {"OK", "CANCELLED", "DEADLINE_EXCEEDED"}, kinds
    assert [answer for kind, answer in found if kind == "OK"] == [
        [cell] for cell, (kind, _) in zip(cells, found, strict=True) if kind == "OK"
    ]
    counted = settle(server) - before
    answered = counted["model_infer_request_success_total"]
    assert answered >= kinds["OK"]  # some were answered as their clients left
    assert counted["pyfunc_rows_total"] >= answered
    assert counted["pyfunc_requests_total"] == answered + counted["client_gone"]
    assert counted["model_infer_request_duration_count"] == counted["pyfunc_requests_total"]
    assert read(stub.ModelInfer(ask_for(500.0), timeout=PATIENCE)) == [500.0]
    assert "Traceback" not in server.log[log:]


def test_streams_that_hang_or_are_given_up(server: Any, stub: Any) -> None:
    before, log = settle(server), len(server.log)

    async def stream(own: Any, number: int) -> tuple[str, int]:
        async def send() -> Any:
            for cell in range(3):
                yield ask_for(1000.0 * number + 100 + cell)
            if number % 4 == 3:
                await asyncio.sleep(2 * PATIENCE)

        answers = own.ModelStreamInfer(send(), timeout=PATIENCE if number % 4 else 5)
        got = 0
        try:
            async for answer in answers:
                assert read(answer) == [1000.0 * number + 100 + got]
                got += 1
                if number % 2 and got == 1 + number % 3:
                    answers.cancel()
        except asyncio.CancelledError:
            return "CANCELLED", got
        return "OK", got

    async def storm() -> list[Any]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            own = GRPCInferenceServiceStub(channel)
            return await asyncio.gather(*[stream(own, number) for number in range(200)])

    found = asyncio.run(storm())
    assert [kind for kind, _ in found] == ["OK", "CANCELLED"] * 100
    assert all(
        got == (1 + number % 3 if number % 2 else 3) for number, (_, got) in enumerate(found)
    )
    counted = settle(server) - before
    answered = counted["model_infer_request_success_total"]
    assert answered >= sum(got for _, got in found)
    assert counted["pyfunc_requests_total"] == answered + counted["client_gone"]
    assert counted["model_infer_request_failure_total"] == 0
    assert read(stub.ModelInfer(ask_for(500.0), timeout=PATIENCE)) == [500.0]
    assert "Traceback" not in server.log[log:]


# --- failures and refusals ----------------------------------------------------------------------


def test_a_model_that_fails_is_asked_once_and_logged_once(server: Any, stub: Any) -> None:
    before, log = count(server), len(server.log)
    status, words = refusal(stub.ModelInfer, ask_for(-7.0))
    assert status is grpc.StatusCode.INTERNAL
    assert words == "the model raised ZeroDivisionError; the server's log has the details"
    counted = count(server) - before
    assert counted["pyfunc_requests_total"] == counted["model_error"] == 1
    assert counted["model_infer_request_failure_total"] == 1
    said = server.log[log:]
    assert said.count("asked for -7.000") == 1
    assert said.count("ZeroDivisionError: in a bad mood") == 1


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelReady"])
@pytest.mark.parametrize("name", ["n" * 100_000, "é" * 100_000, "a\nERROR - b"])
def test_a_name_of_any_kind_is_not_found(server: Any, stub: Any, method: str, name: str) -> None:
    """Clients take 8 KiB of metadata: one that got more would see another status."""
    log = len(server.log)
    request = {
        "ModelInfer": ask_for(1.0, name=name),
        "ModelMetadata": pb.ModelMetadataRequest(name=name),
        "ModelReady": pb.ModelReadyRequest(name=name),
    }[method]
    status, words = refusal(getattr(stub, method), request)
    assert status is grpc.StatusCode.NOT_FOUND
    assert words.splitlines() == [words]
    assert len(words) < 300
    lines = server.log[log:].splitlines()
    assert all(words in line for line in lines)  # so none of its own
    assert all(len(line) < 400 for line in lines)


def test_a_version_of_any_kind_is_not_found(stub: Any) -> None:
    status, words = refusal(stub.ModelInfer, ask_for(1.0, model_version="9" * 100_000))
    assert status is grpc.StatusCode.NOT_FOUND
    assert words.startswith("Model moody with version 999")
    assert len(words) < 300


@pytest.mark.parametrize("inputs", [10_001, 50_000])
def test_too_many_inputs_are_refused_before_they_are_unpacked(
    server: Any, stub: Any, inputs: int
) -> None:
    request = ask_for(1.0)
    for number in range(1, inputs):
        request.inputs.add(name=f"x{number}", datatype="FP64", shape=[1])
    before = count(server)
    status, words = refusal(stub.ModelInfer, request)
    assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert words.startswith(f"expected at most 10000 inputs in a request, got {inputs}; send those")
    counted = count(server) - before
    assert counted["too_large"] == counted["pyfunc_requests_total"] == 1
    # MLServer has not seen it: it took five seconds, and the probes had to wait
    assert counted["model_infer_request_duration_count"] == 0


def test_probes_are_answered_while_a_large_message_is_read(server: Any, stub: Any) -> None:
    """Ten million empty texts: reading them held up the event loop for nine seconds."""
    request = pb.ModelInferRequest(model_name="moody")
    request.inputs.add(name="x", datatype="BYTES", shape=[1])
    request.raw_input_contents.append(bytes(40_000_000))
    waits = []
    reading = stub.ModelInfer.future(request, timeout=PATIENCE)
    while not reading.done():
        began = time.monotonic()
        assert server.request("/v2/health/live").status == 200
        waits.append(time.monotonic() - began)
        time.sleep(0.01)
    assert reading.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "expected 1 elements, the bytes have 10000000" in reading.details()
    assert max(waits) < 2


def test_a_model_that_is_loaded_again_answers_all_the_while(server: Any) -> None:
    """Calls and streams that began before go on with the new one."""

    async def run() -> tuple[list[list[float]], list[list[float]]]:
        called, streamed, done = [], [], False
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
            own = GRPCInferenceServiceStub(channel)

            async def call_on(cell: float) -> None:
                while not done:
                    called.append(read(await own.ModelInfer(ask_for(cell), timeout=PATIENCE)))

            async def send() -> Any:
                while not done:
                    yield ask_for(400.0)
                    await asyncio.sleep(0.01)

            async def stream() -> None:
                async for answer in own.ModelStreamInfer(send(), timeout=PATIENCE):
                    streamed.append(read(answer))

            tasks = [asyncio.create_task(work) for work in (call_on(300.0), stream())]
            for _ in range(3):
                seen = len(called), len(streamed)
                await own.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="moody"))
                while len(called) < seen[0] + 5 or len(streamed) < seen[1] + 5:
                    assert not any(task.done() for task in tasks)
                    await asyncio.sleep(0.01)
            done = True
            await asyncio.gather(*tasks)
        return called, streamed

    log = len(server.log)
    called, streamed = asyncio.run(run())
    assert called == [[300.0]] * len(called)
    assert streamed == [[400.0]] * len(streamed)
    assert server.log[log:].count("Reloaded model 'moody' successfully") == 3
    assert "Traceback" not in server.log[log:]


@pytest.mark.parametrize("lane", ["on", "off"])
def test_the_limit_of_a_message_is_that_of_a_request(
    start_server: Callable[..., Any], moody: Path, lane: str
) -> None:
    """To the byte; the answer to a request that fits may be larger."""
    limit = 100_000
    env = {**TRUSTED, "PYFUNC_FAST_LANE": lane, "PYFUNC_MAX_BODY_BYTES": str(limit)}
    server = start_server(moody, env=env)
    rows = limit - 1000
    request = pb.ModelInferRequest(model_name="moody")
    request.inputs.add(name="x", datatype="INT8", shape=[rows])
    request.raw_input_contents.append(b"\x64" * rows)
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        own = GRPCInferenceServiceStub(channel)
        for size in (limit, limit + 1):
            request.id = "i" * 500
            request.id += "i" * (size - request.ByteSize())
            assert request.ByteSize() == size
            if size == limit:
                [answer] = own.ModelInfer(request, timeout=PATIENCE).raw_output_contents
                assert answer == pd.Series([100.0] * rows).to_numpy().tobytes()
                continue
            status, words = refusal(own.ModelInfer, request)
            assert status is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "larger than max (100001 vs. 100000)" in words
    assert count(server)["pyfunc_requests_total"] == 1


# --- the end ------------------------------------------------------------------------------------


@pytest.mark.parametrize("lane", ["on", "off"])
def test_calls_under_way_are_answered_after_sigterm(
    start_server: Callable[..., Any], moody: Path, lane: str
) -> None:
    """Also those that take longer than the five seconds that MLServer gives them."""
    server = start_server(moody, env={**TRUSTED, "PYFUNC_FAST_LANE": lane})
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        own = GRPCInferenceServiceStub(channel)
        calls = [own.ModelInfer.future(ask_for(7.0)), own.ModelInfer.future(ask_for(100.0))]
        deadline = time.monotonic() + PATIENCE
        while "asked for 7.000" not in server.log:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        assert [read(each.result(PATIENCE)) for each in calls] == [[7.0], [100.0]]
    assert server.process.wait(timeout=PATIENCE) == 0
    assert "Traceback" not in server.log
