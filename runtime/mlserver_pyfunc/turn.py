"""Small requests that arrive in one turn of the event loop, predicted by one call of the engine.

Nothing waits for company: what is there when the turn ends is what is predicted together. Every
request was read and checked by itself before, and if the model refuses them together, each is
predicted alone, so that no request can touch another one's answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from mlserver.logging import logger

from mlserver_pyfunc.counts import Times
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.plain import Decoded


@dataclass(slots=True)
class Waiting:
    """One request.

    Parameters
    ----------
    model : PyFuncRuntime
        Any with ``infer_together`` and ``on_loop``.
    inputs : Decoded
    finish : callable
        Is called with the outputs, or with None where the request has to be predicted alone.
    times : Times
        Of the request; gets those that predicting took.
    """

    model: Any
    inputs: Decoded
    finish: Callable[[Sequence[Encoded] | None], None]
    times: Times


class Turn:
    """Collects requests until the turn of the event loop ends."""

    def __init__(self) -> None:
        self._waiting: list[Waiting] = []

    def add(self, request: Waiting) -> None:
        """Predict a request when all that has arrived has been read."""
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._end)
        self._waiting.append(request)

    def _end(self, *, waited: bool = False) -> None:
        waiting, self._waiting = self._waiting, []
        while waiting:
            model = waiting[0].model
            # who has waited is not sent behind those who came since
            if not (waited or model.on_loop.may_go_on()):  # the rest has its turn after the probes
                self._waiting = waiting + self._waiting
                model.on_loop.call(partial(self._end, waited=True))
                return
            waited = False
            count = _count(waiting, model.prompt_rows)
            batch, waiting = waiting[:count], waiting[count:]
            outputs = model.infer_together(
                [request.inputs for request in batch], [request.times for request in batch]
            )
            for position, request in enumerate(batch):
                try:
                    request.finish(None if outputs is None else outputs[position])
                except Exception:  # noqa: BLE001 - our own fault must not cost others their answers
                    logger.exception("model %s: an answer was not delivered", model.name)


def _count(waiting: Sequence[Waiting], rows: int) -> int:
    """How many of the first requests are for one model and have no more rows together."""
    for count, request in enumerate(waiting):
        rows -= request.inputs.rows
        if count and (rows < 0 or request.model is not waiting[0].model):
            return count
    return len(waiting)


class Afterwards:
    """Work that an answer does not wait for: it is done once this turn's answers are on their way.

    Counting is such work; a client that asks for the counts next finds itself counted.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function when the event loop has sent what was written."""
        if not self._calls:
            asyncio.get_running_loop().call_soon(self._run)
        self._calls.append((function, arguments))

    def _run(self) -> None:
        calls, self._calls = self._calls, []
        for function, arguments in calls:
            try:
                function(*arguments)
            except Exception:  # noqa: BLE001 - our own fault must not cost others their counts
                logger.exception("an answer was not counted")


def join_rows(parts: Sequence[Decoded]) -> Decoded:
    """The rows of several requests, one after the other.

    Examples
    --------
    >>> join_rows([Decoded({"x": np.array([1.0])}, 1), Decoded({"x": np.array([2.0])}, 1)])
    Decoded(values={'x': array([1., 2.])}, rows=2)
    """
    values = {}
    for name, cells in parts[0].values.items():
        join = np.ma.concatenate if isinstance(cells, np.ma.MaskedArray) else np.concatenate
        values[name] = join([part.values[name] for part in parts])
    return Decoded(values, sum([part.rows for part in parts]))
