"""uvicorn's HTTP protocol, with requests of the fast lane answered where their last byte arrives.

For every request uvicorn makes a task, and hands it messages through an event and coroutines: half
of what a small request costs. A request that is answered without waiting for anything needs none of
that; one whose head came before needs no parser either. Every other request is uvicorn's, as it is.
"""

from __future__ import annotations

import math
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from mlserver.logging import logger
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from mlserver_pyfunc.bodies import SMALL, BodyHeaders, read_headers
from mlserver_pyfunc.heads import Heads
from mlserver_pyfunc.lingering import Lingering

if TYPE_CHECKING:
    from uvicorn.config import Config

    from mlserver_pyfunc.fast_lane import FastLane
    from mlserver_pyfunc.responses import Answer
    from mlserver_pyfunc.target import Target

#: After so many new heads in a row, a connection learns no more: its client writes another one each
#: time, as proxies do that add the identity of a request. Lengths of bodies are fewer.
_PATIENCE = 256


def make_protocol(lane: FastLane) -> type[Lingering]:
    """The protocol class for uvicorn's configuration.

    Parameters
    ----------
    lane : FastLane
        Which is also the ASGI application for everything else.
    """

    class BoundProtocol(PromptProtocol):
        fast_lane = lane
        heads = Heads()

    return BoundProtocol


class PromptProtocol(Lingering):
    """One connection.

    Parameters
    ----------
    config : uvicorn.Config
    *more
        As uvicorn gives them.
    """

    fast_lane: FastLane
    #: Of requests that were answered here, on any connection.
    heads: Heads

    def __init__(self, config: Config, *more: Any, **named: Any) -> None:
        super().__init__(config, *more, **named)
        #: The request whose body is on its way.
        self._waiting: tuple[RequestResponseCycle, Target] | None = None
        #: The request that was read, and answered, last.
        self._prompt: RequestResponseCycle | None = None
        #: How many heads in a row were new.
        self._unknown = 0

    def data_received(self, data: bytes) -> None:
        """Answer a request whose head is known, or read what came; see uvicorn."""
        begins = self._head == 0 and self._unknown < _PATIENCE
        if begins and self._answer_known(data):
            self._unknown = 0
            return
        self._prompt = None
        super().data_received(data)
        if begins and self._prompt is not None and self._prompt.keep_alive:
            body, scope = bytes(self._prompt.body), _scope(self._prompt)
            self._unknown += self.heads.add(data, body, scope["path"], scope["headers"])

    def _answer_known(self, data: bytes) -> bool:
        """Answer a request without a parser, or do nothing."""
        cycle = self.cycle
        if (
            cycle is None  # the first one of a connection
            or not (cycle.response_complete and cycle.keep_alive)
            or cycle.more_body
            or self._ends
            or self.flow.write_paused
            or self.transport.is_closing()
        ):
            return False
        known = self.heads.find(data)
        if known is None:
            return False
        head, body = known
        target = self.fast_lane.find_by_path(head.path)
        if target is None or not target.model.on_loop.may_go_on():
            return False
        self._unset_keepalive_if_required()
        # which uvicorn looks at while a request waits
        cycle.response_started = cycle.response_complete = False
        arrived = time.perf_counter()
        if self._answer_soon(cycle, target, head.headers, body, {}, arrived):
            return True
        cycle.response_complete = True
        return False

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start a request's task, unless its body may be all that is to wait for."""
        if (
            cycle.more_body
            and app is self.app
            and not self.access_log
            and not cycle.waiting_for_100_continue
        ):
            target = self.fast_lane.find_target(_scope(cycle))
            if target is not None:
                self._waiting = cycle, target
                return
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a part of a body; see uvicorn."""
        if self._waiting is None:
            super().on_body(body)
        elif len(self.cycle.body) + len(body) <= SMALL:
            # uvicorn would stop reading at 64 KiB, until a task takes what came
            self._head = -math.inf
            self.cycle.body += body
        else:
            self._start_waiting()
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Take the end of a request; see uvicorn."""
        super().on_message_complete()
        if self._waiting is None:
            return
        cycle, target = self._waiting
        if cycle is not self.cycle:
            self._start_waiting()
            return
        self._waiting = None
        on_loop = target.model.on_loop
        arrived = time.perf_counter()
        if on_loop.may_go_on():
            self._answer(cycle, target, arrived)
        else:
            on_loop.call(partial(self._answer, cycle, target, arrived))

    def _answer(self, cycle: RequestResponseCycle, target: Target, arrived: float) -> None:
        """Answer a request whose body is there, or start its task."""
        if cycle.disconnected or self.transport.is_closing():
            return
        scope = _scope(cycle)
        # while a body was on its way, its model may have been unloaded
        if (
            not target.model.ready
            or self.flow.write_paused
            or not self._answer_soon(
                cycle, target, read_headers(scope["headers"]), bytes(cycle.body), scope, arrived
            )
        ):
            super()._start_asgi_task(cycle, self.app)
        else:
            self._prompt = cycle

    def _answer_soon(
        self,
        cycle: RequestResponseCycle,
        target: Target,
        headers: BodyHeaders,
        body: bytes,
        scope: Any,
        arrived: float,
    ) -> bool:
        try:
            return self.fast_lane.answer_soon(
                target,
                headers,
                body,
                scope,
                partial(self._write, cycle),
                arrived=arrived,
                alone=len(self.connections) == 1,
            )
        except Exception:  # noqa: BLE001 - the parser would take it for a mistake of the client
            logger.exception("model %s: an unexpected error", target.model.name)
            return bool(cycle.response_complete)

    def _start_waiting(self) -> None:
        assert self._waiting is not None
        cycle, self._waiting = self._waiting[0], None
        super()._start_asgi_task(cycle, self.app)

    def _write(self, cycle: RequestResponseCycle, answer: Answer) -> None:
        """Send an answer, as uvicorn's own cycle would."""
        if cycle.disconnected or self.transport.is_closing():
            return
        headers = [
            name + b": " + value for name, value in (*cycle.default_headers, *answer.headers)
        ]
        parts = [STATUS_LINE[answer.status], b"\r\n".join(headers), b"\r\n", answer.lines]
        if not cycle.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", answer.content)
        # uvloop would send it at the end of the turn; that is better for who writes in pieces
        self.transport.set_write_buffer_limits(high=0)
        self.transport.write(b"".join(parts))
        self.transport.set_write_buffer_limits()
        cycle.response_started = cycle.response_complete = True
        if not cycle.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _scope(cycle: RequestResponseCycle) -> Any:
    """A cycle's ASGI scope, which the lane takes as ASGI applications do: as a dictionary."""
    return cycle.scope
