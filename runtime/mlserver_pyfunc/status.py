"""The one table from our errors to the statuses of MLServer, and so of HTTP and gRPC."""

from __future__ import annotations

import grpc
from mlserver.errors import MLServerError, ModelNotFound

from pyfunc_packaging.errors import (
    ClientGone,
    InvalidRequest,
    ModelFailure,
    NotAnswered,
    PredictTimeout,
    PyFuncError,
    RequestTooLarge,
    UnsuitableData,
)

#: What a client is told of our own fault.
FAULT = "an internal error; the server's log has it"

#: What MLServer's own table of gRPC statuses lacks; it knows 400, 404, 422 and 500.
GRPC_STATUSES = {
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

#: First match wins. Nobody sees the 499 but metrics and logs.
_STATUSES: tuple[tuple[type[PyFuncError], int], ...] = (
    (RequestTooLarge, 413),
    (InvalidRequest, 400),
    (UnsuitableData, 400),
    (ClientGone, 499),
    (PredictTimeout, 504),
    (NotAnswered, 503),
    (ModelFailure, 500),
    (PyFuncError, 500),
)


def to_mlserver_error(error: PyFuncError) -> MLServerError:
    """The MLServer error with the same message and the right status.

    Parameters
    ----------
    error : PyFuncError

    Returns
    -------
    mlserver.errors.MLServerError

    Examples
    --------
    >>> to_mlserver_error(InvalidRequest("input 'x': missing")).status_code
    400
    """
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    answer = MLServerError(str(error), status)
    answer.__cause__ = error  # says why to the metrics
    return answer


def not_found(name: str, version: str | None = None) -> ModelNotFound:
    r"""There is no such model; its name is repeated as one line that fits into logs and metadata.

    Parameters
    ----------
    name : str
        Which may be anything of any length.
    version : str, optional

    Examples
    --------
    >>> str(not_found("a\nb"))
    'Model a\\nb not found'
    """
    return ModelNotFound(_show(name), _show(version) if version else None)


def _show(text: str) -> str:
    shown = text if text.isprintable() else repr(text[:_MAX_NAME])[1:-1]
    return shown if len(shown) <= _MAX_NAME else f"{shown[:_MAX_NAME]}…"


#: Characters of a name that are repeated.
_MAX_NAME = 200
