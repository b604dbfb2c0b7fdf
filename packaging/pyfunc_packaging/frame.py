"""Decoded columns to the DataFrame that the model was trained on, and back.

Between the wire and pandas a column is a numpy array with one convention for missing values:
NaN in float arrays, NaT in datetimes, None in object arrays (text, bytes), and a
``numpy.ma.MaskedArray`` for integers and booleans, which have no value to spare.
"""

from __future__ import annotations

import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.ranges import check_exact, check_range
from pyfunc_packaging.schema import MAX_EXACT, NUMPY_TYPES, Column, Schema

Array = npt.NDArray[Any]

_MISSING: Mapping[str, Any] = {"None": None, "NaN": np.nan, "NA": pd.NA}


@functools.lru_cache(maxsize=256)
def _pandas_dtype(dtype: str) -> Any:
    """A dtype by its name; pandas takes its time to look one up."""
    return pd.api.types.pandas_dtype(dtype)


def to_frame(columns: Sequence[Column], values: Mapping[str, Array]) -> pd.DataFrame:
    """Build the DataFrame that the model is called with, in training's order and dtypes.

    Parameters
    ----------
    columns : sequence of Column
        The columns of the signature.
    values : mapping of str to ndarray of shape (n,)
        One array a column, missing values as this module says.

    Returns
    -------
    pandas.DataFrame of shape (n, len(columns))

    Examples
    --------
    >>> age = Column("age", "long", nullable=True, dtype="Int64")
    >>> to_frame([age], {"age": np.ma.MaskedArray([52, 0], mask=[False, True])})["age"].tolist()
    [52, <NA>]
    """
    data = {column.name: to_series(column, values[column.name]) for column in columns}
    return pd.DataFrame(data, copy=False)


def to_series(column: Column, values: Array) -> pd.Series[Any]:
    """One column of :func:`to_frame`: ``values`` in the dtype that the column had in training."""
    dtype = column.dtype
    if column.type == "datetime":
        return _datetimes(column, values)
    check_range(column, values)
    if dtype == "category":
        return pd.Series(_categorical(column, values))
    missing = _mask(values)
    if dtype is None or isinstance(_pandas_dtype(dtype), np.dtype):
        plain = _plain(column, values, missing)
        return pd.Series(plain, dtype=plain.dtype, copy=False)  # pandas 3 would make text "str"
    # an extension type: text, nullable numbers, Arrow
    if missing is None or values.dtype.kind in "OfM":
        return pd.Series(pd.array(values, dtype=dtype), copy=False)
    cells = np.ma.getdata(values).astype(object)
    cells[missing] = None
    return pd.Series(pd.array(cells, dtype=dtype), copy=False)


def _mask(values: Array) -> npt.NDArray[np.bool_] | None:
    """Where a masked array is missing; None where nothing is."""
    if not isinstance(values, np.ma.MaskedArray):
        return None
    mask = np.ma.getmaskarray(values)
    return mask if mask.any() else None


def _plain(column: Column, values: Array, missing: npt.NDArray[np.bool_] | None) -> Array:
    """Values in a numpy dtype: the training dtype, or what pandas makes of it when values miss."""
    dtype = np.dtype(column.dtype) if column.dtype else np.dtype(NUMPY_TYPES[column.type])
    data: Array = np.ma.getdata(values)
    if dtype.kind == "O":
        cells: Array = data.astype(object)
        marker = _MISSING[column.missing or "None"]
        if missing is not None:
            cells[missing] = marker
        elif marker is not None:
            cells[_absent(cells)] = marker
        elif data.dtype.kind == "f":
            cells[np.isnan(data)] = None
        return cells
    if missing is None:
        return data.astype(dtype, copy=False)
    if dtype.kind in "iu":
        check_exact(column, data, missing)
        filled: Array = data.astype(np.float64)
        filled[missing] = np.nan
        return filled
    cells = data.astype(object)
    cells[missing] = None
    return cells


def _absent(cells: Array) -> npt.NDArray[np.bool_]:
    """Where an object array holds None or NaN."""
    return np.fromiter(
        (cell is None or cell != cell for cell in cells),  # noqa: PLR0124 - only NaN differs so
        dtype=bool,
        count=len(cells),
    )


