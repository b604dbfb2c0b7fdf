"""Tensors as bytes behind the JSON of a request or a response.

Source: the protocol's "Binary Tensor Data Extension". A body is JSON, whose length a header names,
and then the bytes of each tensor in the order of the JSON: little-endian numbers, one byte for a
boolean, and for BYTES four bytes of length before each element.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlserver_pyfunc.elements import NUMBERS
from mlserver_pyfunc.packed_texts import read_repeated
from mlserver_pyfunc.refusals import Ragged, WrongType
from pyfunc_packaging.errors import InvalidRequest

Bytes = bytes | memoryview

#: How long the JSON is, in requests and in responses.
HEADER = "inference-header-content-length"
#: Parameter of an input or output: how many bytes it has.
SIZE = "binary_data_size"

#: As many as arrays of NumPy have at most.
_MAX_DIMENSIONS = 64


def attach_tensors(content: Any, tail: Bytes) -> None:
    """Give the inputs of a request their data.

    Parameters
    ----------
    content : object
        The request's JSON; whatever is no request is left as it is.
    tail : bytes
        What came after it.

    Raises
    ------
    InvalidRequest
        If sizes, shapes and bytes do not match.

    Examples
    --------
    >>> tensor = {"name": "x", "shape": [1], "datatype": "FP64", "parameters": {SIZE: 8}}
    >>> attach_tensors({"inputs": [tensor]}, struct.pack("<d", 0.5))
    >>> tensor
    {'name': 'x', 'shape': [1], 'datatype': 'FP64', 'data': array([0.5])}
    """
    inputs = content.get("inputs") if isinstance(content, dict) else None
    offset = 0
    for tensor in inputs if isinstance(inputs, list) else ():
        parameters = tensor.get("parameters") if isinstance(tensor, dict) else None
        if not isinstance(parameters, dict) or SIZE not in parameters:
            continue
        name, size = tensor.get("name"), parameters.pop(SIZE)
        if type(size) is not int or size < 0:
            raise InvalidRequest(f"input {name!r:.80}: expected {SIZE} to be a number of bytes")
        if "data" in tensor:
            raise InvalidRequest(f"input {name!r:.80}: has data and {SIZE}; send one of them")
        if offset + size > len(tail):
            raise InvalidRequest(
                f"input {name!r:.80}: {SIZE} is {size}, and only {len(tail) - offset} bytes are"
                f" left behind the JSON"
            )
        if not parameters:
            del tensor["parameters"]
        _attach(tensor, tail[offset : offset + size])
        offset += size
    if offset != len(tail):
        raise InvalidRequest(
            f"expected {offset} bytes of tensors behind the JSON, got {len(tail)}; each input that"
            f" is sent as bytes needs {SIZE} in its parameters"
        )


def _attach(tensor: dict[str, Any], content: Bytes) -> None:
    shape = tensor.get("shape")
    if not isinstance(shape, list) or any(type(size) is not int for size in shape):
        name = tensor.get("name")
        raise Ragged(f"input {name!r:.80}: expected a shape of non-negative integers")
    datatype, data = read_tensor(tensor.get("name"), tensor.get("datatype"), shape, content)
    tensor.update(datatype=datatype, data=data)


def read_tensor(name: Any, datatype: Any, shape: list[int], content: Bytes) -> tuple[str, Any]:
    r"""The elements of a tensor.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    datatype : str
    shape : list of int
    content : bytes

    Returns
    -------
    tuple
        The datatype of the elements, and those: an ndarray of numbers or str, or a list of bytes.

    Raises
    ------
    InvalidRequest
        If datatype, shape and bytes do not match.

    Examples
    --------
    >>> read_tensor("x", "BF16", [1], b"\x80\x3f")
    ('FP32', array([1.], dtype=float32))
    """
    count = count_elements(name, shape)
    if datatype == "BYTES":
        repeated = read_repeated(content, count)
        return datatype, split_elements(name, content, count) if repeated is None else repeated
    if datatype == "BF16":
        return "FP32", widen_bfloat16(name, shape, content)
    if not isinstance(datatype, str) or datatype not in NUMBERS:
        known = ", ".join([*NUMBERS, "BF16", "BYTES"])
        raise WrongType(f"input {name!r:.80}: expected a datatype of {known}, got {datatype!r:.80}")
    check_numbers(name, datatype, shape, content)
    dtype = NUMBERS[datatype]
    return datatype, np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype, copy=False)


def count_elements(name: Any, shape: Sequence[int]) -> int:
    """How many elements a shape means.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    shape : sequence of int

    Raises
    ------
    InvalidRequest
        If one of the sizes is negative, or there are so many that their product would be a number
        of thousands of digits, which Python takes long to compute and does not print.

    Examples
    --------
    >>> count_elements("x", [2, 3])
    6
    """
    if len(shape) > _MAX_DIMENSIONS:
        raise Ragged(
            f"input {name!r:.80}: expected a shape of at most {_MAX_DIMENSIONS} dimensions, got"
            f" {len(shape)}"
        )
    if any(size < 0 for size in shape):
        raise Ragged(f"input {name!r:.80}: expected a shape of non-negative integers")
    return math.prod(shape)


def widen_bfloat16(
    name: Any, shape: list[int], content: Bytes, *, what: str = "bytes"
) -> npt.NDArray[np.float32]:
    r"""The numbers of a BF16 tensor, which are the upper halves of float32 numbers.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    shape : list of int
    content : bytes
    what : str
        What the message calls them.

    Raises
    ------
    InvalidRequest
        If their number does not fit the shape.

    Examples
    --------
    >>> widen_bfloat16("x", [2], b"\xc0\x3f\x80\xff")
    array([ 1.5, -inf], dtype=float32)
    """
    _check_length(name, "BF16", shape, content, 2 * count_elements(name, shape), what)
    halves = np.frombuffer(content, "<u2").astype(np.uint32)
    return (halves << 16).view(np.float32)


def check_numbers(
    name: Any, datatype: str, shape: list[int], content: Bytes, *, what: str = "bytes"
) -> None:
    """Check the bytes of a tensor of numbers or booleans.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    datatype : str
        One of :data:`mlserver_pyfunc.elements.NUMBERS`.
    shape : list of int
    content : bytes
    what : str
        What the message calls them.

    Raises
    ------
    InvalidRequest
        If their number does not fit the shape, or a boolean is neither 0 nor 1.
    """
    size = count_elements(name, shape) * NUMBERS[datatype].itemsize
    _check_length(name, datatype, shape, content, size, what)
    if datatype == "BOOL" and max(content, default=0) > 1:
        raise WrongType(f"input {name!r:.80}: expected bytes 0 or 1 for BOOL")


def _check_length(
    name: Any, datatype: Any, shape: list[int], content: Bytes, size: int, what: str
) -> None:
    if len(content) != size:
        raise Ragged(
            f"input {name!r:.80}: shape {shape[:8]} of {datatype} means {size} {what}, got"
            f" {len(content)}"
        )


def split_elements(name: Any, content: Bytes, count: int) -> list[bytes]:
    r"""The elements of a BYTES tensor.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    content : bytes
        Each element behind four bytes of length, little-endian.
    count : int
        How many there should be.

    Raises
    ------
    InvalidRequest

    Examples
    --------
    >>> split_elements("city", b"\x04\0\0\0Rome\0\0\0\0", 2)
    [b'Rome', b'']
    """
    elements: list[bytes] = []
    offset, end = 0, len(content)
    while offset < end:
        if offset + 4 > end:
            raise InvalidRequest(f"input {name!r:.80}: the bytes end within a length prefix")
        start = offset + 4
        offset = start + int.from_bytes(content[offset:start], "little")
        if offset > end:
            raise InvalidRequest(
                f"input {name!r:.80}, value {len(elements)}: its length prefix goes beyond the"
                f" bytes"
            )
        elements.append(bytes(content[start:offset]))
    if len(elements) != count:
        raise Ragged(
            f"input {name!r:.80}: expected {count} elements, the bytes have {len(elements)}"
        )
    return elements


def to_bytes(datatype: str, data: Sequence[Any] | npt.NDArray[Any]) -> bytes:
    r"""An output's elements as bytes.

    Parameters
    ----------
    datatype : str
    data : sequence or ndarray
        None is NaN among numbers, and no bytes among BYTES, which have no sign for it.

    Examples
    --------
    >>> to_bytes("BYTES", ["Rome", b"x"])
    b'\x04\x00\x00\x00Rome\x01\x00\x00\x00x'
    """
    if datatype != "BYTES":
        return np.array(data, NUMBERS[datatype].newbyteorder("<")).tobytes()
    parts = []
    for cell in data:
        element = cell.encode() if isinstance(cell, str) else cell or b""
        parts += [struct.pack("<I", len(element)), element]
    return b"".join(parts)


class BinaryWishes:
    """Which outputs a request wants as bytes.

    Parameters
    ----------
    default : bool
        ``binary_data_output`` of the request.
    outputs : mapping of str to bool
        ``binary_data`` of the outputs that say so.
    """

    __slots__ = ("_default", "_outputs")

    def __init__(self, default: bool = False, outputs: Mapping[str, bool] | None = None) -> None:
        self._default = default
        self._outputs = outputs or {}

    def __contains__(self, name: str) -> bool:
        return self._outputs.get(name, self._default)

    def __bool__(self) -> bool:
        return self._default or any(self._outputs.values())


def read_wishes(
    request: Mapping[str, Any], outputs: Mapping[str, Mapping[str, Any]]
) -> BinaryWishes:
    """Which outputs a request wants as bytes.

    Parameters
    ----------
    request : mapping
        Parameters of the request.
    outputs : mapping of str to mapping
        Parameters of the outputs that it names.

    Raises
    ------
    InvalidRequest
        If one of them is no boolean.

    Examples
    --------
    >>> wishes = read_wishes({"binary_data_output": True}, {"y": {"binary_data": False}})
    >>> "y" in wishes, "z" in wishes
    (False, True)
    """
    default = _boolean("binary_data_output", request.get("binary_data_output", False))
    said = {
        name: _boolean("binary_data", parameters["binary_data"])
        for name, parameters in outputs.items()
        if "binary_data" in parameters
    }
    return BinaryWishes(default, said)


def _boolean(name: str, value: Any) -> bool:
    if type(value) is not bool:
        raise InvalidRequest(f"parameter {name!r}: expected true or false, got something else")
    return value
