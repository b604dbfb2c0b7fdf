"""The one table from our errors to the statuses of MLServer, and so of HTTP and gRPC."""

from __future__ import annotations

from mlserver.errors import MLServerError

from pyfunc_packaging.errors import (
    InvalidRequest,
    ModelFailure,
    PyFuncError,
    RequestTooLarge,
    UnsuitableData,
)

#: What a client is told of our own fault.
FAULT = "an internal error; the server's log has it"

#: First match wins. MLServer's gRPC side turns 400 into INVALID_ARGUMENT and 500 into INTERNAL.
_STATUSES: tuple[tuple[type[PyFuncError], int], ...] = (
    (RequestTooLarge, 413),
    (InvalidRequest, 400),
    (UnsuitableData, 400),
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
    return MLServerError(str(error), status)
