"""Numbers and booleans of one tensor: from what came to the dtype that the signature says."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlserver_pyfunc.refusals import MissingValue, WrongType

Array = npt.NDArray[Any]

#: Datatype of the protocol -> numpy dtype.
#: Source: open-inference-protocol, "Tensor Data Types".
NUMBERS: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("bool"),
    "INT8": np.dtype("int8"),
    "INT16": np.dtype("int16"),
    "INT32": np.dtype("int32"),
    "INT64": np.dtype("int64"),
    "UINT8": np.dtype("uint8"),
    "UINT16": np.dtype("uint16"),
    "UINT32": np.dtype("uint32"),
    "UINT64": np.dtype("uint64"),
    "FP16": np.dtype("float16"),
    "FP32": np.dtype("float32"),
    "FP64": np.dtype("float64"),
}

#: dtypes whose own datatype needs no conversion, and which most columns have.
_PLAIN: Mapping[str, str] = {"float64": "FP64", "int64": "INT64"}

_JSON_NAMES = {
    bool: "true or false",
    bytes: "bytes",
    dict: "an object",
    float: "a number with a fraction",
    int: "a number",
    list: "a list",
    str: "text",
    type(None): "null",
}


def read_elements(
    name: str,
    datatype: str,
    elements: list[Any] | Array,
    target: str,
    *,
    nullable: bool,
    finite: bool,
) -> Array:
    """Convert the elements of a numeric or boolean tensor without loss.

    Parameters
    ----------
    name : str
        Of the input, for messages.
    datatype : str
        As the request says: what the elements are.
    elements : list or ndarray
    target : str
        numpy dtype that the model takes.
    nullable : bool
        Whether null (or NaN) is allowed.
    finite : bool
        Whether infinities are refused.

    Returns
    -------
    ndarray of shape (len(elements),)
        A masked array where integers or booleans are missing.

    Raises
    ------
    WrongType, MissingValue

    Examples
    --------
    >>> read_elements("x", "INT64", [1, None], "float64", nullable=True, finite=False)
    array([ 1., nan])
    """
    if datatype == _PLAIN.get(target) and type(elements) is list:
        plain = read_plain(elements, target, nullable=nullable)
        if plain is not None:
            return plain
    dtype = NUMBERS.get(datatype)
    if dtype is None:
        known = ", ".join([*NUMBERS, "BYTES"])
        raise WrongType(f"input {name!r}: expected a datatype of {known}, got {datatype!r:.80}")
    wanted = np.dtype(target)
    if isinstance(elements, np.ndarray) and elements.dtype == dtype:
        missing, values = None, elements
    else:
        elements = elements.tolist() if isinstance(elements, np.ndarray) else elements
        missing = _find_missing(name, elements, datatype, nullable)
        values = _parse(name, datatype, dtype, elements, missing)
    result = _convert(name, datatype, values, wanted)
    if wanted.kind == "f":
        return _finish_floats(name, result, missing, nullable, finite)
    if missing is None:
        return result
    return np.ma.MaskedArray(result, mask=missing)


def read_plain(elements: list[Any], target: str, *, nullable: bool) -> Array | None:
    """Elements that need no conversion; None for whatever needs a closer look, or a message.

    Parameters
    ----------
    elements : list
        Of the datatype that belongs to `target`.
    target : str
        ``"float64"`` or ``"int64"``.
    nullable : bool
        As for :func:`read_elements`.

    Returns
    -------
    ndarray of shape (len(elements),) or None

    Examples
    --------
    >>> read_plain([1.5, 2, None], "float64", nullable=True)
    array([1.5, 2. , nan])
    >>> read_plain([1.5, 2**53], "float64", nullable=True) is None  # may have been rounded
    True
    """
    block = read_block((elements,), target)
    if block is not None:
        values: Array = block[0]
        return values
    if not nullable or target != "float64" or not set(map(type, elements)) <= _NUMBER_OR_NULL:
        return None
    try:
        values = np.array(elements, dtype=np.float64)  # None becomes NaN
    except OverflowError:
        return None
    return values if (np.isnan(values) | (np.abs(values) < EXACT)).all() else None


def read_block(columns: Sequence[list[Any]], target: str) -> Array | None:
    """Columns of numbers that need no conversion, in one array; None for any others.

    Parameters
    ----------
    columns : sequence of list
        At least one, all of the same length n.
    target : str
        ``"float64"`` or ``"int64"``.

    Returns
    -------
    ndarray of shape (len(columns), n) or None

    Examples
    --------
    >>> read_block([[1.5, 2], [3.0, 4.0]], "float64")
    array([[1.5, 2. ],
           [3. , 4. ]])
    >>> read_block([[1.5, True]], "float64") is None
    True
    """
    count, code = len(columns[0]), _CODES[target]
    block = np.empty((len(columns), count), target)
    layout, size = f"{count}{code}", count * block.itemsize
    try:  # a quarter of the time that np.array takes
        for place, elements in enumerate(columns):
            struct.pack_into(layout, block.data, place * size, *elements)
    except (struct.error, OverflowError):  # no numbers, or too large ones
        return None
    if code == "d" and not (np.abs(block) < EXACT).all():
        return None
    # to struct, true is 1 and false is 0: the only numbers that are their own squares
    if np.count_nonzero(block * block == block):
        for elements in columns:
            if bool in map(type, elements):
                return None
    return block


#: What `struct` calls a cell.
_CODES: Mapping[str, str] = {"int64": "q", "float64": "d"}
_NUMBER_OR_NULL = {int, float, type(None)}

#: From here on, not every integer has a float64 of its own.
EXACT = 2.0**53


def _find_missing(
    name: str, elements: list[Any], datatype: str, nullable: bool
) -> npt.NDArray[np.bool_] | None:
    if None not in elements:
        return None
    if not nullable:
        raise MissingValue(
            f"input {name!r}, value {elements.index(None)}: expected {datatype}, got null; the"
            f" model cannot handle missing values in this input"
        )
    return np.fromiter((cell is None for cell in elements), dtype=bool, count=len(elements))


def _parse(
    name: str,
    datatype: str,
    dtype: np.dtype[Any],
    elements: list[Any],
    missing: npt.NDArray[np.bool_] | None,
) -> Array:
    """Elements as the dtype that the request names; missing ones become zero or false."""
    allowed: set[type] = {bool} if dtype.kind == "b" else {int, float}
    kinds = set(map(type, elements)) - {type(None)}
    if not kinds <= allowed:
        _refuse_kind(name, datatype, elements, allowed)
    if missing is not None:
        # zero, not NaN: numbers with a fraction may be bound for an integer column
        filler: bool | int = False if dtype.kind == "b" else 0
        elements = [filler if cell is None else cell for cell in elements]
    if dtype.kind == "b":
        return np.array(elements, dtype=bool)
    if dtype.kind == "f":
        return _parse_floats(name, datatype, dtype, elements, int in kinds)
    return _parse_integers(name, datatype, dtype, elements, float in kinds)


def _refuse_kind(name: str, datatype: str, elements: list[Any], allowed: set[type]) -> None:
    for position, cell in enumerate(elements):
        if cell is not None and type(cell) not in allowed:
            found = _JSON_NAMES.get(type(cell), type(cell).__name__)
            wanted = "true or false" if allowed == {bool} else "a number"
            raise WrongType(
                f"input {name!r}, value {position}: expected {wanted} for {datatype}, got {found}"
            )


def _parse_floats(
    name: str, datatype: str, dtype: np.dtype[Any], elements: list[Any], integers: bool
) -> Array:
    try:
        wide = np.array(elements, dtype=np.float64)
    except OverflowError as error:
        raise WrongType(f"input {name!r}: a number is too large for {datatype}") from error
    # A number of datatype FP32 means the nearest float32, as it would be in a binary tensor.
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype, copy=False)
    _refuse_at(name, np.isinf(narrow) & np.isfinite(wide), f"a number too large for {datatype}")
    if integers:
        bits = np.finfo(dtype).nmant + 1
        for position in np.flatnonzero(np.abs(wide) >= 2.0**bits):
            cell = elements[position]
            if type(cell) is int and int(narrow[position]) != cell:
                raise WrongType(
                    f"input {name!r}, value {position}: an integer beyond 2**{bits} that"
                    f" {datatype} cannot hold exactly"
                )
    return narrow


def _parse_integers(
    name: str, datatype: str, dtype: np.dtype[Any], elements: list[Any], floats: bool
) -> Array:
    if floats:
        elements = [
            _integral(name, datatype, position, cell) for position, cell in enumerate(elements)
        ]
    limits = np.iinfo(dtype)
    if elements and not (limits.min <= min(elements) and max(elements) <= limits.max):
        outside = np.array([not limits.min <= cell <= limits.max for cell in elements])
        _refuse_at(name, outside, f"an integer outside {datatype}")
    return np.array(elements, dtype=dtype)


def _integral(name: str, datatype: str, position: int, cell: float) -> int:
    if type(cell) is float and not cell.is_integer():
        raise WrongType(
            f"input {name!r}, value {position}: expected an integer for {datatype}, got a number"
            f" with a fraction"
        )
    if type(cell) is float and cell <= -(2.0**63):
        # the JSON parser makes a float of an integer beyond 64 bits: -2.0**63 may be a rounded one
        raise WrongType(f"input {name!r}, value {position}: got an integer outside {datatype}")
    return int(cell)


def _convert(name: str, datatype: str, values: Array, wanted: np.dtype[Any]) -> Array:
    """Change the dtype, refusing what would not come back the same."""
    if values.dtype == wanted:
        return values
    what = _KINDS[wanted.kind]
    if wanted.kind in "iu" and values.dtype.kind == "f":
        limits = np.iinfo(wanted)
        wide = values.astype(np.float64)
        with np.errstate(invalid="ignore"):
            fraction = wide != np.trunc(wide)
        _refuse_at(name, fraction, f"a {datatype} that is no integer, where {wanted} is expected")
        # 2.0**63 is exact, and the largest integers of 64 bits lie just below it
        outside = (wide < float(limits.min)) | (wide >= float(limits.max + 1))
        _refuse_at(name, outside, f"a {datatype} too large for {wanted}")
    with np.errstate(over="ignore", invalid="ignore"):
        result = values.astype(wanted)
        back = result.astype(values.dtype)
    lossy = back != values
    if wanted.kind in "iu" and values.dtype.kind in "iu":
        # -1 and the largest unsigned integer are the same bits
        lossy |= (values < 0) != (result < 0)
        _refuse_at(name, lossy, f"a {datatype} too large for {wanted}")
    if wanted.kind == "f" and values.dtype.kind == "f":
        lossy &= ~np.isnan(values)
    elif wanted.kind == "f" and values.dtype.kind in "iu":
        # the largest integers round up to 2**n, which has no way back
        lossy |= result.astype(np.float64) >= float(np.iinfo(values.dtype).max + 1)
        lossy |= np.isinf(result)
    _refuse_at(
        name,
        lossy,
        f"a {datatype} that {what} ({wanted}) cannot hold exactly; send the datatype that the"
        f" model's metadata names",
    )
    return result


_KINDS = {"b": "a boolean", "i": "an integer", "u": "an integer", "f": "a floating-point number"}


def _refuse_at(name: str, wrong: npt.NDArray[np.bool_], found: str) -> None:
    if wrong.any():
        raise WrongType(f"input {name!r}, value {int(np.argmax(wrong))}: got {found}")


def _finish_floats(
    name: str,
    values: Array,
    missing: npt.NDArray[np.bool_] | None,
    nullable: bool,
    finite: bool,
) -> Array:
    if missing is not None:
        values = values.copy() if not values.flags.writeable else values
        values[missing] = np.nan
    if not nullable:
        _refuse_at(name, np.isnan(values), "NaN, and the model cannot handle missing values there")
    if finite:
        _refuse_at(name, np.isinf(values), "an infinite number, which the model refuses")
    return values
