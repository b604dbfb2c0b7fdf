"""Arrow columns to the decoded columns that a scorer takes, and back, without loss.

Decoded columns are numpy arrays with the missing values that :mod:`pyfunc_packaging.frame`
describes. What has the signature's own type goes there directly; everything else takes the way
through pandas that ``bundle.predict`` takes, so that both follow one rule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.schema import MAX_EXACT, NUMPY_TYPES, Column

Array = npt.NDArray[Any]

#: MLflow column type -> Arrow type that holds the same values.
ARROW_TYPES: Mapping[str, pa.DataType] = {
    "boolean": pa.bool_(),
    "integer": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "datetime": pa.timestamp("ns"),
}

#: MLflow column type -> what a cell should be, for messages.
EXPECTED: Mapping[str, str] = {
    "boolean": "true or false",
    "integer": "an integer of 32 bits",
    "long": "an integer of 64 bits",
    "float": "a number",
    "double": "a number",
    "string": "text",
    "binary": "bytes",
    "datetime": "a datetime from 1677-09-22 to 2262-04-11, in ISO 8601 where it is text",
}

_OFFSET = r"[T ][0-9:.,]+(?:Z|[+-][0-9:]+)$"


class UnsuitableCell(UnsuitableData):
    """A cell does not fit its column; whoever knows the file adds the number of the row.

    Parameters
    ----------
    position : int
        Of the cell in its array, from 0.
    message : str
    """

    def __init__(self, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow type is one of its several types of text."""
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    )


def check_type(column: Column, kind: pa.DataType) -> None:
    """Refuse a type of which no value would fit a column.

    Parameters
    ----------
    column : Column
    kind : pyarrow.DataType
        Of the column in a file.

    Raises
    ------
    UnsuitableData

    Examples
    --------
    >>> check_type(Column("age", "long"), pa.string())
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.UnsuitableData: column 'age': expected long values, found string ones
    """
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    fits = {
        "string": is_text(kind),
        "binary": pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
        "datetime": pa.types.is_timestamp(kind) or pa.types.is_date(kind),
    }.get(column.type, number or pa.types.is_boolean(kind))
    if not fits and not pa.types.is_null(kind):
        raise UnsuitableData(
            f"column {column.name!r}: expected {column.type} values, found {kind} ones"
        )


# --- from Arrow -------------------------------------------------------------------------------


def decode(column: Column, cells: pa.Array) -> Array:
    """An Arrow array as a decoded column.

    Parameters
    ----------
    column : Column
    cells : pyarrow.Array
        Of a type that :func:`check_type` lets through.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    UnsuitableCell
        For the first cell that does not fit.

    Examples
    --------
    >>> decode(Column("age", "double", nullable=True), pa.array([41, None]))
    array([41., nan])
    """
    if pa.types.is_dictionary(cells.type) and not is_text(cells.type.value_type):
        cells = cells.dictionary_decode()
    if pa.types.is_null(cells.type):
        cells = cells.cast(ARROW_TYPES[column.type])
    if not column.nullable and cells.null_count:
        _refuse_missing(column, cells.is_null().to_numpy(zero_copy_only=False))
    if column.type == "string":
        return _texts(cells)
    if column.type == "datetime":
        moments: Array = first_unsuitable(column, cells, _datetimes)
        return moments
    if cells.type != ARROW_TYPES[column.type]:
        other: Array = first_unsuitable(column, cells, partial(_through_pandas, column))
        return other
    if column.type in ("double", "float"):
        return _check_floats(column, cells.to_numpy(zero_copy_only=False))
    if cells.null_count and column.type != "binary":
        missing = cells.is_null().to_numpy(zero_copy_only=False)
        present = cells.fill_null(False if column.type == "boolean" else 0)
        return np.ma.MaskedArray(present.to_numpy(zero_copy_only=False), mask=missing)
    values: Array = cells.to_numpy(zero_copy_only=False)
    return values


