"""Which numbers a column could have held in training; MLflow's types are wider than pandas'.

A number that cannot stand in the column's dtype would wrap around there, or be rounded, in silence.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.schema import MAX_EXACT, Column

Array = npt.NDArray[Any]

#: What pyarrow calls otherwise than numpy.
_ARROW = {"halffloat[pyarrow]": "float16", "float[pyarrow]": "float32"}


@functools.lru_cache(maxsize=256)
def limits(dtype: str | None) -> tuple[float, float] | None:
    """Smallest and largest number of a pandas dtype that is narrower than its MLflow type.

    Parameters
    ----------
    dtype : str or None
        By name, whoever's it is: numpy's, pandas' own, pyarrow's.

    Returns
    -------
    tuple of two numbers, or None
        None where every number of the type fits.

    Examples
    --------
    >>> limits("int8"), limits("UInt16"), limits("int64")
    ((-128, 127), (0, 65535), None)
    >>> limits("int8[pyarrow]"), limits("float[pyarrow]") == limits("float32")
    ((-128, 127), True)
    """
    name = _ARROW.get(dtype or "", dtype or "").lower()
    match = re.fullmatch(r"(u?int(?:8|16|32)|uint64|float(?:16|32))(?:\[pyarrow\])?", name)
    if match is None:
        return None
    if name.startswith("float"):
        floats = np.finfo(match[1])
        return float(floats.min), float(floats.max)
    integers = np.iinfo(match[1])
    return int(integers.min), int(integers.max)


def check_range(column: Column, values: Array) -> None:
    """Refuse numbers that are too large for the dtype that a column had in training.

    Parameters
    ----------
    column : Column
    values : ndarray of shape (n,)
        As :mod:`pyfunc_packaging.frame` describes; infinite ones fit every dtype of floats.

    Raises
    ------
    UnsuitableData
    """
    bounds = limits(column.dtype)
    if bounds is None or values.dtype.kind not in "iuf":
        return
    numbers = np.ma.getdata(values)
    if numbers.dtype.kind == "f":
        numbers = numbers[np.isfinite(numbers)]
    if len(numbers) and not (bounds[0] <= numbers.min() and numbers.max() <= bounds[1]):
        raise UnsuitableData(
            f"column {column.name!r}: a number is too large for {column.dtype}, which the column"
            f" had in training"
        )


def check_exact(column: Column, values: Array, missing: npt.NDArray[np.bool_]) -> None:
    """Refuse integers that are no float64 where others are missing, which makes floats of all.

    Parameters
    ----------
    column : Column
    values : ndarray of shape (n,)
    missing : ndarray of bool, shape (n,)
        Which of them are missing.

    Raises
    ------
    UnsuitableData
    """
    if missing.any() and (np.abs(values[~missing]) > MAX_EXACT).any():
        raise UnsuitableData(
            f"column {column.name!r}: an integer beyond 2**53 next to missing values cannot be held"
            f" exactly, since they make float64 of all; send the rows with missing values in a"
            f" request of their own"
        )
