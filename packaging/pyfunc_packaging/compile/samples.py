"""Made-up rows to try a Python function on."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.ranges import limits
from pyfunc_packaging.schema import MAX_EXACT, NUMPY_TYPES, Column

Array = npt.NDArray[Any]

#: Rows; a prime, which is the width of no table by accident.
ROWS = 97
#: Numbers and texts of a function's code that are tried.
MAX_CONSTANTS = 40

_FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    1.5,
    2.5,
    -2.5,
    3.0,
    10.0,
    1e3,
    1e-3,
    0.1,
    -0.7,
    1e-30,
    5e-324,
)
_FLOATS_LARGE = (1e9, -1e9, 2.0**53 + 2, 1e30, 1e39, 1e300, -1e300)
#: Without what makes other types of a batch: zeros, negative and huge numbers.
_USUAL_FLOATS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 7.25, 10.0, 40.0)
_USUAL_INTEGERS = (1, 2, 3, 5, 7, 10, 40)
_INTEGERS = (0, 1, -1, 2, 3, 7, -8, 10, 1000, 2**31, 2**53, -(2**53), 2**63 - 1, -(2**63))
_DATETIMES = ("1970-01-01", "1969-12-31T23:59:59", "2024-02-29T12:30:00", "2100-01-01")
_BYTES = (b"", b"a", b"\0\xff")
_TEXTS = ("", " ", "a", "A", "b", "unseen", "Straße 🏠", "a\nb", "1", "nan", "None")


def make_samples(
    columns: Sequence[Column], function: Any, *, usual: bool = False
) -> dict[str, Array]:
    """Made-up rows that a function may be given.

    Parameters
    ----------
    columns : sequence of Column
    function : callable
        The constants in its code are among the values.
    usual : bool
        Whether all numbers are positive, and neither huge nor tiny.

    Returns
    -------
    dict of str to ndarray of shape (ROWS,)
        Columns by name, as `pyfunc_packaging.frame` has them.
    """
    random = np.random.default_rng(0)
    constants = list(dict.fromkeys(_constants(function)))[:MAX_CONSTANTS]
    numbers = [c for c in constants if not isinstance(c, str)]
    texts = [c for c in constants if isinstance(c, str)]
    return {column.name: _cells(column, numbers, texts, random, usual) for column in columns}


def _cells(
    column: Column,
    numbers: Sequence[Any],
    texts: Sequence[str],
    random: np.random.Generator,
    usual: bool,
) -> Array:
    missing = np.zeros(ROWS, dtype=bool)
    if column.nullable:
        missing = random.random(ROWS) < 0.15
    if column.type == "string":
        choices = [*_TEXTS, *texts, *map(str, column.categories or ())]
        if column.closed and column.categories:
            choices = list(map(str, column.categories))
        cells = np.array(_spread(choices, random), dtype=object)
        cells[missing] = None
        return cells
    dtype = np.dtype(NUMPY_TYPES[column.type])
    if column.type == "datetime":
        cells = np.array(_spread(_DATETIMES, random), dtype=dtype)
        cells[missing] = "NaT"
        return cells
    if column.type == "binary":
        cells = np.array(_spread(_BYTES, random), dtype=object)
        cells[missing] = None
        return cells
    if column.type in ("double", "float"):
        limit = float(np.finfo(dtype).max)
        known = [
            *_FLOATS,
            *_FLOATS_LARGE,
            *(() if column.finite else (np.inf, -np.inf)),
            *map(float, numbers),
        ]
        known += [np.nextafter(float(n), side) for n in numbers for side in (-np.inf, np.inf)]
        floats = [n for n in known if abs(n) <= limit or np.isinf(n)]
        floats += random.normal(0, 10, 30).tolist()
        if usual:
            floats = [*_USUAL_FLOATS, *(n for n in floats if 0.01 < n < 1000)]
        cells = np.array(_spread(floats, random)).astype(dtype)
        cells[missing] = np.nan
        return cells
    if column.type == "boolean":
        cells = random.random(ROWS) < 0.5
    else:
        lowest, highest = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
        low, high = limits(column.dtype) or (lowest, highest)
        low, high = max(low, lowest), min(high, highest)
        if column.nullable:  # pandas holds them as floats
            low, high = max(low, -MAX_EXACT), min(high, MAX_EXACT)
        whole = [int(n) for n in numbers if float(n).is_integer()]
        integers = [n for n in (*_INTEGERS, *whole, low, high) if low <= n <= high]
        if usual:
            integers = [n for n in (*_USUAL_INTEGERS, *whole) if max(low, 1) <= n <= min(high, 999)]
        cells = np.array(_spread(integers, random), dtype=dtype)
    return np.ma.MaskedArray(cells, mask=missing) if missing.any() else cells


def _spread(choices: Sequence[Any], random: np.random.Generator) -> list[Any]:
    """All of the choices as often as they fit, in random order."""
    whole = [choices[i] for i in random.permutation(len(choices))][:ROWS]
    rest = [choices[i] for i in random.integers(0, len(choices), ROWS - len(whole))]
    mixed = [*whole, *rest]
    return [mixed[i] for i in random.permutation(ROWS)]


def _constants(function: Any) -> Iterator[Any]:
    """Numbers and texts in a function's code, and in the globals that it names."""
    if isinstance(function, functools.partial):
        yield from _plain([*function.args, *function.keywords.values()])
        yield from _constants(function.func)
        return
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return
    yield from _plain(code.co_consts)
    names = getattr(function, "__globals__", {})
    yield from _plain([names.get(name) for name in code.co_names])
    yield from _plain([cell.cell_contents for cell in function.__closure__ or () if _filled(cell)])


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _plain(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, str | bool | int | float):
            if isinstance(value, str) or (abs(value) < 2**63 and not isinstance(value, bool)):
                yield value
        elif isinstance(value, CodeType):
            yield from _plain(value.co_consts)
        elif isinstance(value, Mapping) and len(value) <= MAX_CONSTANTS:
            yield from _plain([*value, *value.values()])
        elif isinstance(value, tuple | list | set | frozenset) and len(value) <= MAX_CONSTANTS:
            yield from _plain(value)
