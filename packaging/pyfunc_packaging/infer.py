"""Find a model's schema: names and types from its rows, missing values by asking the model.

Asking means predicting: a few given rows are repeated with one column missing (or infinite), and
the column may be missing if the model still returns a usable prediction for that row.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pandas.api import types as pdt

from pyfunc_packaging import frame as frames
from pyfunc_packaging.errors import UnsuitableData, UnsuitableModel
from pyfunc_packaging.schema import Column, Schema, Tensor

Predict = Callable[[pd.DataFrame], Any]

_INFERRED = {
    "string": "string",
    "boolean": "boolean",
    "integer": "long",
    "floating": "double",
    "mixed-integer-float": "double",
    "datetime": "datetime",
    "datetime64": "datetime",
}


def infer_columns(rows: pd.DataFrame) -> tuple[Column, ...]:
    """Describe the columns of ``rows``, none of them nullable yet.

    Parameters
    ----------
    rows : pandas.DataFrame of shape (n, m)

    Returns
    -------
    tuple of Column

    Raises
    ------
    UnsuitableData
        If ``rows`` is no DataFrame, is empty, or has columns that no tensor can carry.

    Examples
    --------
    >>> [(c.name, c.type) for c in infer_columns(pd.DataFrame({"age": [3], "city": ["Rome"]}))]
    [('age', 'long'), ('city', 'string')]
    """
    if not isinstance(rows, pd.DataFrame):
        raise UnsuitableData(
            f"X should be a pandas DataFrame of raw rows as the model was trained on, found"
            f" {type(rows).__name__}; wrap it: pd.DataFrame(X, columns=[...])"
        )
    odd = [name for name in rows.columns if not isinstance(name, str)]
    if odd:
        raise UnsuitableData(
            f"column names should be strings, found {odd[0]!r} ({type(odd[0]).__name__});"
            f" rename them before training, for instance with X.columns = X.columns.map(str)"
        )
    repeated = sorted(set(rows.columns[rows.columns.duplicated()]))
    if repeated:
        raise UnsuitableData(f"column names should be unique, found {repeated} more than once")
    if rows.shape[0] == 0 or rows.shape[1] == 0:
        raise UnsuitableData(
            f"X should have at least one row and one column, found shape {rows.shape}"
        )
    return tuple(_describe(name, rows[name]) for name in rows.columns)


def _describe(name: str, series: pd.Series[Any]) -> Column:
    dtype = series.dtype
    text = str(dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        categories = dtype.categories
        column = _describe(name, pd.Series(categories))
        if column.type == "datetime":
            raise UnsuitableData(_no_tensor(name, "category", column.type))
        return replace(
            column,
            dtype="category",
            categories=tuple(frames.to_json(column.type, categories.to_numpy())),
            ordered=bool(dtype.ordered),
            missing=None,
        )
    if isinstance(dtype, pd.SparseDtype):
        raise UnsuitableData(_no_tensor(name, text, "sparse"))
    if pdt.is_bool_dtype(dtype):
        return Column(name, "boolean", dtype=text)
    if pdt.is_integer_dtype(dtype):
        if dtype.kind == "u" and dtype.itemsize == 8:
            _check_range(name, series)
        small = dtype.itemsize < 4 or (dtype.itemsize == 4 and dtype.kind == "i")
        return Column(name, "integer" if small else "long", dtype=text)
    if pdt.is_float_dtype(dtype):
        return Column(name, "float" if dtype.itemsize <= 4 else "double", dtype=text)
    if pdt.is_datetime64_any_dtype(dtype):
        return Column(name, "datetime", dtype=text)
    if isinstance(dtype, pd.StringDtype):
        return Column(name, "string", dtype=text)
    found = pdt.infer_dtype(series, skipna=True)
    if found == "datetime" and any(getattr(cell, "tzinfo", None) for cell in series):
        found = "datetime with an offset"
    if found not in _INFERRED:
        raise UnsuitableData(_no_tensor(name, text, found))
    return Column(name, _INFERRED[found], dtype=text, missing=_marker(series))


def _check_range(name: str, series: pd.Series[Any]) -> None:
    if (series > np.iinfo(np.int64).max).any():
        raise UnsuitableData(
            f"column {name!r}: MLflow has no type for unsigned integers beyond 2**63 - 1;"
            f" train on another type"
        )


def _no_tensor(name: str, dtype: str, found: str) -> str:
    hints = {
        "empty": "every value is missing; leave the column out, or give rows that have values",
        "date": "use pandas datetimes: pd.to_datetime(...)",
        "datetime with an offset": "use pandas datetimes: pd.to_datetime(..., utc=True)",
        "timedelta": "use a number: .dt.total_seconds()",
        "timedelta64": "use a number: .dt.total_seconds()",
        "sparse": "use a dense column: .sparse.to_dense()",
        "decimal": "use floats: .astype(float)",
        "bytes": "use text: .str.decode('utf-8')",
        "mixed": "use one type for all values of a column",
        "mixed-integer": "use one type for all values of a column",
    }
    hint = hints.get(found, "use numbers, text, booleans or datetimes")
    return f"column {name!r} (dtype {dtype}, {found} values) fits no MLflow column type; {hint}"


def _marker(series: pd.Series[Any]) -> str:
    """What marks a missing value in an object column; NaN, which pandas itself uses, if none is."""
    for cell in series[series.isna()]:
        return "None" if cell is None else "NA" if cell is pd.NA else "NaN"
    return "NaN"


def probe(columns: Sequence[Column], rows: pd.DataFrame, predict: Predict) -> tuple[Column, ...]:
    """Ask the model what it can handle: missing values, infinite numbers, texts never seen.

    Parameters
    ----------
    columns : sequence of Column
    rows : pandas.DataFrame
        Rows that the model predicts.
    predict : callable
        Takes a DataFrame and returns one prediction a row.

    Returns
    -------
    tuple of Column
        The columns with ``nullable``, ``finite`` and ``closed`` set.
    """
    base = _complete_row(rows)
    nullable = {column.name: bool(rows[column.name].isna().any()) for column in columns}
    candidates = [column for column in columns if not nullable[column.name]]
    accepted = _accepted(candidates, columns, base, predict, missing_like)
    numbers = [column for column in columns if column.type in ("double", "float")]
    infinite = _accepted(numbers, columns, base, predict, _infinite)
    texts = [column for column in columns if column.type == "string"]
    unseen = _accepted(texts, columns, base, predict, _unseen)
    return tuple(
        replace(
            column,
            nullable=nullable[column.name] or column.name in accepted,
            finite=column in numbers and column.name not in infinite,
            closed=column in texts and column.name not in unseen,
        )
        for column in columns
    )


def _complete_row(rows: pd.DataFrame) -> pd.DataFrame:
    """One row without missing values where there is one, else the first row."""
    complete = rows[rows.notna().all(axis=1)]
    return (complete if len(complete) else rows).iloc[[0]].reset_index(drop=True)


def missing_like(values: frames.Array) -> frames.Array:
    """As many missing values, as `pyfunc_packaging.frame` marks them."""
    if values.dtype.kind in "fM":
        return np.full_like(values, "NaT" if values.dtype.kind == "M" else np.nan)
    if values.dtype == object:
        return np.full_like(values, None)
    return np.ma.MaskedArray(np.ma.getdata(values), mask=True)


def _unseen(values: frames.Array) -> frames.Array:
    return np.full_like(values, "a text that nobody has seen in training")


def _infinite(values: frames.Array) -> frames.Array:
    return np.full_like(values, np.inf)


def _accepted(
    candidates: Sequence[Column],
    columns: Sequence[Column],
    base: pd.DataFrame,
    predict: Predict,
    change: Callable[[frames.Array], frames.Array],
) -> set[str]:
    """Names of the candidates for which the model predicts a changed row."""
    lenient = [replace(column, nullable=True) for column in columns]
    row = frames.from_frame(Schema(tuple(lenient)), base)
    names = [column.name for column in candidates]

    if not names:
        return set()
    # All at once first, row i with column i changed: one call where the model accepts them all
    cells = {
        column.name: _repeat(
            row[column.name],
            change(row[column.name]) if column.name in names else row[column.name],
            [name == column.name for name in names],
        )
        for column in lenient
    }
    try:
        together = _usable(predict, frames.to_frame(lenient, cells))
    except UnsuitableData:  # missing integers make floats of a column, and large ones do not fit
        together = None
    if together is not None:
        return {name for name, fine in zip(names, together, strict=True) if fine}
    accepted = set()
    plain = frames.to_frame(lenient, row)
    for column in lenient:
        if column.name not in names:
            continue
        changed = plain.copy(deep=False)
        changed[column.name] = frames.to_series(column, change(row[column.name]))
        fine = _usable(predict, changed)
        if fine is not None and fine[0]:
            accepted.add(column.name)
    return accepted


def _repeat(value: frames.Array, changed: frames.Array, where: Sequence[bool]) -> frames.Array:
    """One value repeated, with the changed one in its place where it says so."""
    positions = np.array(where, dtype=int)
    data = np.concatenate([np.ma.getdata(value), np.ma.getdata(changed)])[positions]
    mask = np.concatenate([_mask(value), _mask(changed)])[positions]
    return np.ma.MaskedArray(data, mask=mask) if mask.any() else data


def _mask(values: frames.Array) -> npt.NDArray[np.bool_]:
    mask: npt.NDArray[np.bool_] = np.ma.getmaskarray(np.ma.asarray(values))
    return mask


def _usable(predict: Predict, rows: pd.DataFrame) -> npt.NDArray[np.bool_] | None:
    """Which rows get a finite prediction; None if the model refuses them."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a row that no one will ever send may well warn
            predictions = np.asarray(predict(rows))
    except Exception:  # noqa: BLE001 - whatever the model raises is its answer: it refuses
        return None
    if predictions.ndim == 0 or len(predictions) != len(rows):
        return None  # a model that leaves rows out has not predicted them
    if predictions.dtype.kind != "f":
        return np.ones(len(rows), dtype=bool)
    finite: npt.NDArray[np.bool_] = np.isfinite(predictions.reshape(len(rows), -1)).all(axis=1)
    return finite


