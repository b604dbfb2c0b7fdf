from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from mlserver_pyfunc.counts import Times
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.loop_time import TURN, LoopTime
from mlserver_pyfunc.plain import Decoded
from mlserver_pyfunc.turn import Afterwards, Turn, Waiting, join_rows


class Doubling:
    """Stands in for a runtime: doubles x, and notes what it predicts together."""

    def __init__(self, *, rows: int = 100, turns: Sequence[bool] = (), refuses: float = -1) -> None:
        self.prompt_rows = rows
        self.batches: list[list[float]] = []
        self.on_loop: Any = self
        self._turns = list(turns)
        self._refuses = refuses

    def may_go_on(self) -> bool:
        return self._turns.pop(0) if self._turns else True

    def call(self, function: Callable[[], object]) -> None:
        asyncio.get_running_loop().call_soon(function)

    def infer_together(
        self, requests: Sequence[Decoded], times: Sequence[Times]
    ) -> list[list[Encoded]] | None:
        assert len(times) == len(requests)
        cells = [request.values["x"].tolist() for request in requests]
        self.batches.append([cell for row in cells for cell in row])
        if self._refuses in self.batches[-1]:
            return None
        return [[Encoded("y", "FP64", [len(row)], [2 * cell for cell in row])] for row in cells]


def ask(model: Any, rows: Sequence[Sequence[float]], others: Any = None) -> list[Any]:
    """What each request is finished with, all of them sent within one turn."""
    found: list[Any] = [...] * len(rows)

    async def send() -> None:
        turn = Turn()
        for position, cells in enumerate(rows):

            def finish(outputs: Sequence[Encoded] | None, position: int = position) -> None:
                found[position] = None if outputs is None else outputs[0].data

            turn.add(Waiting(model, Decoded({"x": np.array(cells)}, len(cells)), finish, Times()))
        assert found == [...] * len(rows)  # nothing before the turn ends
        for _ in range(5):
            await asyncio.sleep(0)

    asyncio.run(send())
    return found


def test_everyone_gets_his_own_answer_of_one_prediction() -> None:
    model = Doubling()
    assert ask(model, [[1.0], [2.0, 3.0], [4.0]]) == [[2.0], [4.0, 6.0], [8.0]]
    assert model.batches == [[1.0, 2.0, 3.0, 4.0]]


def test_no_more_rows_together_than_are_prompt() -> None:
    model = Doubling(rows=3)
    assert ask(model, [[1.0], [2.0, 3.0], [4.0], [5.0]]) == [[2.0], [4.0, 6.0], [8.0], [10.0]]
    assert model.batches == [[1.0, 2.0, 3.0], [4.0, 5.0]]


def test_what_is_refused_together_is_predicted_alone() -> None:
    model = Doubling(refuses=2.0)
    assert ask(model, [[1.0], [2.0]]) == [None, None]


def test_a_turn_that_is_used_up_goes_on_in_the_next() -> None:
    model = Doubling(rows=1, turns=[True, False, True, False])
    assert ask(model, [[1.0], [2.0], [3.0]]) == [[2.0], [4.0], [6.0]]
    assert model.batches == [[1.0], [2.0], [3.0]]


def test_who_waited_is_not_sent_behind_those_who_came_since() -> None:
    """Four clients ask again and again, and keep the loop busy; a fifth one is answered, too."""
    found: list[Any] = []

    async def run() -> None:
        model, turn = Doubling(), Turn()
        on_loop = model.on_loop = LoopTime()

        def ask_again() -> None:
            on_loop.add(0.6 * TURN)
            if not found:
                asyncio.get_running_loop().call_soon(on_loop.call, ask_again)

        for _ in range(4):
            on_loop.call(ask_again)
        turn.add(Waiting(model, Decoded({"x": np.array([1.0])}, 1), found.append, Times()))
        for _ in range(500):
            await asyncio.sleep(0)

    asyncio.run(run())
    assert [outputs[0].data for outputs in found] == [[2.0]]


def test_models_are_not_mixed() -> None:
    found: list[Any] = []

    async def send() -> None:
        turn = Turn()
        for model in models:
            inputs = Decoded({"x": np.array([1.0])}, 1)
            turn.add(Waiting(model, inputs, found.append, Times()))
        await asyncio.sleep(0)

    models = [Doubling(), Doubling()]
    asyncio.run(send())
    assert [model.batches for model in models] == [[[1.0]], [[1.0]]]
    assert len(found) == 2


def test_join_keeps_what_is_missing() -> None:
    some = np.ma.MaskedArray([1, 0], mask=[False, True])
    joined = join_rows([Decoded({"n": some}, 2), Decoded({"n": some}, 2)])
    assert joined.rows == 4
    assert joined.values["n"].tolist() == [1, None, 1, None]


def test_what_cannot_be_counted_costs_no_other_its_count(caplog: pytest.LogCaptureFixture) -> None:
    counted = []

    async def run() -> None:
        afterwards = Afterwards()
        for number in (1, 0, 2):
            afterwards.call(lambda number=number: counted.append(6 // number))
        assert counted == []  # the answer goes first
        await asyncio.sleep(0)
        assert counted == [6, 3]
        afterwards.call(lambda: counted.append("later"))
        await asyncio.sleep(0)

    asyncio.run(run())
    assert counted == [6, 3, "later"]
    [record] = caplog.records
    assert record.getMessage() == "an answer was not counted"
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
