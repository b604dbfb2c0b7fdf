"""MLServer, started for one model: ready only when it is, and failing where people see it.

MLServer itself answers ready before any model is registered, exits 0 when a model does not load,
and explains a malformed body in FastAPI's format. The two seams it leaves (``_create_servers`` and
the servers' own methods) are enough to mend that.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from mlserver import MLServer, ModelSettings, Settings
from mlserver.errors import InvalidModelURI, MLServerError, ModelNotFound
from mlserver.grpc.logging import logger as grpc_logger
from mlserver.handlers import DataPlane, ModelRepositoryHandlers
from mlserver.logging import logger
from mlserver.metrics import server as metrics_server
from mlserver.middleware import InferenceMiddlewares
from mlserver.registry import MultiModelRegistry
from mlserver.repository import ModelRepository
from mlserver.rest import RESTServer
from mlserver.rest import server as rest_server
from mlserver.rest.responses import Response
from mlserver.utils import install_uvloop_event_loop
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.routing import Route

from mlserver_pyfunc.bodies import read_limit
from mlserver_pyfunc.fast_lane import FastLane, is_wanted
from mlserver_pyfunc.grpc_server import PyFuncGRPCServer
from mlserver_pyfunc.headers import HeadersThatFit
from mlserver_pyfunc.infer_endpoint import InferEndpoint, find_place, to_response
from mlserver_pyfunc.lingering import SHUTDOWN_SECONDS, Lingering
from mlserver_pyfunc.model import PyFuncRuntime
from mlserver_pyfunc.prompt_protocol import make_protocol
from mlserver_pyfunc.protocol_routes import EXTENSIONS, ProtocolRoutes
from mlserver_pyfunc.responses import make_error
from mlserver_pyfunc.status import FAULT, not_found
from pyfunc_packaging.errors import PyFuncError

#: Exit statuses of the server process; documented in ``pyfunc serve --help``.
EXIT_LOAD_FAILED = 3

#: gRPC keeps the length of a message in 31 bits.
_MAX_MESSAGE = 2**31 - 1


class PyFuncServer(MLServer):  # type: ignore[misc]  # MLServer is not typed
    """MLServer that loads its models first and opens its ports when they are ready.

    Parameters
    ----------
    settings : mlserver.Settings
    """

    def __init__(self, settings: Settings) -> None:
        self._loading: asyncio.Future[Any] | None = None
        self._stopped = False
        settings.extensions = sorted({*settings.extensions, *EXTENSIONS})
        if settings.grpc_max_message_length is None:  # gRPC's own 4 MiB are few rows
            settings.grpc_max_message_length = min(read_limit(), _MAX_MESSAGE)
        super().__init__(settings)
        for each in (logger, grpc_logger):  # a logger's filter does not see its children's records
            each.addFilter(_without_client_tracebacks)

    def _create_model_registry(self) -> MultiModelRegistry:
        registry = super()._create_model_registry()
        find, find_versions = registry.get_model, registry._get_model_registry

        async def get_model(name: str, version: str | None = None) -> Any:
            try:
                return await find(name, version or None)  # gRPC says "" for none
            except ModelNotFound:
                raise not_found(name, version) from None

        def get_versions(name: str, version: str | None = None) -> Any:
            try:
                return find_versions(name, version)
            except ModelNotFound:
                raise not_found(name, version) from None

        registry.get_model = get_model
        registry._get_model_registry = get_versions
        return registry

    def _create_servers(self) -> None:
        super()._create_servers()
        # signals are for this class; MLServer says so in a way that uvicorn knows no longer
        for kind in (rest_server._NoSignalServer, metrics_server._NoSignalServer):
            kind.capture_signals = nullcontext
        self._rest_server = PyFuncRESTServer(
            self._settings, self._data_plane, self._model_repository_handlers
        )
        self._grpc_server = PyFuncGRPCServer(
            self._settings, self._data_plane, self._model_repository_handlers
        )
        # MLServer calls a server without models ready, and one whose predicts hang live
        self._data_plane.live = self._live
        self._data_plane.ready = self._ready
        self._data_plane.model_ready = self._model_ready
        self._data_plane.infer = self._infer
        self._model_repository_handlers.load = self._load_by_name
        self._data_plane._inference_middleware = InferenceMiddlewares(
            self._data_plane._inference_middleware, HeadersThatFit()
        )

    async def _live(self) -> bool:
        return all(_is_alive(model) for model in await self._model_registry.get_models())

    async def _ready(self) -> bool:
        models = list(await self._model_registry.get_models())
        return bool(models) and all(model.ready and _is_alive(model) for model in models)

    async def _model_ready(self, name: str, version: str | None = None) -> bool:
        model = await self._model_registry.get_model(name, version)
        return bool(model.ready) and _is_alive(model)

    async def _infer(self, payload: Any, name: str, version: str | None = None) -> Any:
        """MLServer's metrics would keep the name of every model that anybody ever asked for."""
        await self._model_registry.get_model(name, version)
        return await DataPlane.infer(self._data_plane, payload, name, version)

    async def _load_by_name(self, name: str) -> bool:
        """Load a model anew; where that fails, who asked is told why, and the old one goes on."""
        try:
            handlers = self._model_repository_handlers
            return bool(await ModelRepositoryHandlers.load(handlers, name))
        except PyFuncError as error:
            logger.error("cannot load: %s", error)
            raise MLServerError(f"cannot load: {error}", 400) from error

    async def start(self, models_settings: list[ModelSettings] | None = None) -> None:
        """Load the models, then serve until stopped.

        Raises
        ------
        Exception
            Whatever kept a model from loading; no port was opened then.
        """
        self._model_repository_handlers._repository = _StartedModels(models_settings or [])
        self._loading = asyncio.gather(
            *(self._model_registry.load(settings) for settings in models_settings or [])
        )
        try:
            await self._loading
        except asyncio.CancelledError:
            if self._stopped:
                return
            raise
        for model in models_settings or []:
            logger.info("to try %s in a browser: %s", model.name, self._page(model.name))
        servers = [self._rest_server.start(), self._grpc_server.start()]
        if self._metrics_server:
            servers.append(self._metrics_server.start())
        if self._kafka_server:
            servers.append(self._kafka_server.start())
        await asyncio.gather(*servers)

    def _page(self, name: str) -> str:
        host = self._settings.host
        # where every address is listened to, this machine's own is the one that a browser opens
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - compared only
        host = f"[{host}]" if ":" in host.strip("[]") and not host.startswith("[") else host
        return f"http://{host}:{self._settings.http_port}/v2/models/{name}/docs"

    async def stop(self, sig: int | None = None) -> None:
        """Stop serving, or stop loading; a second SIGINT waits for no client."""
        if self._stopped:
            if sig == signal.SIGINT:
                await asyncio.gather(self._rest_server.stop(sig), self._grpc_server.stop(sig))
            return
        self._stopped = True
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
            return
        # at once, not when gRPC is done; uvicorn takes every SIGINT after the first for impatience
        await self._rest_server.stop(signal.SIGTERM)
        await super().stop(signal.SIGTERM)


