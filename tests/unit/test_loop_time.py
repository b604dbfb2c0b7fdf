"""The event loop's time is shared between requests and everything else."""

from __future__ import annotations

import asyncio

import pytest

from mlserver_pyfunc import loop_time
from mlserver_pyfunc.loop_time import PAUSE, TURN, LoopTime


def test_it_counts_until_the_turn_ends() -> None:
    async def measure() -> list[bool]:
        on_loop = LoopTime()
        on_loop.add(TURN / 2)
        seen = [on_loop.may_go_on()]
        on_loop.add(TURN * 0.4)
        seen.append(on_loop.may_go_on())
        await asyncio.sleep(0)
        on_loop.add(TURN * 0.9)  # a turn of its own
        return [*seen, on_loop.may_go_on()]

    assert asyncio.run(measure()) == [True, True, True]


def test_little_times_add_up_over_turns() -> None:
    async def measure() -> bool:
        on_loop = LoopTime()
        for _ in range(200):
            on_loop.add(0.0001)
            await asyncio.sleep(0)
        return on_loop.may_go_on()

    assert asyncio.run(measure())  # forgotten whenever they came to a millisecond


def test_a_turn_that_is_used_up_is_followed_by_a_pause() -> None:
    async def measure() -> tuple[bool, int]:
        on_loop = LoopTime()
        on_loop.add(TURN * 1.1)
        before, turns = on_loop.may_go_on(), 0
        while not on_loop.may_go_on():
            await asyncio.sleep(0)
            turns += 1
        return before, turns

    assert asyncio.run(measure()) == (False, PAUSE + 1)


def test_who_waits_goes_on_in_order_a_turn_at_a_time() -> None:
    """Two requests fill a turn; a task that needs many turns is done before the third."""
    events: list[object] = []

    async def ask(on_loop: LoopTime, number: int) -> None:
        await on_loop.wait()
        on_loop.add(TURN * 0.6)
        events.append(number)

    async def probe() -> None:
        for _ in range(PAUSE):
            await asyncio.sleep(0)
        events.append("probe")

    async def run() -> None:
        on_loop = LoopTime()
        asked = [asyncio.create_task(ask(on_loop, number)) for number in range(6)]
        await asyncio.gather(asyncio.create_task(probe()), *asked)

    asyncio.run(run())
    assert events == [0, 1, "probe", 2, 3, 4, 5]


def test_who_gives_up_holds_up_nobody() -> None:
    async def run() -> bool:
        on_loop = LoopTime()
        on_loop.add(TURN * 2)
        first, second = (asyncio.create_task(on_loop.wait()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait_for(second, 10)
        return on_loop.may_go_on()

    assert asyncio.run(run())


def test_calls_and_tasks_wait_in_one_queue(caplog: pytest.LogCaptureFixture) -> None:
    events: list[object] = []

    async def ask(on_loop: LoopTime, name: str) -> None:
        await on_loop.wait()
        on_loop.add(TURN * 2)
        events.append(name)

    async def run() -> None:
        on_loop = LoopTime()
        on_loop.add(TURN * 2)
        on_loop.call(lambda: events.append("call"))
        on_loop.call(lambda: 1 // 0)
        asked = [asyncio.create_task(ask(on_loop, name)) for name in ("task", "other task")]
        await asyncio.sleep(0)
        on_loop.call(lambda: events.append("last call"))
        await asyncio.gather(*asked)
        while not on_loop.may_go_on():
            await asyncio.sleep(0)

    asyncio.run(run())
    assert events == ["call", "task", "other task", "last call"]
    [record] = caplog.records
    assert record.getMessage() == "a request that waited was not answered"
    assert record.exc_info is not None


def test_a_call_with_time_left_comes_in_the_next_turn() -> None:
    async def run() -> list[str]:
        events: list[str] = []
        on_loop = LoopTime()
        on_loop.call(lambda: events.append("call"))
        assert not on_loop.may_go_on()  # who comes now comes later
        await asyncio.sleep(0)
        assert on_loop.may_go_on()
        return events

    assert asyncio.run(run()) == ["call"]


def test_a_turn_is_shorter_than_a_probe_may_wait() -> None:
    """A probe of eight turns, each with a request of 5 ms at its end, and one pause."""
    assert 8 * TURN <= 0.05
    assert loop_time.PAUSE >= 8