def infer_outputs(predictions: Any, rows: int, names: Sequence[str]) -> tuple[Column | Tensor, ...]:
    """Describe what the model returned for ``rows`` rows.

    Parameters
    ----------
    predictions : ndarray of shape (rows,) or (rows, k)
    rows : int
    names : sequence of str
        Names for the outputs: one for a single output or for a tensor of k values, or k.

    Returns
    -------
    tuple of Column or Tensor

    Raises
    ------
    UnsuitableModel
        If there is not one prediction a row, or of a type that no tensor can carry.

    Examples
    --------
    >>> infer_outputs(np.array([1.5, 2.5]), 2, ["value"])[0].datatype
    'FP64'
    """
    values = np.asarray(predictions)
    if values.ndim not in (1, 2) or values.shape[0] != rows:
        raise UnsuitableModel(
            f"the model should return one prediction a row, of shape ({rows},) or ({rows}, k),"
            f" found {values.shape}"
        )
    kind = _prediction_type(values)
    if values.ndim == 1:
        if len(names) != 1:
            raise UnsuitableModel(
                f"the model returns one value a row, but y has {len(names)} columns"
            )
        return (Column(names[0], kind, nullable=_may_be_missing(kind)),)
    if len(names) == values.shape[1] and len(names) > 1:
        return tuple(Column(name, kind, nullable=_may_be_missing(kind)) for name in names)
    dtype = "object" if values.dtype.kind in "OU" else str(values.dtype)
    return (Tensor(names[0], dtype, (-1, values.shape[1])),)


def _may_be_missing(kind: str) -> bool:
    return kind in ("double", "float")


def _prediction_type(values: npt.NDArray[Any]) -> str:
    kinds = {
        "bool": "boolean",
        "int8": "integer",
        "int16": "integer",
        "int32": "integer",
        "int64": "long",
        "uint8": "integer",
        "uint16": "integer",
        "uint32": "long",
        "float16": "float",
        "float32": "float",
        "float64": "double",
    }
    if values.dtype.kind == "U":
        return "string"
    if values.dtype == object and pdt.infer_dtype(values.ravel()) == "string":
        return "string"
    if str(values.dtype) not in kinds:
        raise UnsuitableModel(
            f"the model returns values of dtype {values.dtype}; expected numbers, booleans or text"
        )
    return kinds[str(values.dtype)]