def _is_alive(model: Any) -> bool:
    return not isinstance(model, PyFuncRuntime) or model.alive


class _StartedModels(ModelRepository):  # type: ignore[misc]  # MLServer is not typed
    """The models that the server was started with: what the repository API lists and loads."""

    def __init__(self, models_settings: Sequence[ModelSettings]) -> None:
        self._models_settings = list(models_settings)

    async def list(self) -> Sequence[ModelSettings]:
        return self._models_settings

    async def find(self, name: str) -> Sequence[ModelSettings]:
        found = [settings for settings in self._models_settings if settings.name == name]
        if not found:
            raise not_found(name)
        return found


class PyFuncRESTServer(RESTServer):  # type: ignore[misc]  # MLServer is not typed
    """MLServer's REST server, with every refusal as ``{"error": …}``."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._has_fast_lane = is_wanted(self._settings)
        self._app.add_exception_handler(RequestValidationError, _explain_body)
        self._app.add_exception_handler(HTTPException, _explain_http)
        self._app.add_exception_handler(MLServerError, _explain_refusal)
        self._app.add_exception_handler(Exception, _admit_fault)
        endpoint = InferEndpoint(self._data_plane, self._settings)
        others = ProtocolRoutes(self._data_plane, self._model_repository_handlers)
        self._app.router.routes[:] = [
            _replace(route, endpoint, others)
            for route in self._app.router.routes
            # Server-sent events answer a client's mistake with a bare 500, and our models never
            # stream
            if not route.path.endswith("_stream")
        ]
        # our answers to inference requests are compressed as it pays, or not
        self._app.user_middleware[:] = [
            middleware
            for middleware in self._app.user_middleware
            if middleware.cls is not GZipMiddleware
        ]

    def _get_config(self) -> Any:
        config = super()._get_config()
        config.timeout_graceful_shutdown = SHUTDOWN_SECONDS
        config.http = Lingering
        if self._has_fast_lane:
            lane = FastLane(config.app, self._data_plane, self._settings)
            config.app = lane
            config.http = make_protocol(lane)
        return config


def _replace(route: Any, endpoint: InferEndpoint, others: ProtocolRoutes) -> Any:
    """MLServer's routes, with our endpoints where we have one."""
    if route.path.endswith("/infer"):
        return Route(route.path, endpoint.infer, methods=["POST"])
    found = others.find(route.path)
    return route if found is None else Route(route.path, found[0], methods=[found[1]])


async def _admit_fault(request: Request, error: Exception) -> Response:
    """Our own fault; the traceback goes to the log, as Starlette raises the error again."""
    return Response({"error": FAULT}, status_code=500)


async def _explain_refusal(request: Request, error: MLServerError) -> Any:
    return to_response(make_error(str(error), error.status_code))


async def _explain_http(request: Request, error: HTTPException) -> Response:
    detail = error.detail
    if error.status_code == 404:
        detail = f"there is no {request.url.path:.200}; this server speaks V2 only: /v2/…"
    return Response({"error": detail}, status_code=error.status_code, headers=error.headers)


async def _explain_body(request: Request, error: RequestValidationError) -> Response:
    first = error.errors()[0]
    message = f"{find_place(first['loc'][1:], error.body)}: {first['msg']}"
    return Response({"error": message}, status_code=400)


def _without_client_tracebacks(record: logging.LogRecord) -> bool:
    """Log filter: what is no fault of ours is one line, our own keeps its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, MLServerError) and error.status_code != 500:
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
    return True


def run(settings: Settings, models_settings: list[ModelSettings]) -> int:
    """Serve until a signal ends it.

    Parameters
    ----------
    settings : mlserver.Settings
    models_settings : list of mlserver.ModelSettings

    Returns
    -------
    int
        Exit status: 0 after a signal, 3 when a model did not load.
    """
    install_uvloop_event_loop()

    async def serve() -> None:
        await PyFuncServer(settings).start(models_settings)

    try:
        asyncio.run(serve())
    except (PyFuncError, InvalidModelURI) as error:
        logger.error("cannot serve: %s", error)
        return EXIT_LOAD_FAILED
    except Exception:  # noqa: BLE001 - our own fault, or a library's: the log gets the traceback
        logger.exception("cannot serve: an unexpected error")
        return EXIT_LOAD_FAILED
    return 0