def _categorical(column: Column, values: Array) -> pd.Categorical:
    """A categorical with the training categories first and values never seen after them.

    Codes of known categories are those of training, and an unseen one stays visible to the model
    (which may know how to handle it) where pandas alone would turn it into a missing value.
    """
    cells = np.ma.getdata(values).astype(object)
    missing = _mask(values)
    if missing is not None:
        cells[missing] = None
    cells[_absent(cells)] = None
    known = column.categories or ()
    unseen = sorted({cell for cell in cells if cell is not None}.difference(known))
    categories = pd.Index([*known, *unseen]) if known else pd.Index(unseen, dtype=object)
    return pd.Categorical(cells, categories=categories, ordered=column.ordered)


def _datetimes(column: Column, values: Array) -> pd.Series[Any]:
    moments: Array = values.astype("datetime64[ns]")
    series = pd.Series(moments, copy=False)
    if column.dtype is None:
        return series
    dtype = _pandas_dtype(column.dtype)
    if isinstance(dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_localize("UTC")
    try:
        result = series.astype(dtype)
        if dtype.kind == "O":
            result[np.isnat(moments)] = _MISSING[column.missing or "None"]
            return result
        same = np.array_equal(_to_datetimes(result, np.isnat(moments)), moments, equal_nan=True)
    except (TypeError, ValueError):  # Arrow refuses where numpy cuts off
        same = False
    if not same:
        raise UnsuitableData(
            f"column {column.name!r}: a datetime is finer than {column.dtype}, which the column"
            f" had in training"
        )
    return result


# --- from pandas ------------------------------------------------------------------------------


def from_frame(schema: Schema, frame: pd.DataFrame) -> dict[str, Array]:
    """Take the signature's columns out of a DataFrame, converted without loss.

    Columns may come in any order and in any dtype that holds the same values; columns that the
    signature does not name are left out, as MLflow does.

    Raises
    ------
    UnsuitableData
        If columns are missing, or a value cannot be converted without loss.

    Examples
    --------
    >>> schema = Schema((Column("age", "double", nullable=True),))
    >>> from_frame(schema, pd.DataFrame({"name": ["a", "b"], "age": [1, 2]}))
    {'age': array([1., 2.])}
    """
    if not isinstance(frame, pd.DataFrame):
        raise UnsuitableData(f"the rows should be a pandas DataFrame, found {type(frame).__name__}")
    absent = [column.name for column in schema.columns if column.name not in frame.columns]
    if absent:
        raise UnsuitableData(
            f"the rows lack the column(s) {', '.join(map(repr, absent))}; the model takes"
            f" {', '.join(column.name for column in schema.columns)}"
        )
    repeated = set(frame.columns[frame.columns.duplicated()])
    if twice := [column.name for column in schema.columns if column.name in repeated]:
        raise UnsuitableData(
            f"the rows hold the column(s) {', '.join(map(repr, twice))} more than once"
        )
    return {column.name: from_series(column, frame[column.name]) for column in schema.columns}


def from_series(column: Column, series: pd.Series[Any]) -> Array:
    """One column of :func:`from_frame`."""
    if isinstance(series.dtype, pd.CategoricalDtype):
        series = series.astype(object)  # categories of integers have no place for what is missing
    missing = series.isna().to_numpy(dtype=bool)
    if missing.any() and not column.nullable:
        raise UnsuitableData(
            f"column {column.name!r}: {int(missing.sum())} value(s) are missing, and the model"
            f" cannot handle missing values there"
        )
    try:
        converted: Array = _CONVERTERS[column.type](series, missing)
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsuitableData(
            f"column {column.name!r}: expected {column.type} values, found dtype"
            f" {series.dtype} ({error})"
        ) from error
    return converted


def _to_float(series: pd.Series[Any], missing: npt.NDArray[np.bool_], dtype: str) -> Array:
    kind = series.dtype.kind
    if kind not in "biufO":
        raise TypeError("no numbers")
    if kind == "O" and any(isinstance(cell, str | bytes) for cell in series):
        raise ValueError("text among numbers")
    wide: Array = series.to_numpy(dtype="float64", na_value=np.nan)
    if kind in "iuO":
        for position in np.flatnonzero(~missing & (np.abs(wide) >= MAX_EXACT)):
            cell = series.iloc[position]
            if isinstance(cell, int | np.integer) and int(wide[position]) != int(cell):
                raise ValueError("an integer has no exact float64")
    wider = kind == "f" and series.dtype.itemsize > wide.itemsize
    if wider and not np.array_equal(series.to_numpy(), wide, equal_nan=True):
        raise ValueError("a number has no exact float64")
    if dtype == "float64":
        return wide
    with np.errstate(over="ignore"):
        narrow = wide.astype(dtype)
    if not np.array_equal(narrow.astype(np.float64), wide, equal_nan=True):
        raise ValueError(f"a number has no exact {dtype}")
    return narrow


def _to_integer(series: pd.Series[Any], missing: npt.NDArray[np.bool_], dtype: str) -> Array:
    present = series[~missing]
    cells = np.array([int(cell) for cell in present], dtype=dtype)
    if len(cells) and not (present.to_numpy(dtype=object) == cells.astype(object)).all():
        raise ValueError("a number is no integer")
    return _spread(cells, missing, dtype)


def _to_boolean(series: pd.Series[Any], missing: npt.NDArray[np.bool_]) -> Array:
    present = series[~missing].to_numpy(dtype=object)
    if not all(isinstance(cell, bool | np.bool_) or cell in (0, 1) for cell in present):
        raise ValueError("a value is neither true nor false")
    return _spread(present.astype(bool), missing, "bool")


def _spread(present: Array, missing: npt.NDArray[np.bool_], dtype: str) -> Array:
    """Put the present values back between the missing ones."""
    if not missing.any():
        return present
    data = np.zeros(len(missing), dtype=dtype)
    data[~missing] = present
    return np.ma.MaskedArray(data, mask=missing)


def _to_objects(
    series: pd.Series[Any], missing: npt.NDArray[np.bool_], kind: type[str] | type[bytes]
) -> Array:
    cells: Array = series.to_numpy(dtype=object).copy()
    cells[missing] = None
    found = {type(cell).__name__ for cell in cells[~missing] if not isinstance(cell, kind)}
    if found:
        raise TypeError(f"values of type {', '.join(sorted(found))}")
    return cells


def _to_datetimes(series: pd.Series[Any], missing: npt.NDArray[np.bool_]) -> Array:
    if series.dtype == object:
        wrong = {type(cell) for cell in series[~missing]} - {datetime.datetime, pd.Timestamp}
        if wrong:
            raise TypeError(f"values of type {', '.join(sorted(t.__name__ for t in wrong))}")
        series = pd.to_datetime(series)
    if isinstance(series.dtype, pd.DatetimeTZDtype):
        series = series.dt.tz_convert("UTC").dt.tz_localize(None)
    if series.dtype.kind != "M":
        raise TypeError("no datetimes")
    if isinstance(series.dtype, np.dtype):
        series = series.astype("datetime64[ns]")  # refuses what to_numpy would wrap around
    moments: Array = series.to_numpy(dtype="datetime64[ns]")
    return moments


_CONVERTERS: Mapping[str, Any] = {
    "double": lambda series, missing: _to_float(series, missing, "float64"),
    "float": lambda series, missing: _to_float(series, missing, "float32"),
    "long": lambda series, missing: _to_integer(series, missing, "int64"),
    "integer": lambda series, missing: _to_integer(series, missing, "int32"),
    "boolean": _to_boolean,
    "string": lambda series, missing: _to_objects(series, missing, str),
    "binary": lambda series, missing: _to_objects(series, missing, bytes),
    "datetime": _to_datetimes,
}


# --- JSON -------------------------------------------------------------------------------------


def to_json(column_type: str, values: Array) -> list[Any]:
    """Values as JSON knows them: missing values and NaN as None, datetimes as ISO-8601.

    Examples
    --------
    >>> to_json("double", np.array([1.5, np.nan]))
    [1.5, None]
    """
    if column_type == "datetime":
        return [
            None if text == "NaT" else text for text in np.datetime_as_string(values, "ns").tolist()
        ]
    cells: list[Any] = values.tolist()  # a masked array gives None for what is masked
    if values.dtype.kind == "f" and np.isnan(values).any():
        return [None if cell != cell else cell for cell in cells]  # noqa: PLR0124 - only NaN differs so
    return cells


def from_json(column: Column, cells: Sequence[Any]) -> Array:
    """Read back what :func:`to_json` wrote for ``column``; for our own files, not for requests.

    Examples
    --------
    >>> from_json(Column("x", "double"), [1.5, None])
    array([1.5, nan])
    """
    dtype = NUMPY_TYPES[column.type]
    if column.type == "datetime":
        return np.array(["NaT" if cell is None else cell for cell in cells], dtype=dtype)
    if dtype == "object" or column.type in ("double", "float"):
        return np.array(cells, dtype=dtype)
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return _spread(np.array([c for c in cells if c is not None], dtype=dtype), missing, dtype)
