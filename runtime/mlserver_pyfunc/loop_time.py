"""How long requests may hold up the event loop, and with it the probes.

MLServer's probes take several turns of the loop each, so it is not enough to bound a single turn:
after one that was used up, requests wait for some turns that belong to everything else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from mlserver.logging import logger

#: Seconds that all requests may take in one turn of the loop; the last one may go beyond.
TURN = 5e-3

#: Turns that requests wait for after that. A probe takes MLServer eight (seen in 1.7.1).
PAUSE = 10

#: Seconds that are too little to ask for the end of the turn.
_LITTLE = 1e-3


class LoopTime:
    """What one model's requests took of the event loop in this turn of it, and who waits for more.

    Examples
    --------
    >>> async def hold_up():
    ...     on_loop = LoopTime()
    ...     on_loop.add(0.006)
    ...     before = on_loop.may_go_on()
    ...     await on_loop.wait()
    ...     return before, on_loop.may_go_on()
    >>> asyncio.run(hold_up())
    (False, True)
    """

    def __init__(self) -> None:
        self._spent = 0.0  # seconds
        self._paused = 0  # turns
        self._goes_on = False  # in the next turn
        self._queue: deque[Callable[[], object] | asyncio.Future[None]] = deque()

    def may_go_on(self) -> bool:
        """Whether there is time left for a request, in this turn, and nobody waits for it."""
        return self._spent <= TURN and not self._queue

    def call(self, function: Callable[[], object]) -> None:
        """Call a function when there is; in order, and after those that wait already."""
        if self.may_go_on():
            self._go_on_soon()
        self._queue.append(function)

    async def wait(self) -> None:
        """Wait until there is."""
        if not self.may_go_on():
            future = asyncio.get_running_loop().create_future()
            self._queue.append(future)
            await future

    def add(self, seconds: float) -> None:
        """Note what a request took."""
        before = self._spent
        self._spent += seconds
        # the end of a turn is asked for once, and not for what is too little to matter
        if before <= _LITTLE < self._spent:
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        if self._spent > TURN and self._paused < PAUSE:
            self._paused += 1
            asyncio.get_running_loop().call_soon(self._end_turn)
            return
        used_up = self._paused > 0
        self._spent, self._paused = 0.0, 0
        if used_up and not self._goes_on:
            self._go_on()

    def _go_on_soon(self) -> None:
        self._goes_on = True
        asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        """Let those who wait go on, until this turn is used up."""
        self._goes_on = False
        while self._queue and self._spent <= TURN:
            first = self._queue.popleft()
            if isinstance(first, asyncio.Future):
                if first.done():  # who waited has given up
                    continue
                first.set_result(None)
                # a task begins within the next turn: what it takes is not known before
                self._go_on_soon()
                return
            try:
                first()
            except Exception:  # noqa: BLE001 - our own fault must not cost others their turn
                logger.exception("a request that waited was not answered")
