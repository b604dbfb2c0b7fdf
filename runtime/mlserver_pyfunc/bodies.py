"""Bodies of HTTP requests: from what comes over the wire to what the JSON in them says."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from mlserver_pyfunc import binary_tensors
from mlserver_pyfunc.exact_json import parse_exactly
from mlserver_pyfunc.json_pieces import LARGE, parse_large
from mlserver_pyfunc.limits import check_inputs, read_limits
from pyfunc_packaging.errors import InvalidArgument, InvalidRequest, RequestTooLarge

#: Limits the size of a request's body, compressed or not.
LIMIT_VARIABLE = "PYFUNC_MAX_BODY_BYTES"
#: A million rows of ten columns as JSON.
DEFAULT_LIMIT = 256 * 1024 * 1024

#: Bodies up to this size are parsed on the event loop, in well under a millisecond.
SMALL = 256 * 1024

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
RawHeaders = Sequence[tuple[bytes, bytes]]


def read_limit() -> int:
    """The largest body that is taken, in bytes.

    Raises
    ------
    InvalidArgument
        If ``PYFUNC_MAX_BODY_BYTES`` is no positive integer.
    """
    given = os.environ.get(LIMIT_VARIABLE) or str(DEFAULT_LIMIT)
    if not (given.isascii() and given.isdigit()) or int(given) == 0:
        raise InvalidArgument(f"{LIMIT_VARIABLE} should be a number of bytes, found {given!r:.80}")
    return int(given)


class BodyHeaders(NamedTuple):
    """What the headers of a request say of its body, and of the answer's."""

    content_type: str = ""
    content_encoding: str = ""
    json_length: str = ""
    accepts_gzip: bool = False


_FIELDS = {
    b"content-type": 0,
    b"content-encoding": 1,
    binary_tensors.HEADER.encode(): 2,
}


def read_headers(headers: RawHeaders) -> BodyHeaders:
    """Pick the headers that matter; of one that is repeated, all values count."""
    found, accepts_gzip = [""] * len(_FIELDS), False
    for name, value in headers:
        if name in _FIELDS:
            position, text = _FIELDS[name], value.decode("latin-1")
            found[position] = f"{found[position]}, {text}" if found[position] else text
        elif name == b"accept-encoding":
            accepts_gzip = accepts_gzip or _names_gzip(value)
    content_type, content_encoding, json_length = found
    return BodyHeaders(content_type, content_encoding, json_length, accepts_gzip)


def _names_gzip(value: bytes) -> bool:
    """Whether Accept-Encoding names gzip, and not to exclude it."""
    if b"gzip" not in value:
        return False
    for coding in value.lower().split(b","):
        name, *parameters = (part.replace(b" ", b"") for part in coding.split(b";"))
        if name == b"gzip":
            return not any(_ZERO_WEIGHT.fullmatch(parameter) for parameter in parameters)
    return False


#: How a client says that it does not want something (RFC 9110, section 12.4.2).
_ZERO_WEIGHT = re.compile(rb"q=0(\.0*)?")


async def receive_messages(receive: Receive, limit: int) -> list[Message]:
    """The parts of a body, until its end, until it breaks off, or until it exceeds the limit."""
    messages = [await receive()]
    size = len(messages[0].get("body", b""))
    while messages[-1].get("more_body") and size <= limit:
        messages.append(await receive())
        size += len(messages[-1].get("body", b""))
    return messages


def is_complete(messages: Sequence[Message]) -> bool:
    """Whether a body came to its end."""
    return messages[-1]["type"] == "http.request" and not messages[-1].get("more_body")


def is_small(body: bytes, headers: BodyHeaders) -> bool:
    """Whether a body may be parsed on the event loop; packed, it may be a thousand times larger."""
    return len(body) <= SMALL and not headers.content_encoding


def join(messages: Sequence[Message]) -> bytes:
    """The body, of its parts."""
    if len(messages) == 1:
        return bytes(messages[0].get("body", b""))
    return b"".join(message.get("body", b"") for message in messages)


def parse_body(body: bytes, headers: BodyHeaders, limit: int, *, exactly: bool = True) -> Any:
    """What the JSON of a body says, with the bytes of tensors behind it as their data.

    Parameters
    ----------
    body : bytes
    headers : BodyHeaders
    limit : int
        How many bytes it may have, decompressed.
    exactly : bool
        Whether to keep integers beyond 64 bits; otherwise they become floats, 2**63 or larger.

    Returns
    -------
    object

    Raises
    ------
    InvalidRequest
    RequestTooLarge

    Examples
    --------
    >>> parse_body(b'{"inputs":[]}', BodyHeaders("application/json"), 100)
    {'inputs': []}
    """
    check_size(len(body), limit)
    if headers.content_encoding:
        body = _decompress(body, headers.content_encoding, limit)
    tail = None
    if headers.json_length:
        body, tail = _split(body, headers.json_length)
    elif not _is_json(headers.content_type):
        raise InvalidRequest(
            f"{NO_REQUEST}; send it with Content-Type: application/json, not"
            f" {headers.content_type!r:.80}"
        )
    if not body:
        raise InvalidRequest(NO_REQUEST)
    try:
        if not exactly:
            content = orjson.loads(body)
        else:
            content = parse_exactly(body) if len(body) <= LARGE else parse_large(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the body is not JSON: {error.msg}") from error
    inputs = content.get("inputs") if isinstance(content, dict) else None
    if isinstance(inputs, list):
        check_inputs(len(inputs), read_limits().inputs)
    if tail is not None:
        binary_tensors.attach_tensors(content, tail)
    return content


NO_REQUEST = "the body is not a V2 inference request: expected a JSON object with inputs"


def check_size(size: int, limit: int) -> None:
    """Refuse a body that is too large.

    Raises
    ------
    RequestTooLarge
    """
    if size > limit:
        raise RequestTooLarge(
            f"the body is larger than {limit} bytes; send fewer rows in a request, or let the"
            f" server take more with {LIMIT_VARIABLE}"
        )


@lru_cache(maxsize=64)
def _is_json(content_type: str) -> bool:
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    # tritonclient.http.aio calls everything bytes, also what is JSON only
    return kind in ("", "application/json", "application/octet-stream") or (
        kind.startswith("application/") and kind.endswith("+json")
    )


def _decompress(body: bytes, encoding: str, limit: int) -> bytes:
    if encoding.strip().lower() == "identity":
        return body
    if encoding.strip().lower() != "gzip":
        raise InvalidRequest(f"expected Content-Encoding gzip, or none; got {encoding!r:.80}")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as stream:
            content = stream.read(limit + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidRequest(
            f"the body cannot be decoded: Content-Encoding says {encoding!r:.80}, it is not"
        ) from error
    check_size(len(content), limit)
    return content


def _split(body: bytes, json_length: str) -> tuple[bytes, memoryview]:
    if not (json_length.isascii() and json_length.isdigit()) or len(json_length) > 19:
        raise InvalidRequest(
            f"expected {binary_tensors.HEADER} to be a number of bytes, got {json_length!r:.80}"
        )
    length = int(json_length)
    if length > len(body):
        raise InvalidRequest(
            f"{binary_tensors.HEADER} is {length}, and the body has {len(body)} bytes"
        )
    return body[:length], memoryview(body)[length:]  # no copy of what may be hundreds of MB
