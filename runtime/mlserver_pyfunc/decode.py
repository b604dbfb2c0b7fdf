"""V2 request tensors to columns, strictly as the signature says.

Compiled once a model; used for REST and gRPC alike. Everything that does not fit is refused with
the input's name, what was expected and what came; values of the request are never repeated.
A conversion is done when it loses nothing (the value converted back is the value), else refused.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mlserver_pyfunc.elements import Array, read_elements
from mlserver_pyfunc.limits import check_inputs, read_limits
from mlserver_pyfunc.plain import Decoded, PlainReader
from mlserver_pyfunc.refusals import MissingInput, Ragged, UnknownInput, WrongType
from mlserver_pyfunc.text import read_binary, read_datetimes, read_text
from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import NUMPY_TYPES, Column, Schema, Tensor

#: Names quoted in one message at most; a request may have thousands.
_MAX_NAMES = 5


class InputTensor(Protocol):
    """What the decoder needs of a request's input; MLServer's ``RequestInput`` has it."""

    name: str
    shape: Any
    datatype: Any
    data: Any
    parameters: Any


class Decoder:
    """Decodes the requests of one model.

    Parameters
    ----------
    schema : Schema
    plain : PlainReader, optional
        Of the same schema, to share it.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> decoder = Decoder(Schema((Column("age", "long"),)))
    >>> age = SimpleNamespace(
    ...     name="age", shape=[2], datatype="FP64", data=[52.0, 21.0], parameters=None
    ... )
    >>> decoder.decode([age])
    Decoded(values={'age': array([52, 21])}, rows=2)
    """

    def __init__(self, schema: Schema, plain: PlainReader | None = None) -> None:
        self._fields = {field.name: field for field in schema.inputs}
        self._plain = plain or PlainReader(schema)

    def decode(self, inputs: Sequence[InputTensor]) -> Decoded:
        """Decode the inputs of a request, in any order.

        Raises
        ------
        InvalidRequest
            If they are not what the signature says.
        """
        plain = self._read_plain(inputs)
        if plain is not None:
            return plain
        check_inputs(len(inputs), read_limits().inputs)
        tensors: dict[str, InputTensor] = {}
        for tensor in inputs:
            if not isinstance(tensor.name, str):
                raise InvalidRequest(
                    f"inputs: expected names that are text, got {_quote(tensor.name)}"
                )
            if tensor.name in tensors:
                raise UnknownInput(
                    f"input {_quote(tensor.name)}: sent more than once; send it once"
                )
            tensors[tensor.name] = tensor
        self._check_names(tensors)
        shapes = {name: _read_shape(field, tensors[name]) for name, field in self._fields.items()}
        rows = _count_rows(shapes)
        values = {
            name: _decode_field(field, tensors[name], shapes[name])
            for name, field in self._fields.items()
        }
        return Decoded(values, rows)

    def _read_plain(self, inputs: Sequence[InputTensor]) -> Decoded | None:
        """The usual request, fast; None for whatever needs a closer look, or a message."""
        if not inputs or any(tensor.parameters is not None for tensor in inputs):
            return None
        return self._plain.read(
            tuple([tensor.name for tensor in inputs]),
            tuple([getattr(tensor.datatype, "value", tensor.datatype) for tensor in inputs]),
            tuple([tensor.shape for tensor in inputs]),
            tuple([_plain_data(tensor) for tensor in inputs]),
        )

    def _check_names(self, tensors: Mapping[str, InputTensor]) -> None:
        if tensors.keys() == self._fields.keys():
            return
        unknown = [name for name in tensors if name not in self._fields]
        missing = [name for name in self._fields if name not in tensors]
        problems = []
        if missing:
            problems.append(f"missing: {_listing(missing)}")
        if unknown:
            problems.append(f"unknown: {_listing(unknown)}")
        optional = missing and all(getattr(self._fields[n], "nullable", False) for n in missing)
        hint = "; send null for a value that is not known" if optional else ""
        kind = MissingInput if missing else UnknownInput
        raise kind(
            f"inputs do not match the signature ({'; '.join(problems)}). The model takes"
            f" {_listing(self._fields, limit=50)}{hint}"
        )


def _plain_data(tensor: InputTensor) -> Any:
    """Data with text as text, which gRPC has as bytes; as it is where it is no text."""
    data = getattr(tensor.data, "root", tensor.data)
    if type(data) is not list or not data or type(data[0]) is not bytes:
        return data
    try:
        return [cell.decode() for cell in data]
    except (AttributeError, UnicodeDecodeError):
        return data


def _quote(name: object) -> str:
    """A name as it came, but not more than a line of it."""
    text = repr(name)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _listing(names: Any, limit: int = _MAX_NAMES) -> str:
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(_quote(name) for name in names[:limit]) + more


def _read_shape(field: Column | Tensor, tensor: InputTensor) -> tuple[int, ...]:
    shape = tensor.shape
    if not isinstance(shape, list | tuple):
        raise Ragged(
            f"input {_quote(tensor.name)}: expected a shape of non-negative integers, got no list"
        )
    if any(type(size) is not int or size < 0 for size in shape):
        raise Ragged(
            f"input {_quote(tensor.name)}: expected a shape of non-negative integers, got"
            f" {_listing(shape)}"
        )
    shape = tuple(shape)
    if isinstance(field, Column):
        _check_column_shape(field.name, shape)
    else:
        _check_tensor_shape(field, shape)
    return shape


def _count_rows(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """Rows of the request; the input that is at odds with most others is the one to blame."""
    first = next(iter(shapes.values()))
    if first and all(shape == first for shape in shapes.values()):
        return first[0]
    counts = {name: shape[0] if shape else 1 for name, shape in shapes.items()}
    usual, times = Counter(counts.values()).most_common(1)[0]
    if times == len(counts):
        return usual
    odd = next(name for name, count in counts.items() if count != usual)
    other = next(name for name, count in counts.items() if count == usual)
    raise Ragged(
        f"input {_quote(odd)}: expected {usual} rows as in input {_quote(other)}, got"
        f" {counts[odd]}; every input needs one value a row"
    )


def _check_column_shape(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 1 or (len(shape) == 2 and shape[1] == 1):
        return
    raise Ragged(
        f"input {_quote(name)}: expected shape [n] or [n, 1] for n rows, got {list(shape[:8])}"
    )


def _check_tensor_shape(field: Tensor, shape: tuple[int, ...]) -> None:
    fits = len(shape) == len(field.shape) and all(
        want in (-1, got) for want, got in zip(field.shape, shape, strict=True)
    )
    if not fits:
        raise Ragged(
            f"input {_quote(field.name)}: expected shape {list(field.shape)} (-1 is any length),"
            f" got {list(shape[:8])}"
        )


def _decode_field(field: Column | Tensor, tensor: InputTensor, shape: tuple[int, ...]) -> Array:
    datatype = str(getattr(tensor.datatype, "value", tensor.datatype))
    size = math.prod(shape)
    elements = _flatten(tensor.name, tensor.data, shape, size)
    if isinstance(field, Tensor):
        target = "object" if field.datatype == "BYTES" else field.dtype
        return _decode_elements(
            tensor, datatype, elements, field.datatype, target, nullable=False, finite=False
        ).reshape(shape)
    if field.type == "datetime" and datatype == "BYTES":
        return read_datetimes(field, elements)
    if field.type == "binary" and datatype == "BYTES":
        return read_binary(field, elements, base64=_is_base64(tensor))
    return _decode_elements(
        tensor,
        datatype,
        elements,
        field.datatype,
        NUMPY_TYPES[field.type],
        nullable=field.nullable,
        finite=field.finite,
    )


def _decode_elements(
    tensor: InputTensor,
    datatype: str,
    elements: Any,
    expected: str,
    target: str,
    *,
    nullable: bool,
    finite: bool,
) -> Array:
    if (datatype == "BYTES") != (expected == "BYTES"):
        raise WrongType(
            f"input {_quote(tensor.name)}: expected datatype {expected}, got {_quote(datatype)}"
        )
    if datatype == "BYTES":
        return read_text(tensor.name, elements, nullable=nullable, base64=_is_base64(tensor))
    return read_elements(tensor.name, datatype, elements, target, nullable=nullable, finite=finite)


def _is_base64(tensor: InputTensor) -> bool:
    content_type = getattr(tensor.parameters, "content_type", None)
    return content_type == "base64"


def _flatten(
    name: str, data: Any, shape: tuple[int, ...], size: int
) -> list[Any] | npt.NDArray[Any]:
    """Elements in row-major order; ``data`` may be flat, or nested as ``shape`` says."""
    data = getattr(data, "root", data)
    if isinstance(data, np.ndarray):
        if data.size != size:
            raise Ragged(
                f"input {_quote(name)}: shape {list(shape[:8])} means {size} values, data has"
                f" {data.size}"
            )
        return data.reshape(-1)
    if not isinstance(data, list):
        raise WrongType(
            f"input {_quote(name)}: expected data to be a list, got {type(data).__name__}"
        )
    level: list[Any] = data
    for depth in range(len(shape)):
        if len(level) == size and not (level and type(level[0]) is list):
            break
        if len(level) != math.prod(shape[: depth + 1]) or any(
            type(part) is not list for part in level
        ):
            break
        inner = shape[depth + 1] if depth + 1 < len(shape) else None
        if inner is None or any(len(part) != inner for part in level):
            raise Ragged(
                f"input {_quote(name)}: data is nested otherwise than shape {list(shape[:8])} says"
            )
        level = [cell for part in level for cell in part]
    if len(level) != size:
        raise Ragged(
            f"input {_quote(name)}: shape {list(shape[:8])} means {size} values, data has"
            f" {len(level)}"
        )
    return level
