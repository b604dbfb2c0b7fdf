"""Large JSON bodies, parsed in pieces.

A parser holds Python's global lock until it is done, and with it the event loop: half a second for
a million rows. Nearly all of a large request is the data of its tensors. Those are cut out and
parsed by themselves, numbers a piece at a time, so that other threads run in between; what is left
of the body is small. Where the cuts cannot be sure, the body is parsed whole.
"""

from __future__ import annotations

import re
import secrets
from typing import Any

import orjson

from mlserver_pyfunc.exact_json import parse_exactly

#: Bodies up to this size are parsed whole, in a few milliseconds.
LARGE = 1024 * 1024
#: What is parsed at once of a large one.
_PIECE = 512 * 1024

#: Stands for an array that was cut out; nobody else can know it.
_MARK = secrets.token_hex(16)
_KEY = b'"data"'
#: What stands between the key and the first cell; of space, JSON knows four kinds.
_OPENING = re.compile(rb"[ \t\n\r]*:[ \t\n\r]*\[[ \t\n\r]*")


def parse_large(body: bytes) -> Any:
    """Parse JSON as :func:`mlserver_pyfunc.exact_json.parse_exactly` does.

    Parameters
    ----------
    body : bytes

    Returns
    -------
    object

    Raises
    ------
    orjson.JSONDecodeError
        If it is no JSON.

    Examples
    --------
    >>> parse_large(b'{"inputs": [{"name": "x", "data": [1, 2.5]}]}')
    {'inputs': [{'name': 'x', 'data': [1, 2.5]}]}
    """
    try:
        content = _parse_in_pieces(body)
    except orjson.JSONDecodeError:  # the whole parser says what is wrong, and where
        content = None
    return parse_exactly(body) if content is None else content


def _parse_in_pieces(body: bytes) -> Any:
    """What a body says, or None where its data cannot be put back for sure."""
    rest, arrays = _cut(body)
    content = parse_exactly(rest)
    inputs = content.get("inputs") if isinstance(content, dict) else None
    for tensor in inputs if isinstance(inputs, list) else ():
        data = tensor.get("data") if isinstance(tensor, dict) else None
        if isinstance(data, list) and len(data) == 1 and isinstance(data[0], str):
            array = arrays.pop(data[0], None)
            if array is not None:
                tensor["data"] = _parse_array(array)
    return None if arrays else content  # of a key that is there twice, or somewhere else


def _cut(body: bytes) -> tuple[bytes, dict[str, memoryview]]:
    """The body with a text in place of each flat array, and the arrays, without brackets."""
    parts: list[bytes | memoryview] = []
    arrays: dict[str, memoryview] = {}
    view, done, at = memoryview(body), 0, 0
    while (at := body.find(_KEY, at)) >= 0:
        escaped = body[at - 1 : at] == b"\\"  # then it is the end of a longer text
        at += len(_KEY)
        opening = _OPENING.match(body, at)
        if escaped or opening is None:
            continue
        start = opening.end()
        end = _find_end(body, start)
        if end > start:
            mark = f"{_MARK}{len(arrays)}"
            parts += [view[done:start], f'"{mark}"'.encode()]
            arrays[mark] = view[start:end]
            done = at = end
    return b"".join([*parts, view[done:]]), arrays


def _find_end(body: bytes, start: int) -> int:
    """Where an array of numbers or of texts ends; -1 if it is neither, or that is not sure."""
    first = body[start : start + 1]
    if first == b'"':
        # a text ends at its first quote without a backslash
        end = body.find(b'"]', start + 1)
        return -1 if end < 0 or body[end - 1 : end] == b"\\" else end + 1
    if first not in _NUMBER:
        return -1
    end = body.find(b"]", start)
    sure = end >= 0 and all(body.find(other, start, end) < 0 for other in (b'"', b"[", b"{"))
    return end if sure else -1


#: With what a number, or null, true and false, begin.
_NUMBER = [bytes([code]) for code in b"-0123456789ntf"]


def _parse_array(array: memoryview) -> list[Any]:
    """The cells of an array; numbers a piece at a time."""
    if array[0] == ord('"') or len(array) <= _PIECE:
        return _parse_cells(array)
    cells: list[Any] = []
    start = 0
    while start < len(array):
        piece = bytes(array[start : start + _PIECE])
        end = len(array) if start + _PIECE >= len(array) else start + piece.rfind(b",")
        if end < start:  # no number is that long
            return _parse_cells(array)
        cells += _parse_cells(array[start:end])
        start = end + 1
        if start == len(array):  # a comma that nothing follows
            raise orjson.JSONDecodeError("unexpected end of an array", "", 0)
    return cells


def _parse_cells(cells: memoryview) -> list[Any]:
    found: list[Any] = parse_exactly(b"".join((b"[", cells, b"]")))
    if not found:  # only space between two commas
        raise orjson.JSONDecodeError("expected a number", "", 0)
    return found
