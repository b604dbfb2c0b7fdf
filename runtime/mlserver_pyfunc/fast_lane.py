"""The short way from an HTTP request to its answer, in front of MLServer's own application.

MLServer's routing, validation and metrics cost about a millisecond a request, several times what a
compiled model needs. Here, a request for a model of ours is read once, answered by the same
decoder, engine and encoder, and counted in the same metrics. Everything else (another path, a body
with a mistake, a model that is not ready) goes to MLServer's application as if it had come there
first.
"""

from __future__ import annotations

import os
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

from mlserver import Settings
from mlserver.errors import ModelNotReady
from mlserver.handlers import DataPlane
from starlette_exporter import PrometheusMiddleware

from mlserver_pyfunc.bodies import (
    BodyHeaders,
    Message,
    Receive,
    is_complete,
    is_small,
    join,
    read_headers,
    read_limit,
    receive_messages,
)
from mlserver_pyfunc.counts import Times
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.envelope import Envelope, read_request
from mlserver_pyfunc.executor import CLIENT
from mlserver_pyfunc.logs import REQUEST_ID
from mlserver_pyfunc.plain import Decoded
from mlserver_pyfunc.responses import Answer, make_answer, make_error
from mlserver_pyfunc.status import to_mlserver_error
from mlserver_pyfunc.target import Target, Targets, make_id
from mlserver_pyfunc.turn import Turn, Waiting
from pyfunc_packaging.errors import InvalidArgument, InvalidRequest, NotAnswered

#: ``off`` sends every request MLServer's ordinary way.
VARIABLE = "PYFUNC_FAST_LANE"

_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
#: As MLServer's metrics call the two routes.
_ROUTE = "/v2/models/{model_name}/infer"
_VERSION_ROUTE = "/v2/models/{model_name}/versions/{model_version}/infer"

#: Where a scope keeps a request that was read before it was clear that it has to wait.
_READ = "mlserver_pyfunc.envelope"

Scope = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]


def is_wanted(settings: Settings) -> bool:
    """Whether requests may take the fast lane under these settings.

    Parameters
    ----------
    settings : mlserver.Settings
        Tracing, CORS, the response cache, a root path and debugging need MLServer's own way.

    Raises
    ------
    InvalidArgument
        If ``PYFUNC_FAST_LANE`` is neither ``on`` nor ``off``.
    """
    chosen = os.environ.get(VARIABLE) or "on"
    if chosen not in ("on", "off"):
        raise InvalidArgument(f"{VARIABLE} should be 'on' or 'off', found {chosen!r}")
    return chosen == "on" and not (
        settings.tracing_server
        or settings.cors_settings is not None
        or settings.cache_enabled
        or settings.root_path
        or settings.debug
    )


