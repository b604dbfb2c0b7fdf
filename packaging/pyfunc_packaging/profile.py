"""What training data looked like, per column: ``data/profile.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc_packaging.frame import from_series, to_json
from pyfunc_packaging.schema import Column, Tensor

#: Columns of more different texts than this have no profile: they hold names or keys of people.
MAX_CATEGORIES = 50
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
#: Between these quantiles lie equal shares of the predictions.
_TENTHS = tuple(tenth / 10 for tenth in range(11))


def profile(columns: Sequence[Column], rows: pd.DataFrame) -> dict[str, Any]:
    """Summarise the rows that a model was packaged with.

    Parameters
    ----------
    columns : sequence of Column
    rows : pandas.DataFrame of shape (n, m)

    Returns
    -------
    dict
        ``rows``, and by column: ``missing`` (count), then ``quantiles`` and ``mean`` of numbers,
        in the column's own unit, or ``categories`` (counts) of text and booleans.

    Examples
    --------
    >>> rows = pd.DataFrame({"city": ["Rome", "Rome", None]})
    >>> profile([Column("city", "string", nullable=True)], rows)["columns"]
    {'city': {'type': 'string', 'missing': 1, 'distinct': 1, 'categories': {'Rome': 2}}}
    """
    return {
        "rows": len(rows),
        "columns": {column.name: _column(column, rows[column.name]) for column in columns},
    }


def _column(column: Column, series: pd.Series[Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {"type": column.type, "missing": int(series.isna().sum())}
    present = from_series(column, series.dropna())
    if len(present) == 0:
        return summary
    if column.type in ("integer", "long", "float", "double"):
        numbers = present.astype(np.float64)
        finite = numbers[np.isfinite(numbers)]
        if len(finite):
            with np.errstate(over="ignore", invalid="ignore"):
                values = [*np.quantile(finite, _QUANTILES).tolist(), float(finite.mean())]
            # what overflowed among the largest numbers is not known, and no JSON either
            *quantiles, mean = (value if math.isfinite(value) else None for value in values)
            summary["quantiles"] = dict(zip(map(str, _QUANTILES), quantiles, strict=True))
            summary["mean"] = mean
    elif column.type == "datetime":
        summary["from"], summary["to"] = to_json(
            "datetime", np.array([present.min(), present.max()])
        )
    elif column.type in ("string", "boolean"):
        counts = pd.Series(present).value_counts()
        summary["distinct"] = len(counts)
        if len(counts) <= MAX_CATEGORIES:
            summary["categories"] = {str(value): int(count) for value, count in counts.items()}
    return summary


def profile_predictions(
    outputs: Sequence[Column | Tensor],
    predictions: Mapping[str, npt.NDArray[Any]],
    *,
    labels: bool,
) -> dict[str, Any]:
    """Summarise what a model predicts for the rows that it was packaged with.

    Parameters
    ----------
    outputs : sequence of Column or Tensor
    predictions : mapping of str to ndarray of shape (n, ...)
        By output name.
    labels : bool
        Whether numbers are a classifier's labels.

    Returns
    -------
    dict
        By output: the ratio of each of the ``labels``, where there are at most 50, or of numbers
        ``bounds`` between which equal shares of them lie, with the ratio that is ``at_most`` each.
        Outputs of several dimensions have none.

    Examples
    --------
    >>> price = Column("price", "double")
    >>> profile_predictions([price], {"price": np.array([2.5, 2.5])}, labels=False)
    {'price': {'bounds': [2.5], 'at_most': [1.0]}}
    >>> profile_predictions([price], {"price": np.array([1, 2, 2, 1])}, labels=True)
    {'price': {'labels': {'1': 0.5, '2': 0.5}}}
    """
    result: dict[str, Any] = {}
    for output in outputs:
        values = predictions[output.name]
        if values.ndim > 1 or len(values) == 0:
            continue
        if labels or values.dtype.kind not in "iuf":
            counts = pd.Series(values).value_counts(sort=False)
            if len(counts) <= MAX_CATEGORIES:
                ratios = {str(label): count / len(values) for label, count in counts.items()}
                result[output.name] = {"labels": dict(sorted(ratios.items()))}
            continue
        finite = values[np.isfinite(values)].astype(np.float64)
        if len(finite):
            # six digits are read more easily, and are exact all the same: what is counted is them
            bounds = {float(f"{bound:.6g}") for bound in np.quantile(finite, _TENTHS).tolist()}
            ordered = sorted(bound for bound in bounds if math.isfinite(bound))
            at_most = [float(np.mean(finite <= bound)) for bound in ordered]
            result[output.name] = {"bounds": ordered, "at_most": at_most}
    return result
