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
from random import getrandbits
from typing import Any

from mlserver import Settings
from mlserver.errors import MLServerError, ModelNotFound, ModelNotReady
from mlserver.handlers import DataPlane
from mlserver.logging import logger
from mlserver.types import InferenceResponse
from mlserver.utils import extract_headers
from starlette_exporter import PrometheusMiddleware

from mlserver_pyfunc.bodies import (
    BodyHeaders,
    Message,
    Receive,
    is_complete,
    join,
    parse_body,
    read_headers,
    read_limit,
    receive_messages,
)
from mlserver_pyfunc.encode import Encoded
from mlserver_pyfunc.envelope import Envelope, read_envelope
from mlserver_pyfunc.executor import CLIENT
from mlserver_pyfunc.headers import HEADER_VALUE, encode_headers
from mlserver_pyfunc.model import PyFuncRuntime
from mlserver_pyfunc.responses import Answer, Header, make_answer, make_error
from mlserver_pyfunc.status import FAULT, to_mlserver_error
from pyfunc_packaging.errors import InvalidArgument, InvalidRequest, NotAnswered

#: ``off`` sends every request MLServer's ordinary way.
VARIABLE = "PYFUNC_FAST_LANE"

#: Bodies up to this size are parsed on the event loop, in well under a millisecond.
_SMALL_BODY = 256 * 1024

_PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer")
#: As MLServer's metrics call the two routes.
_ROUTE = "/v2/models/{model_name}/infer"
_VERSION_ROUTE = "/v2/models/{model_name}/versions/{model_version}/infer"

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
        self._data_plane = data_plane
        self._registry = data_plane._model_registry
        self._gzip = settings.gzip_enabled
        self._limit = read_limit()
        self._http = _HTTPMetrics(app, settings) if settings.metrics_endpoint else None
        self._targets: dict[tuple[str, str | None], _Target] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        target = await self._find_target(scope)
        if target is None:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        if self._http is not None:
            self._http.in_progress.inc()
        try:
            headers = read_headers(scope["headers"])
            messages = await receive_messages(receive, self._limit)
            CLIENT.set(receive)
            envelope = await self._read(target.model, messages, headers)
            if isinstance(envelope, NotAnswered):
                status = await target.refuse(envelope, send)
            elif envelope is not None:
                compress = headers.accepts_gzip if self._gzip else None
                status = await target.answer(envelope, compress, send)
        finally:
            if self._http is not None:
                self._http.in_progress.dec()
        if envelope is None:
            await self._app(scope, _replay(messages, receive), send)
        elif self._http is not None:
            self._http.observe(target.route, status, time.perf_counter() - began)

    async def _read(
        self, model: PyFuncRuntime, messages: Sequence[Message], headers: BodyHeaders
    ) -> Envelope | NotAnswered | None:
        """Read a body; None where it breaks off, or the ordinary way has to explain a mistake."""
        if not is_complete(messages):
            return None
        body = join(messages)

        def work() -> Envelope | None:
            return read_envelope(parse_body(body, headers, self._limit), model.plain)

        try:
            return work() if len(body) <= _SMALL_BODY else await model.in_thread(work)
        except (InvalidRequest, ModelNotReady):
            return None
        except NotAnswered as error:
            return error

    async def _find_target(self, scope: Scope) -> _Target | None:
        """The model that an inference request is for, if it is ready and of ours."""
        if scope["type"] != "http" or scope["method"] != "POST":
            return None
        path = _PATH.fullmatch(scope["path"])
        if path is None:
            return None
        name, version = path.groups()
        try:
            model = await self._registry.get_model(name, version)
        except ModelNotFound:
            return None
        if not isinstance(model, PyFuncRuntime) or not model.ready:
            return None
        target = self._targets.get((name, version))
        if target is None or target.model is not model:  # not known yet, or loaded again since
            target = _Target(model, name, version, self._data_plane)
            self._targets[name, version] = target
        return target


class _Target:
    """One model under one URL: what stays the same from answer to answer."""

    def __init__(
        self, model: PyFuncRuntime, name: str, version: str | None, data_plane: DataPlane
    ) -> None:
        self.model = model
        version_field = {} if model.version is None else {"model_version": model.version}
        self._head = {"model_name": model.name, **version_field}
        self.route = _ROUTE if version is None else _VERSION_ROUTE
        labels = {"model": name, "version": version}
        self._success = data_plane._ModelInferRequestSuccess.labels(**labels)
        self._failure = data_plane._ModelInferRequestFailure.labels(**labels)
        self._duration = data_plane._ModelInferRequestDuration.labels(**labels)
        # what MLServer's middleware says of every response, but for the request's id
        response = InferenceResponse(model_name=model.name, id=_SOME_ID, outputs=[])
        data_plane._inference_middleware.response_middleware(response, model.settings)
        self._headers = [
            (name, None if value == _SOME_ID.encode() else value)
            for name, value in encode_headers(extract_headers(response))
        ]

    def _headers_for(self, identity: str) -> list[Header]:
        if HEADER_VALUE.fullmatch(identity) is None:
            return [(name, value) for name, value in self._headers if value is not None]
        own = identity.encode("latin-1")
        return [(name, own if value is None else value) for name, value in self._headers]

    async def answer(self, envelope: Envelope, compress: bool | None, send: Send) -> int:
        """Answer a request and count it; the status of the answer."""
        identity = _make_id() if envelope.id is None else envelope.id

        def render(outputs: Sequence[Encoded]) -> Answer:
            head = {**self._head, "id": identity, "parameters": {}}
            return make_answer(head, outputs, envelope.wishes, compress=compress)

        began = time.perf_counter()
        try:
            answer = await self.model.infer(
                envelope.inputs, envelope.outputs, envelope.parameters, render
            )
            answer.headers += self._headers_for(identity)
            self._success.inc()
        except MLServerError as error:
            self._failure.inc()
            answer = make_error(str(error), error.status_code)
        except Exception:  # noqa: BLE001 - our own fault: the log gets the traceback
            self._failure.inc()
            logger.exception("model %s: an unexpected error", self.model.name)
            answer = make_error(FAULT, 500)
        finally:
            self._duration.observe(time.perf_counter() - began)
        return await _send(answer, send)

    async def refuse(self, error: NotAnswered, send: Send) -> int:
        """Say why a request is not answered, and count it; the status of the answer."""
        self._failure.inc()
        self._duration.observe(0)
        refusal = to_mlserver_error(error)
        return await _send(make_error(str(refusal), refusal.status_code), send)


async def _send(answer: Answer, send: Send) -> int:
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": answer.headers,
        }
    )
    await send({"type": "http.response.body", "body": answer.content})
    return answer.status


#: Stands for the request's id while the headers that repeat it are looked for.
_SOME_ID = "some-id"


def _make_id() -> str:
    """A random UUID (RFC 9562, version 4); ``uuid.uuid4`` takes five times as long."""
    digits = f"{getrandbits(128):032x}"
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


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

    def observe(self, route: str, status: int, seconds: float) -> None:
        if (route, status) not in self._children:
            labels = ("POST", route, status, "mlserver")
            self._children[route, status] = (
                self._count.labels(*labels),
                self._time.labels(*labels),
            )
        count, duration = self._children[route, status]
        count.inc()
        duration.observe(seconds)


def _replay(messages: Sequence[Message], receive: Receive) -> Receive:
    """What was received, once more, and then what comes."""
    waiting = deque(messages)

    async def receive_again() -> Message:
        return waiting.popleft() if waiting else await receive()

    return receive_again