def _texts(cells: pa.Array) -> Array:
    """Texts as Python's, each of which is made once for all rows that repeat it."""
    if not pa.types.is_dictionary(cells.type):
        if not pa.types.is_string(cells.type):
            cells = cells.cast(pa.string())
        cells = cells.dictionary_encode()
    known = cells.dictionary.to_pylist()
    words = np.empty(len(known) + 1, dtype=object)  # the last one stays None
    words[:-1] = known
    result: Array = words[cells.indices.fill_null(len(known)).to_numpy(zero_copy_only=False)]
    return result


def _datetimes(cells: pa.Array) -> Array:
    zone = getattr(cells.type, "tz", None)
    # the zone says how to show a moment; the moment itself is in UTC
    moments = cells.cast(pa.timestamp("ns", zone)).view(pa.timestamp("ns"))
    values: Array = moments.to_numpy(zero_copy_only=False)
    return values


def _through_pandas(column: Column, cells: pa.Array) -> Array:
    from pyfunc_packaging.frame import from_series

    # an integer beside a missing one must not become a float on its way
    values = from_series(column, cells.to_pandas(integer_object_nulls=True))
    return _check_floats(column, values)


def _check_floats(column: Column, values: Array) -> Array:
    """Refuse NaN and infinity where the model cannot handle them."""
    if values.dtype.kind != "f":
        return values
    if not column.nullable:
        absent = np.isnan(values)
        if absent.any():
            _refuse_missing(column, absent)
    if column.finite:
        infinite = np.isinf(values)
        if infinite.any():
            raise UnsuitableCell(
                int(np.argmax(infinite)),
                f"column {column.name!r}: expected a finite number, found an infinite one, which"
                f" the model refuses",
            )
    return values


def _refuse_missing(column: Column, missing: npt.NDArray[np.bool_]) -> None:
    raise UnsuitableCell(
        int(np.argmax(missing)),
        f"column {column.name!r}: expected {EXPECTED[column.type]}, found a missing value, which"
        f" the model cannot handle there",
    )


def first_unsuitable(column: Column, cells: Any, convert: Callable[[Any], Any]) -> Any:
    """Convert cells; where that fails, say which is the first that it fails on.

    Parameters
    ----------
    column : Column
    cells : pyarrow.Array or list
    convert : callable
        Of some of the cells, each of which it converts by itself.

    Returns
    -------
    object
        What `convert` returned for all cells.

    Raises
    ------
    UnsuitableCell
    """
    try:
        return convert(cells)
    except (UnsuitableCell, pa.ArrowInvalid, UnsuitableData, UnicodeEncodeError) as error:
        if isinstance(error, UnsuitableCell):
            raise
        low, high = 0, len(cells)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                convert(cells[low:middle])
                low = middle
            except (pa.ArrowInvalid, UnsuitableData, UnicodeEncodeError):
                high = middle
        raise UnsuitableCell(
            low,
            f"column {column.name!r}: expected {EXPECTED[column.type]}, found {show(cells[low])}",
        ) from error


def show(cell: Any) -> str:
    """A cell for a message, on one line and not too long."""
    value = cell.as_py() if isinstance(cell, pa.Scalar) else cell
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


# --- from text --------------------------------------------------------------------------------


def parse(column: Column, cells: pa.Array) -> pa.Array:
    """Texts as the type of a column: decimal numbers, true and false, datetimes in ISO 8601.

    A number means the nearest float, as it does in Python; an integer that no float is equal to is
    refused. A datetime without an offset is in UTC. An empty text is a missing value, except in
    columns of text and bytes.

    Parameters
    ----------
    column : Column
    cells : pyarrow.Array of string

    Returns
    -------
    pyarrow.Array of the type in :data:`ARROW_TYPES`

    Raises
    ------
    UnsuitableCell

    Examples
    --------
    >>> parse(Column("age", "long"), pa.array(["41", " 7 ", "3.0", ""])).to_pylist()
    [41, 7, 3, None]
    """
    if column.type == "string":
        return cells
    if column.type == "binary":
        return cells.cast(pa.binary())
    empty = pc.equal(cells, "")
    if pc.any(empty).as_py():
        cells = pc.if_else(empty, pa.scalar(None, pa.string()), cells)
    return first_unsuitable(column, cells, lambda part: _parse(column, part))


