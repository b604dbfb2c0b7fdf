"""HTTP answers of both ways to infer: the JSON of the protocol, bytes of tensors, compression."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from mlserver_pyfunc import binary_tensors
from mlserver_pyfunc.binary_tensors import BinaryWishes
from mlserver_pyfunc.encode import Encoded

Header = tuple[bytes, bytes]

#: Answers from this size on are compressed, for clients that accept it. Below, compressing takes
#: longer than sending through any network that a cluster has.
GZIP_MINIMUM = 16 * 1024
#: zlib's fastest level.
GZIP_LEVEL = 1


class Answer:
    """A response: its status, its body, and the headers that belong to the body.

    Parameters
    ----------
    content : bytes
    *more : tuple of bytes
        Further headers.
    status : int
    content_type : bytes
    """

    __slots__ = ("content", "headers", "lines", "status")

    def __init__(
        self,
        content: bytes,
        *more: Header,
        status: int = 200,
        content_type: bytes = b"application/json",
    ) -> None:
        self.content = content
        self.status = status
        #: Further headers as they go over the wire, where nobody else has to read them.
        self.lines = b""
        self.headers: list[Header] = [
            (b"content-length", str(len(content)).encode()),
            (b"content-type", content_type),
            *more,
        ]


#: A server that is busy now may have a free place in a second.
_RETRY = (b"retry-after", b"1")


def make_error(message: str, status: int) -> Answer:
    """An answer that says what is wrong."""
    more = (_RETRY,) if status == 503 else ()
    return Answer(orjson.dumps({"error": message}), *more, status=status)


def make_answer(
    head: Mapping[str, Any],
    outputs: Iterable[Encoded],
    wishes: BinaryWishes,
    *,
    compress: bool | None,
) -> Answer:
    """The answer to an inference request.

    Parameters
    ----------
    head : mapping
        What stands before the outputs: names of model and version, id, parameters.
    outputs : iterable of Encoded
    wishes : BinaryWishes
        Which outputs are sent as bytes.
    compress : bool or None
        Whether the client accepts gzip; None where the server never compresses.

    Returns
    -------
    Answer

    Examples
    --------
    >>> y = Encoded("y", "FP64", [1], [0.5])
    >>> make_answer({"model_name": "m"}, [y], BinaryWishes(), compress=None).content
    b'{"model_name":"m","outputs":[{"name":"y","shape":[1],"datatype":"FP64","data":[0.5]}]}'
    """
    tensors, tails = [], []
    for output in outputs:
        tensor: dict[str, Any] = {
            "name": output.name,
            "shape": output.shape,
            "datatype": output.datatype,
        }
        if output.name in wishes:
            tail = binary_tensors.to_bytes(output.datatype, output.cells)
            tensor["parameters"] = {binary_tensors.SIZE: len(tail)}
            tails.append(tail)
        else:
            tensor["data"] = _to_json(output.cells)
        tensors.append(tensor)
    content = orjson.dumps({**head, "outputs": tensors}, _to_text, orjson.OPT_SERIALIZE_NUMPY)
    if not tails:
        return _compress(content, b"application/json", (), compress)
    length = (binary_tensors.HEADER.encode(), str(len(content)).encode())
    content = b"".join([content, *tails])
    return _compress(content, b"application/octet-stream", (length,), compress)


def _to_json(cells: list[Any] | npt.NDArray[Any]) -> list[Any] | npt.NDArray[Any]:
    """What orjson writes as it writes a list: numbers that Python has, too, may stay an array."""
    if isinstance(cells, list):
        return cells
    if len(cells) > _FEW and cells.dtype in _PYTHON and cells.flags.c_contiguous:
        return cells
    listed: list[Any] = cells.tolist()
    return listed


_PYTHON = (np.dtype("float64"), np.dtype("int64"))
#: Up to so many, a list is written in less time.
_FEW = 16


def _to_text(cell: Any) -> str:
    """BYTES, which JSON has no cells for."""
    if not isinstance(cell, bytes):
        raise TypeError(f"no cell of a tensor: {type(cell).__name__}")
    return cell.decode()


def _compress(
    content: bytes, content_type: bytes, headers: tuple[Header, ...], compress: bool | None
) -> Answer:
    if compress is None or len(content) < GZIP_MINIMUM:
        return Answer(content, *headers, content_type=content_type)
    headers = (*headers, (b"vary", b"Accept-Encoding"))
    if compress:
        content = gzip.compress(content, GZIP_LEVEL, mtime=0)
        headers = (*headers, (b"content-encoding", b"gzip"))
    return Answer(content, *headers, content_type=content_type)
