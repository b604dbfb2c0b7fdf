"""Golden rows: a few input rows and the reference's predictions, as V2 request and response.

Whoever loads the bundle, wherever, predicts them first and compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.frame import Array, from_json, to_frame, to_json
from pyfunc_packaging.schema import Column, Schema, Tensor

#: Golden rows at most: enough to notice a wrong column, few enough to read.
MAX_ROWS = 8

#: Predictions made elsewhere may differ in the last digits: vector units differ between
#: processors, and sums come out in another order. By datatype, relative to the larger of the value
#: itself and the largest prediction (sums that cancel keep the error of their terms); anything
#: that a user could notice is far above.
TOLERANCES: Mapping[str, float] = {"FP16": 1e-2, "FP32": 1e-4, "FP64": 1e-9}


def choose_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Pick rows spread over the data, and one with a missing value a column that has any.

    Rows with an infinite number are passed over: JSON cannot hold one.

    Parameters
    ----------
    rows : pandas.DataFrame of shape (n, m)

    Returns
    -------
    pandas.DataFrame of shape (at most 8, m)

    Raises
    ------
    UnsuitableData
        If every row has an infinite number.

    Examples
    --------
    >>> choose_rows(pd.DataFrame({"x": range(100)}))["x"].tolist()
    [0, 24, 49, 74, 99]
    """
    floats = rows.select_dtypes("float")
    rows = rows[~floats.isin([np.inf, -np.inf]).any(axis=1)]
    if len(rows) == 0:
        raise UnsuitableData("every row of X has an infinite number; give rows without, too")
    spread = np.linspace(0, len(rows) - 1, num=min(len(rows), 5)).astype(int)
    positions = dict.fromkeys(spread.tolist())
    for name in rows.columns:
        missing = np.flatnonzero(rows[name].isna().to_numpy())
        if len(missing):
            positions[int(missing[0])] = None
    return rows.iloc[list(positions)[:MAX_ROWS]].reset_index(drop=True)


def make_request(columns: Sequence[Column], values: Mapping[str, Array]) -> dict[str, Any]:
    """Columns as the JSON object of a V2 inference request.

    Examples
    --------
    >>> make_request([Column("x", "double")], {"x": np.array([1.5])})["inputs"]
    [{'name': 'x', 'shape': [1], 'datatype': 'FP64', 'data': [1.5]}]
    """
    return {
        "inputs": [
            {
                "name": column.name,
                "shape": [len(values[column.name])],
                "datatype": column.datatype,
                "data": to_json(column.type, values[column.name]),
            }
            for column in columns
        ]
    }


def make_response(
    outputs: Sequence[Column | Tensor], predictions: Mapping[str, npt.NDArray[Any]]
) -> dict[str, Any]:
    """Predictions by output name as the ``outputs`` of a V2 inference response."""
    parts = [predictions[output.name] for output in outputs]
    return {
        "outputs": [
            {
                "name": output.name,
                "shape": list(part.shape),
                "datatype": output.datatype,
                "data": to_json(getattr(output, "type", ""), part.ravel()),
            }
            for output, part in zip(outputs, parts, strict=True)
        ]
    }


def request_frame(schema: Schema, request: Mapping[str, Any]) -> pd.DataFrame:
    """The DataFrame, in training dtypes, of a request that :func:`make_request` made."""
    data = {tensor["name"]: tensor["data"] for tensor in request["inputs"]}
    values = {column.name: from_json(column, data[column.name]) for column in schema.columns}
    return to_frame(schema.columns, values)


def differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str | None:
    """Say where two responses differ by more than rounding; None where they agree.

    Parameters
    ----------
    expected, found : mapping
        Each with ``outputs`` as in a V2 inference response.

    Returns
    -------
    str or None

    Examples
    --------
    >>> one = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
    >>> two = {"outputs": [{"name": "y", "shape": [1], "datatype": "FP64", "data": [2.0]}]}
    >>> differences(one, one) is None, differences(one, two)
    (True, "output 'y', value 0: expected 1.0, found 2.0")
    """
    names = [[output["name"] for output in side["outputs"]] for side in (expected, found)]
    if names[0] != names[1]:
        return f"expected the outputs {names[0]}, found {names[1]}"
    for want, got in zip(expected["outputs"], found["outputs"], strict=True):
        for key in ("datatype", "shape"):
            if want[key] != got[key]:
                return f"output {want['name']!r}: expected {key} {want[key]}, found {got[key]}"
        tolerance = TOLERANCES.get(want["datatype"], 0.0)
        largest = max((abs(cell) for cell in want["data"] if isinstance(cell, float)), default=0.0)
        for position, (left, right) in enumerate(zip(want["data"], got["data"], strict=True)):
            if not _same(left, right, tolerance * largest):
                return f"output {want['name']!r}, value {position}: expected {left}, found {right}"
    return None


def _same(left: Any, right: Any, tolerance: float) -> bool:
    if isinstance(left, float) and isinstance(right, float):
        return abs(left - right) <= tolerance
    return type(left) is type(right) and left == right