def _parse(column: Column, cells: pa.Array) -> pa.Array:
    try:
        return _PARSERS[column.type](cells)
    except pa.ArrowInvalid:
        trimmed = pc.utf8_trim_whitespace(cells)
        if trimmed.equals(cells):
            raise
        return _PARSERS[column.type](
            pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
        )


def _parse_floats(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    numbers = cells.cast(kind)
    values = numbers.to_numpy(zero_copy_only=False)
    exact = MAX_EXACT if kind == pa.float64() else 2**24
    for position in np.flatnonzero(np.abs(values) >= exact):
        text, value = cells[int(position)].as_py(), values[position]
        if np.isinf(value):
            wrong = "inf" not in text.lower()  # too large
        else:
            # what a float is written as, "1152921504606847000" for 2**60, means that float
            same = (int(value), int(Decimal(str(value))))
            wrong = text.lstrip("+-").isdigit() and int(text) not in same
        if wrong:
            raise pa.ArrowInvalid(f"{text} is no {kind}")
    return numbers


def _parse_integers(cells: pa.Array, kind: pa.DataType) -> pa.Array:
    if pc.any(pc.match_substring(cells, "x", ignore_case=True)).as_py():
        raise pa.ArrowInvalid("hexadecimal numbers")
    try:
        return cells.cast(kind)
    except pa.ArrowInvalid:
        # "3.0" is what a table of integers with gaps mostly holds
        numbers = _parse_floats(cells, pa.float64())
        values = numbers.to_numpy(zero_copy_only=False)
        if (np.abs(values) >= MAX_EXACT).any():
            raise
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers).cast(kind)


def _parse_datetimes(cells: pa.Array) -> pa.Array:
    offset = pc.match_substring_regex(cells, _OFFSET)
    if not pc.any(offset).as_py():
        return cells.cast(pa.timestamp("ns"))
    nothing = pa.scalar(None, pa.string())
    aware = pc.if_else(offset, cells, nothing).cast(pa.timestamp("ns", "UTC"))
    naive = pc.if_else(offset, nothing, cells).cast(pa.timestamp("ns"))
    return pc.coalesce(aware.view(pa.timestamp("ns")), naive)


_PARSERS: Mapping[str, Callable[[pa.Array], pa.Array]] = {
    "double": lambda cells: _parse_floats(cells, pa.float64()),
    "float": lambda cells: _parse_floats(cells, pa.float32()),
    "long": lambda cells: _parse_integers(cells, pa.int64()),
    "integer": lambda cells: _parse_integers(cells, pa.int32()),
    "boolean": lambda cells: cells.cast(pa.bool_()),
    "datetime": _parse_datetimes,
}


# --- to Arrow ---------------------------------------------------------------------------------


def encode(kind: str, values: Array) -> pa.Array:
    """A decoded column, or one output's predictions, as Arrow; what is missing is null.

    Parameters
    ----------
    kind : str
        MLflow's name of the type, or numpy's of the dtype.
    values : ndarray of shape (n,)

    Examples
    --------
    >>> encode("double", np.array([1.5, np.nan])).to_pylist()
    [1.5, None]
    """
    target = ARROW_TYPES.get(kind)
    if target is None:
        dtype = np.dtype(NUMPY_TYPES.get(kind, kind))
        target = pa.string() if dtype.kind in "OU" else pa.from_numpy_dtype(dtype)
    if isinstance(values, np.ma.MaskedArray):
        mask = np.ma.getmaskarray(values)
        return pa.array(np.ma.getdata(values), type=target, mask=mask)
    return pa.array(values, type=target, from_pandas=True)
