"""Inference parameters of an MLflow model, from the request's ``parameters``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import Param

#: Parameters of the protocol, its extensions and common clients; no model's business.
_PROTOCOL = frozenset(
    {
        "binary_data_output",
        "binary_data_size",
        "content_type",
        "headers",
        "priority",
        "sequence_end",
        "sequence_id",
        "sequence_start",
        "timeout",
    }
)
_KINDS: Mapping[str, tuple[type, ...]] = {
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "string": (str,),
    "datetime": (str,),
}
_LIMITS = {"integer": 2**31, "long": 2**63}


def read_extras(parameters: Any) -> Mapping[str, Any]:
    """Parameters of a request or an output, without those that MLServer's types name.

    Parameters
    ----------
    parameters : mlserver.types.Parameters or None

    Returns
    -------
    mapping
    """
    return (parameters.model_extra or {}) if parameters is not None else {}


def read_params(known: Sequence[Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """Check a request's parameters against the model's.

    Parameters
    ----------
    known : sequence of Param
        Those of the signature; a model without any lets every parameter pass, unused.
    given : mapping

    Returns
    -------
    dict
        The model's parameters that the request sets.

    Raises
    ------
    InvalidRequest
        If one is unknown or of another type.

    Examples
    --------
    >>> read_params([Param("temperature", "double", 1.0)], {"temperature": 0.5})
    {'temperature': 0.5}
    """
    if not known:
        return {}
    by_name = {param.name: param for param in known}
    result = {}
    for name, value in given.items():
        if name in by_name:
            result[name] = _read(by_name[name], value)
        elif name not in _PROTOCOL:
            raise InvalidRequest(
                f"parameter {name!r:.80}: unknown; the model takes {', '.join(by_name)}"
            )
    return result


def _read(param: Param, value: Any) -> Any:
    values = value if param.shape is not None and isinstance(value, list) else [value]
    if param.shape is not None and not isinstance(value, list):
        raise InvalidRequest(f"parameter {param.name!r}: expected a list of {param.type}")
    for cell in values:
        kinds = _KINDS.get(param.type, (object,))
        fits = isinstance(cell, kinds) and (bool in kinds or not isinstance(cell, bool))
        limit = _LIMITS.get(param.type)
        if not fits or (limit is not None and not -limit <= cell < limit):
            raise InvalidRequest(
                f"parameter {param.name!r}: expected {param.type}, got something else"
            )
    return value
