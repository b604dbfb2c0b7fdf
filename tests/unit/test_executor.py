"""The model's thread: what waits, what is refused, dropped or given up."""

import asyncio
import logging
import threading
import time

import pytest

from mlserver_pyfunc.executor import (
    CLIENT,
    MAX_HUNG,
    Executor,
    ExecutorClosed,
    make_executor,
)
from pyfunc_packaging.errors import (
    ClientGone,
    InvalidSetting,
    ModelFailure,
    PredictTimeout,
    ServerBusy,
)

HOUR = 3600.0


class Gate:
    """A call that runs until it is let go."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.open.wait(60)
        return "through"


async def wait_for(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.001)


def test_calls_run_in_turn_in_one_other_thread():
    async def main():
        executor = Executor(max_queue=10, timeout=HOUR)
        calls = [executor.run(lambda n=n: (n, threading.get_ident())) for n in range(8)]
        return await asyncio.gather(*calls)

    numbers, threads = zip(*asyncio.run(main()), strict=True)
    assert numbers == tuple(range(8))
    assert len(set(threads)) == 1
    assert threading.get_ident() not in threads


def test_what_a_call_raises_comes_back():
    async def main():
        executor = Executor(max_queue=1, timeout=HOUR)
        with pytest.raises(ZeroDivisionError):
            await executor.run(lambda: 1 // 0)
        return await executor.run(lambda: "the next one")

    assert asyncio.run(main()) == "the next one"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_a_call_cannot_end_the_server(kind):
    def leave():
        raise kind

    async def main():
        executor = Executor(max_queue=1, timeout=HOUR)
        with pytest.raises(ModelFailure, match=kind.__name__):
            await executor.run(leave)
        return await executor.run(lambda: "the next one")

    assert asyncio.run(main()) == "the next one"


def test_beyond_the_queue_calls_are_refused_at_once(caplog):
    async def main():
        executor, gate = Executor(max_queue=2, timeout=HOUR), Gate()
        taken = [asyncio.ensure_future(executor.run(gate)) for _ in range(3)]
        await asyncio.sleep(0)
        for _ in range(5):
            with pytest.raises(ServerBusy, match="2 requests are waiting already"):
                await executor.run(gate)
        gate.open.set()
        assert await asyncio.gather(*taken) == ["through"] * 3
        return await executor.run(lambda: "free again")

    with caplog.at_level(logging.WARNING, "mlserver"):
        assert asyncio.run(main()) == "free again"
    assert sum("PYFUNC_MAX_QUEUE" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("how", ["cancelled", "disconnected"])
def test_a_call_is_dropped_when_nobody_waits_for_it(how):
    ran = []

    async def main():
        executor, gate, left = Executor(max_queue=2, timeout=HOUR), Gate(), asyncio.Event()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        first = asyncio.ensure_future(executor.run(gate))
        await wait_for(gate.began.is_set)
        CLIENT.set(receive)
        second = asyncio.ensure_future(executor.run(lambda: ran.append("second")))
        third = asyncio.ensure_future(executor.run(lambda: ran.append("third")))
        await asyncio.sleep(0)
        if how == "cancelled":
            second.cancel()
            third.cancel()
            expected = asyncio.CancelledError
        else:
            left.set()
            expected = ClientGone
        for call in (second, third):
            with pytest.raises(expected):
                await call
        CLIENT.set(None)
        fourth = asyncio.ensure_future(executor.run(lambda: "fourth"))  # there is room again
        gate.open.set()
        return await asyncio.gather(first, fourth)

    assert asyncio.run(main()) == ["through", "fourth"]
    assert ran == []


def test_a_running_call_ends_although_its_client_is_gone():
    async def main():
        executor, gate, left = Executor(max_queue=2, timeout=HOUR), Gate(), asyncio.Event()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        CLIENT.set(receive)
        call = asyncio.ensure_future(executor.run(gate))
        await wait_for(gate.began.is_set)
        left.set()
        await asyncio.sleep(0.01)
        gate.open.set()
        return await call

    assert asyncio.run(main()) == "through"


def test_a_call_that_hangs_is_given_up_and_the_next_one_runs(caplog):
    async def main():
        executor, gate = Executor(max_queue=9, timeout=0.1), Gate()
        hanging = asyncio.ensure_future(executor.run(gate))
        following = asyncio.ensure_future(executor.run(lambda: "the next one"))
        with pytest.raises(PredictTimeout, match=r"took longer than 0\.1 s"):
            await hanging
        assert await following == "the next one"
        assert executor.alive
        gate.open.set()

    with caplog.at_level(logging.ERROR, "mlserver"):
        asyncio.run(main())
    (record,) = caplog.records
    assert "a predict has run for 0.1 s (PYFUNC_PREDICT_TIMEOUT)" in record.message
    assert "threading.py" in record.message  # where it is


def test_a_call_whose_client_left_is_given_up_as_well():
    async def main():
        executor, gate = Executor(max_queue=9, timeout=0.1), Gate()
        hanging = asyncio.ensure_future(executor.run(gate))
        await wait_for(gate.began.is_set)
        hanging.cancel()
        assert await executor.run(lambda: "the next one") == "the next one"
        gate.open.set()

    asyncio.run(main())


def test_too_many_that_hang_make_it_not_alive_until_one_ends():
    async def main():
        executor, gates = Executor(max_queue=9, timeout=0.05), [Gate() for _ in range(MAX_HUNG)]
        hanging = [asyncio.ensure_future(executor.run(gate)) for gate in gates]
        waiting = asyncio.ensure_future(executor.run(lambda: "never"))
        for call in hanging:
            with pytest.raises(PredictTimeout):
                await call
        assert not executor.alive
        for refused in (waiting, executor.run(lambda: "never")):
            with pytest.raises(ServerBusy, match="has to be restarted"):
                await refused
        gates[1].open.set()
        await wait_for(lambda: executor.alive)
        assert await executor.run(lambda: "alive") == "alive"
        for gate in gates:
            gate.open.set()
        await wait_for(lambda: executor._hung == 0)
        return await executor.run(lambda: "still one thread")

    assert asyncio.run(main()) == "still one thread"


def test_loading_may_take_longer():
    async def main():
        executor, gate = Executor(max_queue=1, timeout=0.05), Gate()
        loading = asyncio.ensure_future(executor.run(gate, watched=False))
        await asyncio.sleep(0.3)
        gate.open.set()
        return await loading

    assert asyncio.run(main()) == "through"


def test_closed_it_finishes_what_waits():
    async def main():
        executor, gate = Executor(max_queue=5, timeout=HOUR), Gate()
        waiting = [asyncio.ensure_future(executor.run(gate)) for _ in range(3)]
        await wait_for(gate.began.is_set)
        executor.close()
        with pytest.raises(ExecutorClosed):
            await executor.run(gate)
        gate.open.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == ["through"] * 3


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", "١"])
def test_no_number_of_requests(value, monkeypatch):
    monkeypatch.setenv("PYFUNC_MAX_QUEUE", value)
    with pytest.raises(InvalidSetting, match="PYFUNC_MAX_QUEUE should be a number of requests"):
        make_executor()


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "inf"])
def test_no_number_of_seconds(value, monkeypatch):
    monkeypatch.setenv("PYFUNC_PREDICT_TIMEOUT", value)
    with pytest.raises(InvalidSetting, match="PYFUNC_PREDICT_TIMEOUT should be a number of secon"):
        make_executor()
