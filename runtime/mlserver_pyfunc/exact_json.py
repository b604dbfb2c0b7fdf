"""JSON bodies whose integers are kept exactly, also beyond 64 bits.

orjson makes a float of an integer that does not fit 64 bits, so that nobody could tell later that
it was rounded. Bodies with such an integer, and only those, are parsed by Python's own parser.
"""

from __future__ import annotations

import json
import re
from typing import Any

import orjson

#: 19 digits or more that begin a JSON number; the largest signed integer of 64 bits has 19.
_LONG_INTEGER = re.compile(rb"[\[,:\s]-?\d{19}")

#: Makes a zero of every digit, so that a search for one text finds any run of digits: ten times
#: faster than the expression, which few bodies need then.
_ZEROS = bytes(ord("0") if chr(code).isdigit() and code < 128 else code for code in range(256))
_RUN = b"0" * 19


def parse_exactly(body: bytes) -> Any:
    """Parse JSON.

    Parameters
    ----------
    body : bytes

    Returns
    -------
    object

    Raises
    ------
    orjson.JSONDecodeError
        If it is no JSON; NaN and Infinity are none.

    Examples
    --------
    >>> parse_exactly(b"[18446744073709551616, 0.5]")
    [18446744073709551616, 0.5]
    """
    content = orjson.loads(body)
    if has_long_integer(body):
        try:
            return json.loads(body)
        except RecursionError as error:
            raise orjson.JSONDecodeError("depth limit exceeded", "", 0) from error
    return content


def has_long_integer(body: bytes) -> bool:
    """Whether JSON may hold an integer that orjson makes a float of."""
    return _RUN in body.translate(_ZEROS) and _LONG_INTEGER.search(body) is not None
