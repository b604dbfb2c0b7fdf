"""MLServer's gRPC server, with a fast lane, and requests checked before they are unpacked.

A stream is a series of requests, each answered by itself. MLServer's own would answer all of them
by the model of the first, under the id of the first, and leaves tracebacks when its client goes.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from mlserver.errors import MLServerError, ModelNotFound
from mlserver.grpc import GRPCServer
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter, ModelInferResponseConverter
from mlserver.grpc.logging import logger
from mlserver.grpc.utils import STATUS_CODE_MAPPING
from mlserver.types import InferenceRequest
from mlserver.utils import insert_headers

from mlserver_pyfunc.fast_lane import is_wanted
from mlserver_pyfunc.grpc_lane import GRPCLane
from mlserver_pyfunc.lingering import SHUTDOWN_SECONDS
from mlserver_pyfunc.raw import check_request
from mlserver_pyfunc.status import FAULT, GRPC_STATUSES, to_mlserver_error
from mlserver_pyfunc.target import Targets
from pyfunc_packaging.errors import InvalidRequest, ModelFailure, PyFuncError

#: Bytes of a refusal's text. It travels as metadata, in which a byte may take three, and of which
#: clients take 8 KiB: one that gets more sees another status.
_MAX_DETAILS = 2000

#: Bytes of a message that is unpacked in a thread: it would hold up the event loop, and the probes
#: with it, for several milliseconds.
_LARGE = 64 * 1024


class PyFuncGRPCServer(GRPCServer):  # type: ignore[misc]  # MLServer is not typed
    """Answers inference requests and streams of them; the rest is MLServer's."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._lane = GRPCLane(self._data_plane) if is_wanted(self._settings) else None
        self._targets = Targets(self._data_plane)
        #: Unpacks large messages, one after the other.
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="grpc-reader")

    def _create_server(self) -> Any:
        STATUS_CODE_MAPPING.update(GRPC_STATUSES)  # MLServer would call them all UNKNOWN
        server = super()._create_server()
        one, many = grpc.unary_unary_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        methods = {
            "ModelInfer": (one, self._model_infer, pb.ModelInferRequest),
            "ModelStreamInfer": (many, self._model_stream_infer, pb.ModelInferRequest),
            "ModelReady": (one, self._model_ready, pb.ModelReadyRequest),
            "RepositoryIndex": (one, self._repository_index, pb.RepositoryIndexRequest),
        }
        # Registered methods win over the generic handlers that MLServer added
        server.add_registered_method_handlers(
            "inference.GRPCInferenceService",
            {
                # an answer knows how to write itself
                name: handler(method, kind.FromString, lambda answer: answer.SerializeToString())
                for name, (handler, method, kind) in methods.items()
            },
        )
        return server

    def _get_options(self) -> list[tuple[str, Any]]:
        """The limit is for what clients send; what was predicted for that is not withheld."""
        options = dict(super()._get_options())
        return list({**options, "grpc.max_send_message_length": -1}.items())

    async def stop(self, sig: int | None = None) -> None:
        """Take no new calls, and give those under way the time that HTTP requests get."""
        logger.info("Waiting for gRPC server shutdown")
        await self._server.stop(grace=None if sig == signal.SIGINT else SHUTDOWN_SECONDS)
        logger.info("gRPC server shutdown complete")

    async def _model_infer(self, request: pb.ModelInferRequest, context: Any) -> Any:
        """Answer a request, or end the call with a status that says why not."""
        try:
            response = None if self._lane is None else self._lane.answer(request, context)
            return await self._answer(request, context) if response is None else response
        except MLServerError as error:
            await _refuse(context, error)
        except Exception:  # noqa: BLE001 - our own fault: nobody else would log it
            logger.exception("model %r: an unexpected error", request.model_name[:80])
            await context.abort(grpc.StatusCode.INTERNAL, FAULT)

    async def _model_stream_infer(self, requests: AsyncIterator[Any], context: Any) -> Any:
        empty = True
        async for request in requests:
            empty = False
            yield await self._model_infer(request, context)
        if empty:
            error = InvalidRequest("expected a request, the stream has none")
            await _refuse(context, to_mlserver_error(error))

    async def _answer(self, request: pb.ModelInferRequest, context: Any) -> Any:
        """Answer through MLServer's types and its data plane, as its own servicer does.

        Raises
        ------
        mlserver.errors.MLServerError
            If the request is refused.
        """
        large = request.ByteSize() > _LARGE
        try:
            payload = await self._call(_read, request, large=large)
        except PyFuncError as error:
            self._targets.refuse(request.model_name, request.model_version, error)
            raise to_mlserver_error(error) from error
        insert_headers(payload, dict(context.invocation_metadata()))
        result = await self._data_plane.infer(
            payload=payload, name=request.model_name, version=request.model_version
        )
        self._inference_servicer._SetTrailingMetadata(result, context)
        raw = bool(request.raw_input_contents)
        return await self._call(
            ModelInferResponseConverter.from_types, result, large=large, use_raw=raw
        )

    async def _call(
        self, function: Callable[..., Any], *given: Any, large: bool, **more: Any
    ) -> Any:
        """Call a function, in a thread if what it is given is large."""
        if not large:
            return function(*given, **more)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._reader, partial(function, *given, **more))

    async def _model_ready(self, request: pb.ModelReadyRequest, context: Any) -> Any:
        try:
            return await self._inference_servicer.ModelReady(request, context)
        except ModelNotFound as error:
            await _refuse(context, error)

    async def _repository_index(self, request: pb.RepositoryIndexRequest, context: Any) -> Any:
        response = await self._inference_servicer.RepositoryIndex(request, context)
        for item in response.models:
            item.state = item.state.removeprefix("State.")  # MLServer says how Python prints it
        return response


def _read(request: pb.ModelInferRequest) -> InferenceRequest:
    """A request in MLServer's types.

    Raises
    ------
    PyFuncError
        If it is none.
    """
    check_request(request)
    return ModelInferRequestConverter.to_types(request)


async def _refuse(context: Any, error: MLServerError) -> None:
    """End a call; a model that failed has been logged with its traceback where that was seen."""
    if error.status_code != 500:
        logger.info("%s", error)
    elif not isinstance(error.__cause__, ModelFailure):
        logger.error("%s", error, exc_info=error)
    status = STATUS_CODE_MAPPING.get(error.status_code, grpc.StatusCode.UNKNOWN)
    details = str(error).encode()
    if len(details) > _MAX_DETAILS:
        details = details[:_MAX_DETAILS] + "…".encode()
    await context.abort(status, details.decode(errors="ignore"))
