"""What training data looked like, per column: ``data/profile.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyfunc_packaging.frame import from_series, to_json
from pyfunc_packaging.schema import Column

#: Columns of more different texts than this have no profile: they hold names or keys of people.
MAX_CATEGORIES = 50
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


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
