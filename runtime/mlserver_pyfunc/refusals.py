"""Why requests are refused, as the few words that metrics have for it.

A reason is a label of a metric: there are these and no others, and none comes from a request.
"""

from __future__ import annotations

from typing import ClassVar

from mlserver.errors import MLServerError, ModelNotReady

from pyfunc_packaging.errors import (
    ClientGone,
    InvalidRequest,
    ModelFailure,
    PredictTimeout,
    PyFuncError,
    RequestTooLarge,
    ServerBusy,
    UnsuitableData,
)


class MissingInput(InvalidRequest):
    """An input of the signature is not there."""

    reason: ClassVar[str] = "missing_input"


class UnknownInput(InvalidRequest):
    """There is an input that the signature does not have."""

    reason: ClassVar[str] = "unknown_input"


class WrongType(InvalidRequest):
    """A datatype, or a value of one, is not what the signature says."""

    reason: ClassVar[str] = "wrong_type"


class MissingValue(InvalidRequest):
    """A value is null where the model cannot handle that."""

    reason: ClassVar[str] = "missing_value"


class Ragged(InvalidRequest):
    """Shapes and data do not fit the signature, or one another."""

    reason: ClassVar[str] = "ragged"


class RefusedByModel(InvalidRequest):
    """The request fits the signature, and the model refuses its values."""

    reason: ClassVar[str] = "refused_value"


#: Everything that is no V2 request, or asks for outputs or parameters that there are not.
MALFORMED = "malformed"
#: A fault of the server itself, with its traceback in the log.
INTERNAL_ERROR = "internal_error"

#: First match wins, as in :mod:`mlserver_pyfunc.status`.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    *((kind, kind.reason) for kind in (MissingInput, UnknownInput, WrongType, MissingValue)),
    *((kind, kind.reason) for kind in (Ragged, RefusedByModel)),
    (RequestTooLarge, "too_large"),
    (InvalidRequest, MALFORMED),
    (UnsuitableData, RefusedByModel.reason),
    (ServerBusy, "queue_full"),
    (PredictTimeout, "timeout"),
    (ClientGone, "client_gone"),
    (ModelFailure, "model_error"),
    (ModelNotReady, "not_ready"),
    (Exception, INTERNAL_ERROR),
)

#: All of them.
REASONS = tuple(dict.fromkeys(reason for _, reason in _REASONS))

#: Those that no client can help: faults of the server or the model, or too much for them to do.
FAULTS = ("queue_full", "timeout", "model_error", "not_ready", INTERNAL_ERROR)


def find_reason(error: BaseException) -> str:
    """The reason that metrics give for an error.

    Parameters
    ----------
    error : BaseException
        Ours, or the one of MLServer that was made of it.

    Returns
    -------
    str
        One of `REASONS`.

    Examples
    --------
    >>> find_reason(Ragged("input 'x': …")), find_reason(ZeroDivisionError())
    ('ragged', 'internal_error')
    """
    if isinstance(error, MLServerError) and isinstance(error.__cause__, PyFuncError):
        error = error.__cause__
    if not isinstance(error, Exception):  # a cancelled call: gRPC's client has gone
        return "client_gone"
    return next(reason for kind, reason in _REASONS if isinstance(error, kind))
