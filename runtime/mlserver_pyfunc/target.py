"""What inference requests are for: a model under a name, and how MLServer counts its answers."""

from __future__ import annotations

import time
from random import getrandbits
from typing import Any

from mlserver.context import model_context
from mlserver.errors import MLServerError
from mlserver.handlers import DataPlane
from mlserver.logging import logger
from mlserver.types import InferenceResponse
from mlserver.utils import extract_headers

from mlserver_pyfunc.counts import Times
from mlserver_pyfunc.headers import HEADER_VALUE, encode_headers
from mlserver_pyfunc.model import PyFuncRuntime
from mlserver_pyfunc.responses import Header
from mlserver_pyfunc.status import FAULT


class Target:
    """One model under one name and version: what stays the same from answer to answer.

    Parameters
    ----------
    model : PyFuncRuntime
    name : str
        As the request says.
    version : str or None
    data_plane : mlserver.handlers.DataPlane
        Whose metrics count.
    """

    def __init__(
        self, model: PyFuncRuntime, name: str, version: str | None, data_plane: DataPlane
    ) -> None:
        self.model = model
        self.version = version
        version_field = {} if model.version is None else {"model_version": model.version}
        self._head = {"model_name": model.name, **version_field}
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

        # the identity goes between the parts
        self._lines = b"".join(
            b"%s: %s\r\n" % (name, b"\0" if value is None else value)
            for name, value in self._headers
        ).split(b"\0")

    def head(self, identity: str) -> dict[str, Any]:
        """What stands before the outputs of an answer."""
        return {**self._head, "id": identity, "parameters": {}}

    def headers(self, identity: str) -> list[Header]:
        """Headers, or gRPC metadata, of an answer."""
        if HEADER_VALUE.fullmatch(identity) is None:
            return [(name, value) for name, value in self._headers if value is not None]
        own = identity.encode("latin-1")
        return [(name, own if value is None else value) for name, value in self._headers]

    def lines(self, identity: str) -> bytes:
        """The same headers as they go over the wire, for an answer that is written here."""
        if HEADER_VALUE.fullmatch(identity) is None:
            return b"".join(
                b"%s: %s\r\n" % header for header in self._headers if header[1] is not None
            )
        return identity.encode("latin-1").join(self._lines)

    def succeed(self, seconds: float, times: Times) -> None:
        """Count an answer.

        Parameters
        ----------
        seconds : float
            From when the request was there to when its answer was.
        times : Times
        """
        self._success.inc()
        self._duration.observe(seconds)
        self.model.counts.answer(times, seconds)

    def count_failure(self, error: Exception, began: float) -> None:
        """Count a request that got no answer.

        Parameters
        ----------
        error : Exception
            Why not.
        began : float
            When the request was there.
        """
        self._failure.inc()
        self._duration.observe(time.perf_counter() - began)
        self.model.counts.refuse(error)

    def fail(self, error: Exception, began: float) -> tuple[str, int]:
        """Count a failure, and log it where it is our own.

        Returns
        -------
        tuple
            The message for the client, and the status of HTTP.
        """
        self.count_failure(error, began)
        if isinstance(error, MLServerError):
            return str(error), error.status_code
        with model_context(self.model.settings):
            logger.error("model %s: an unexpected error", self.model.name, exc_info=error)
        return FAULT, 500


class Targets:
    """The models of a server, by name and version.

    Parameters
    ----------
    data_plane : mlserver.handlers.DataPlane
    """

    def __init__(self, data_plane: DataPlane) -> None:
        self._data_plane = data_plane
        self._models = data_plane._model_registry._models
        self._known: dict[tuple[str, str | None], Target] = {}

    def find(self, name: str, version: str | None) -> Target | None:
        """The model that MLServer would ask, if it is ready and of ours."""
        versions = self._models.get(name)
        # as MLServer's own get_model, which is a coroutine without need
        model = None if versions is None else versions._find_model(version)
        if not isinstance(model, PyFuncRuntime) or not model.ready:
            return None
        target = self._known.get((name, version))
        if target is None or target.model is not model:  # not known yet, or loaded again since
            target = Target(model, name, version, self._data_plane)
            self._known[name, version] = target
        return target

    def refuse(self, name: str, version: str | None, error: Exception) -> None:
        """Count a request that is refused before its model gets it, if there is such a model."""
        target = self.find(name, version)
        if target is not None:
            target.model.counts.refuse(error)


#: Stands for the request's id while the headers that repeat it are looked for.
_SOME_ID = "some-id"


def make_id() -> str:
    """A random UUID (RFC 9562, version 4); ``uuid.uuid4`` takes five times as long.

    Examples
    --------
    >>> import uuid
    >>> uuid.UUID(make_id()).version
    4
    """
    digits = getrandbits(128).to_bytes(16, "big").hex()
    variant = _VARIANT[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"


#: The first two bits of this digit are 10.
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