class FastLane:
    """An ASGI application in front of MLServer's.

    Parameters
    ----------
    app : ASGI application
        MLServer's own.
    data_plane : mlserver.handlers.DataPlane
    settings : mlserver.Settings
    """

    def __init__(self, app: Any, data_plane: DataPlane, settings: Settings) -> None:
        self._app = app
        self._gzip = settings.gzip_enabled
        self._limit = read_limit()
        self._http = _HTTPMetrics(app, settings) if settings.metrics_endpoint else None
        self._targets = Targets(data_plane)
        self._turn = Turn()
        self._paths: dict[str, tuple[str, str | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        target = self.find_target(scope) if scope["type"] == "http" else None
        if target is None:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        answer = None
        times = Times()
        if self._http is not None:
            self._http.in_progress.inc()
        try:
            headers = read_headers(scope["headers"])
            messages = await receive_messages(receive, self._limit)
            CLIENT.set(receive)
            arrived = time.perf_counter()
            envelope = await self._read(target, scope, messages, headers, times)
            if envelope is not None:
                compress = headers.accepts_gzip if self._gzip else None
                answer = (
                    make_error(*target.fail(to_mlserver_error(envelope), arrived))
                    if isinstance(envelope, NotAnswered)
                    else await _answer(target, envelope, compress, arrived, times)
                )
                await _send(answer, send)
        finally:
            if self._http is not None:
                self._http.in_progress.dec()
        if answer is None:
            await self._app(scope, _replay(messages, receive), send)
        elif self._http is not None:
            self._http.observe(target.version, answer.status, time.perf_counter() - began)

    def find_target(self, scope: Scope) -> Target | None:
        """The model that an inference request is for, if it is ready and of ours.

        Parameters
        ----------
        scope : dict
            Of an HTTP request, as ASGI has it.
        """
        return self.find_by_path(scope["path"]) if scope["method"] == "POST" else None

    def find_by_path(self, path: str) -> Target | None:
        """The same for the path of a POST request."""
        found = self._paths.get(path)
        if found is None:
            parts = _PATH.fullmatch(path)
            if parts is None:
                return None
            found = parts[1], parts[2]
        target = self._targets.find(*found)
        if target is not None and len(self._paths) < _MAX_PATHS:
            self._paths[path] = found
        return target

    def answer_soon(
        self,
        target: Target,
        headers: BodyHeaders,
        body: bytes,
        scope: Scope,
        deliver: Callable[[Answer], None],
        *,
        arrived: float,
        alone: bool,
    ) -> bool:
        """Answer a request within this turn of the event loop, if that can be.

        Parameters
        ----------
        target : Target
            What `find_target` says.
        headers : BodyHeaders
        body : bytes
            All of it.
        scope : dict
            Of the request: keeps what was read, for the application.
        deliver : callable
            Gets the answer, now or when all that has arrived has been read.
        arrived : float
            When it was there, by :func:`time.perf_counter`.
        alone : bool
            Whether nobody else can have sent anything.

        Returns
        -------
        bool
            Whether it will be answered; otherwise the application has to be called.
        """
        if not is_small(body, headers):
            return False
        times = Times()
        envelope = self._read_now(target, body, headers, times)
        if envelope is None or not target.model.is_small(envelope.inputs):
            scope[_READ] = target.model, envelope, times  # for the application
            return False
        compress = headers.accepts_gzip if self._gzip else None

        def finish(outputs: Sequence[Encoded] | None) -> None:
            answer = _answer_now(target, envelope, compress, outputs, arrived, times)
            seconds = time.perf_counter() - arrived
            deliver(answer)
            target.model.afterwards.call(self._count, target, answer, seconds, times)

        if not alone and isinstance(envelope.inputs, Decoded):
            self._turn.add(Waiting(target.model, envelope.inputs, finish, times))
        else:
            finish(None)
        return True

    def _read_now(
        self, target: Target, body: bytes, headers: BodyHeaders, times: Times
    ) -> Envelope | None:
        """Read a small body on the event loop; None where the ordinary way has to explain."""
        try:
            return self._read_body(target, body, headers, times)
        except InvalidRequest:
            return None
        finally:
            target.model.on_loop.add(times.decode)

    def _read_body(
        self, target: Target, body: bytes, headers: BodyHeaders, times: Times
    ) -> Envelope | None:
        began = time.perf_counter()
        try:
            return read_request(body, headers, self._limit, target.model.plain)
        finally:
            times.decode = time.perf_counter() - began

    def _count(self, target: Target, answer: Answer, seconds: float, times: Times) -> None:
        """Count an answer that was given at once; failures are counted where they are."""
        if answer.status == _OK:
            target.succeed(seconds, times)
        if self._http is not None:
            self._http.observe(target.version, answer.status, seconds)

    async def _read(
        self,
        target: Target,
        scope: Scope,
        messages: Sequence[Message],
        headers: BodyHeaders,
        times: Times,
    ) -> Envelope | NotAnswered | None:
        """Read a body; None where it breaks off, or the ordinary way has to explain a mistake."""
        if not is_complete(messages):
            return None
        if _READ in scope:
            model, envelope, read_times = scope[_READ]
            if model is target.model:  # and no other one that took its place meanwhile
                times.decode = read_times.decode
                return cast("Envelope | None", envelope)
        body = join(messages)
        if is_small(body, headers):
            await target.model.on_loop.wait()
            return self._read_now(target, body, headers, times)
        try:
            return await target.model.in_thread(
                lambda: self._read_body(target, body, headers, times)
            )
        except (InvalidRequest, ModelNotReady):
            return None
        except NotAnswered as error:
            return error


#: Paths that are remembered; a server has few models.
_MAX_PATHS = 100
_OK = 200


async def _answer(
    target: Target, envelope: Envelope, compress: bool | None, began: float, times: Times
) -> Answer:
    """Answer a request and count it."""
    identity = make_id() if envelope.id is None else envelope.id
    REQUEST_ID.set(identity)

    def render(outputs: Sequence[Encoded]) -> Answer:
        return make_answer(target.head(identity), outputs, envelope.wishes, compress=compress)

    try:
        answer = await target.model.infer(
            envelope.inputs, envelope.outputs, envelope.parameters, render, times
        )
    except Exception as error:  # noqa: BLE001 - our own fault too: the log gets the traceback
        return make_error(*target.fail(error, began))
    target.succeed(time.perf_counter() - began, times)
    answer.headers += target.headers(identity)
    return answer


def _answer_now(
    target: Target,
    envelope: Envelope,
    compress: bool | None,
    outputs: Sequence[Encoded] | None,
    began: float,
    times: Times,
) -> Answer:
    """The same at once, for a request that is prompt; with its outputs if they are known.

    Only a failure is counted.
    """
    identity = make_id() if envelope.id is None else envelope.id
    token = REQUEST_ID.set(identity)  # in the context of the connection, which has other requests
    try:
        if outputs is None:
            outputs = target.model.infer_now(
                envelope.inputs, envelope.outputs, envelope.parameters, times
            )
        predicted = time.perf_counter()
        answer = make_answer(target.head(identity), outputs, envelope.wishes, compress=compress)
        times.encode += time.perf_counter() - predicted
    except Exception as error:  # noqa: BLE001 - our own fault too: the log gets the traceback
        return make_error(*target.fail(error, began))
    finally:
        REQUEST_ID.reset(token)
    answer.lines = target.lines(identity)
    return answer


async def _send(answer: Answer, send: Send) -> None:
    start = {"type": "http.response.start", "status": answer.status, "headers": answer.headers}
    await send(start)
    await send({"type": "http.response.body", "body": answer.content})


class _HTTPMetrics:
    """The metrics of MLServer's HTTP middleware, which requests of the fast lane do not pass."""

    def __init__(self, app: Any, settings: Settings) -> None:
        # only for the metrics that all its objects share
        metrics = PrometheusMiddleware(
            app, app_name="mlserver", prefix=settings.metrics_rest_server_prefix
        )
        self.in_progress = metrics.requests_in_progress.labels("POST", "mlserver")
        self._count, self._time = metrics.request_count, metrics.request_time
        self._children: dict[tuple[str, int], tuple[Any, Any]] = {}

    def observe(self, version: str | None, status: int, seconds: float) -> None:
        route = _ROUTE if version is None else _VERSION_ROUTE
        found = self._children.get((route, status))
        if found is None:
            labels = ("POST", route, status, "mlserver")
            found = self._count.labels(*labels), self._time.labels(*labels)
            self._children[route, status] = found
        count, duration = found
        count.inc()
        duration.observe(seconds)


def _replay(messages: Sequence[Message], receive: Receive) -> Receive:
    """What was received, once more, and then what comes."""
    waiting = deque(messages)

    async def receive_again() -> Message:
        return waiting.popleft() if waiting else await receive()

    return receive_again
