"""Text, bytes and datetimes of one BYTES tensor."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from mlserver_pyfunc.refusals import MissingValue, WrongType
from pyfunc_packaging.schema import Column

Array = npt.NDArray[Any]

#: Date, time, fraction of a second, offset. ``datetime`` checks the values, but would take any
#: character between date and time, and cuts fractions off after six digits in silence.
_ISO_8601 = re.compile(
    r"[0-9W-]+(?:[T ][0-9:]+(?:[.,](?P<fraction>[0-9]+))?(?:Z|[+-][0-9:]+)?)?", re.ASCII
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_text(name: str, elements: Any, *, nullable: bool, base64: bool = False) -> Array:
    """Elements of a BYTES tensor as text.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    elements : sequence of str, bytes or None, or ndarray of str
        bytes are UTF-8.
    nullable : bool
        Whether null is allowed.
    base64 : bool
        Whether the elements are base64 of the text.

    Returns
    -------
    ndarray of shape (n,), dtype object
        str, and None where a value is missing.

    Raises
    ------
    WrongType, MissingValue

    Examples
    --------
    >>> read_text("city", ["Rome", b"Bern", None], nullable=True)
    array(['Rome', 'Bern', None], dtype=object)
    """
    if isinstance(elements, np.ndarray) and not base64:
        return elements  # as `read_repeated` made it
    kinds = set(map(type, elements))
    if base64 or not kinds <= {str}:
        elements = [
            _decode_one(name, position, cell, nullable, base64)
            for position, cell in enumerate(elements)
        ]
    result = np.empty(len(elements), dtype=object)
    result[:] = elements
    return result


def _decode_one(name: str, position: int, cell: Any, nullable: bool, base64: bool) -> str | None:
    if cell is None:
        _check_null(name, position, nullable)
        return None
    if base64:
        cell = _decode_base64(name, position, cell)
    if isinstance(cell, bytes):
        try:
            return cell.decode("utf-8")
        except UnicodeDecodeError as error:
            raise WrongType(
                f"input {name!r}, value {position}: expected text in UTF-8, got other bytes"
            ) from error
    if not isinstance(cell, str):
        raise WrongType(
            f"input {name!r}, value {position}: expected text for BYTES, got {_kind(cell)}"
        )
    return cell


def _kind(cell: Any) -> str:
    names: dict[type, str] = {bool: "true or false", dict: "an object", list: "a list"}
    return names.get(type(cell), "a number")


def _check_null(name: str, position: int, nullable: bool) -> None:
    if not nullable:
        raise MissingValue(
            f"input {name!r}, value {position}: expected BYTES, got null; the model cannot handle"
            f" missing values in this input"
        )


def _decode_base64(name: str, position: int, cell: Any) -> bytes:
    try:
        return b64decode(cell, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise WrongType(
            f"input {name!r}, value {position}: expected base64, as its content_type says, got"
            f" something else"
        ) from error


def read_binary(column: Column, elements: Any, *, base64: bool) -> Array:
    """Elements of a BYTES tensor as bytes; JSON strings are base64, or else their UTF-8."""
    result = np.empty(len(elements), dtype=object)
    for position, cell in enumerate(elements):
        if cell is None:
            _check_null(column.name, position, column.nullable)
        elif base64:
            result[position] = _decode_base64(column.name, position, cell)
        elif isinstance(cell, str):
            result[position] = _encode_utf8(column.name, position, cell)
        elif isinstance(cell, bytes):
            result[position] = cell
        else:
            raise WrongType(
                f"input {column.name!r}, value {position}: expected BYTES, got {_kind(cell)}"
            )
    return result


def _encode_utf8(name: str, position: int, cell: str) -> bytes:
    try:
        return cell.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can spell half of a surrogate pair
        raise WrongType(
            f"input {name!r}, value {position}: expected text that UTF-8 can hold, got half of a"
            f" surrogate pair"
        ) from error


def read_datetimes(column: Column, elements: Any) -> Array:
    """Elements of a BYTES tensor as datetimes in UTC.

    One rule: a text with an offset is that moment, a text without one is UTC.

    Parameters
    ----------
    column : Column
    elements : sequence of str, bytes or None
        ISO 8601, such as ``2026-11-22T14:00:00+01:00``; at most nanoseconds.

    Returns
    -------
    ndarray of shape (n,), dtype datetime64[ns]

    Raises
    ------
    WrongType, MissingValue

    Examples
    --------
    >>> read_datetimes(Column("at", "datetime"), ["2026-11-22T14:00:00+01:00"])
    array(['2026-11-22T13:00:00.000000000'], dtype='datetime64[ns]')
    """
    texts = read_text(column.name, elements, nullable=column.nullable)
    result = np.empty(len(texts), dtype="datetime64[ns]")
    for position, text in enumerate(texts):
        result[position] = (
            np.datetime64("NaT") if text is None else _read_datetime(column.name, position, text)
        )
    return result


def _read_datetime(name: str, position: int, text: str) -> np.datetime64:
    parts = _ISO_8601.fullmatch(text)
    try:
        if parts is None:
            raise ValueError
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise WrongType(
            f"input {name!r}, value {position}: expected a datetime in ISO 8601, such as"
            f" 2026-11-22T14:00:00Z, got other text"
        ) from error
    digits = parts["fraction"] or ""
    if digits[9:].strip("0"):
        raise WrongType(
            f"input {name!r}, value {position}: expected a datetime of at most nanoseconds, got a"
            f" finer one"
        )
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    microseconds = (moment - _EPOCH) // timedelta(microseconds=1)
    nanoseconds = microseconds * 1000 + int(digits[6:9].ljust(3, "0"))
    if not -(2**63) < nanoseconds < 2**63:  # -2**63 itself means NaT
        raise WrongType(
            f"input {name!r}, value {position}: expected a datetime from 1677-09-22 to 2262-04-11"
        )
    return np.datetime64(nanoseconds, "ns")
