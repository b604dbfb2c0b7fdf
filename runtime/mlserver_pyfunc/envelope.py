"""The JSON of an inference request, read without pydantic.

Only what needs no interpretation is read: whatever pydantic would convert or refuse gives None, and
goes MLServer's ordinary way, which says what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
from mlserver.types import Datatype

from mlserver_pyfunc.binary_tensors import BinaryWishes, read_wishes
from mlserver_pyfunc.bodies import BodyHeaders, is_small, parse_body
from mlserver_pyfunc.exact_json import has_long_integer
from mlserver_pyfunc.plain import Decoded, PlainReader

_DATATYPES = frozenset(datatype.value for datatype in Datatype)


@dataclass(frozen=True, slots=True)
class TensorParameters:
    """What the decoder looks at of an input's parameters."""

    content_type: str | None


@dataclass(slots=True)
class EnvelopeInput:
    """One input, as :class:`mlserver_pyfunc.decode.InputTensor` asks."""

    name: str
    shape: list[int]
    datatype: str
    data: Any
    parameters: TensorParameters | None


@dataclass(slots=True)
class Envelope:
    """One request.

    Parameters
    ----------
    id : str or None
    inputs : list of EnvelopeInput, or Decoded
        Decoded where the request was plain, and so asks for all outputs.
    outputs : list of str
        Names of the outputs asked for; empty for all.
    parameters : mapping
        Of the request, without those that MLServer's own types name.
    wishes : BinaryWishes
        Which outputs are sent as bytes.
    """

    id: str | None
    inputs: list[EnvelopeInput] | Decoded
    outputs: list[str]
    parameters: Mapping[str, Any]
    wishes: BinaryWishes


_NO_WISHES = BinaryWishes()


def read_envelope(content: Any, plain: PlainReader) -> Envelope | None:
    """Read a request from its JSON; None where a closer look is needed.

    Parameters
    ----------
    content : object
        As :func:`mlserver_pyfunc.bodies.parse_body` returns it.
    plain : PlainReader
        Of the model that the request is for.

    Returns
    -------
    Envelope or None

    Raises
    ------
    InvalidRequest
        If a parameter of the binary tensor extension is wrong.

    Examples
    --------
    >>> from pyfunc_packaging.schema import Column, Schema
    >>> plain = PlainReader(Schema((Column("x", "double"),)))
    >>> tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [0.5]}
    >>> read_envelope({"inputs": [tensor]}, plain).inputs
    Decoded(values={'x': array([0.5])}, rows=1)
    >>> read_envelope({"inputs": [], "outputs": [{"name": "y"}]}, plain).outputs
    ['y']
    >>> read_envelope({"inputs": [], "id": 7}, plain) is None  # MLServer says what id should be
    True
    """
    return _read_plain(content, plain) or _read(content)


def read_request(
    body: bytes, headers: BodyHeaders, limit: int, plain: PlainReader
) -> Envelope | None:
    """Read a request from the body of an HTTP request; see `parse_body` and `read_envelope`.

    Whether an integer is too long for the parser is looked for in requests that are not plain:
    plain ones hold no number that is large enough.
    """
    if headers.json_length or not is_small(body, headers):
        return read_envelope(parse_body(body, headers, limit), plain)
    content = parse_body(body, headers, limit, exactly=False)
    envelope = _read_plain(content, plain)
    if envelope is not None:
        return envelope
    return _read(parse_body(body, headers, limit) if has_long_integer(body) else content)


def _read_plain(content: Any, plain: PlainReader) -> Envelope | None:
    try:
        inputs, identity = content["inputs"], content.get("id")
        if (
            len(content) != 1 + ("id" in content)
            or not (identity is None or type(identity) is str)
            or set(map(len, inputs)) != _FOUR
        ):
            return None
        decoded = plain.read(*zip(*map(_FIELDS, inputs), strict=True))
    except (AttributeError, KeyError, TypeError):  # no object, or not with these fields
        return None
    return None if decoded is None else Envelope(identity, decoded, [], {}, _NO_WISHES)


#: What an input without parameters says.
_FIELDS = itemgetter("name", "datatype", "shape", "data")
_FOUR = {4}


def _read(content: Any) -> Envelope | None:
    if type(content) is not dict:
        return None
    identity, given = content.get("id"), content.get("inputs")
    parameters = _read_parameters(content.get("parameters"))
    outputs = [] if content.get("outputs") is None else content["outputs"]
    if (
        not (identity is None or type(identity) is str)
        or type(given) is not list
        or parameters is None
        or not _are_outputs(outputs)
    ):
        return None
    inputs = []
    for tensor in given:
        read = _read_input(tensor)
        if read is None:
            return None
        inputs.append(read)
    wishes = read_wishes(
        parameters, {output["name"]: output.get("parameters") or {} for output in outputs}
    )
    return Envelope(identity, inputs, [output["name"] for output in outputs], parameters, wishes)


def _read_input(tensor: Any) -> EnvelopeInput | None:
    try:
        name, shape, datatype, data = (
            tensor["name"],
            tensor["shape"],
            tensor["datatype"],
            tensor["data"],
        )
    except (KeyError, TypeError):
        return None
    if (
        type(name) is not str
        or type(shape) is not list
        or any(type(size) is not int for size in shape)
        or type(data) not in (list, np.ndarray)
        or type(datatype) is not str
        or datatype not in _DATATYPES
    ):
        return None
    parameters = tensor.get("parameters")
    if parameters is not None:
        if not _is_plain(parameters):
            return None
        parameters = TensorParameters(parameters.get("content_type"))
    return EnvelopeInput(name, shape, datatype, data, parameters)


def _are_outputs(outputs: Any) -> bool:
    return type(outputs) is list and all(
        type(output) is dict
        and type(output.get("name")) is str
        and (output.get("parameters") is None or _is_plain(output["parameters"]))
        for output in outputs
    )


def _read_parameters(parameters: Any) -> Mapping[str, Any] | None:
    if parameters is None:
        return {}
    if not _is_plain(parameters):
        return None
    return {name: value for name, value in parameters.items() if name != "content_type"}


def _is_plain(parameters: Any) -> bool:
    """Whether MLServer would take these parameters as they are."""
    return (
        type(parameters) is dict
        and "headers" not in parameters
        and type(parameters.get("content_type", "")) in (str, type(None))
    )
