"""What the rows looked like, column by column: bars for the page to draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyfunc_packaging.frame import from_series
from pyfunc_packaging.report.subject import Subject
from pyfunc_packaging.report.wording import number
from pyfunc_packaging.schema import Column

#: Columns that get a card; the page of a table of thousands would open in no browser.
MAX_CARDS = 150
_BINS = 30
_MAX_CATEGORIES = 6
#: A histogram leaves out this share of the rows at either end: a few giants would flatten it.
_TAIL = 0.005


@dataclass(frozen=True)
class Card:
    """One column of the signature.

    Parameters
    ----------
    name, type, datatype : str
    required : bool
    missing : float
        Share of the rows, 0 to 1.
    bars : list of float
        Heights of a histogram, the highest 1.
    low, high : str
        What its ends stand for.
    categories : list of (str, float)
        The most frequent, with the share of rows that they have.
    facts : list of (str, str)
    """

    name: str
    type: str
    datatype: str
    required: bool
    missing: float
    bars: list[float]
    low: str
    high: str
    categories: list[tuple[str, float]]
    facts: list[tuple[str, str]]


def describe_columns(subject: Subject) -> list[Card]:
    """One card for each of the first 150 input columns, in the signature's order."""
    profile = subject.profile["columns"]
    shown = subject.schema.columns[:MAX_CARDS]
    return [_card(subject, column, profile[column.name]) for column in shown]


def _card(subject: Subject, column: Column, summary: Mapping[str, Any]) -> Card:
    rows = max(len(subject.rows), 1)
    facts: list[tuple[str, str]] = []
    bars: list[float] = []
    low = high = ""
    quantiles = summary.get("quantiles")
    if quantiles is not None:
        for label, key in (("min", "0.0"), ("median", "0.5"), ("max", "1.0")):
            facts.append((label, _value(quantiles[key])))
        facts.insert(2, ("mean", _value(summary["mean"])))
        bars, low, high = _histogram(subject, column)
    if "from" in summary:
        facts += [("from", summary["from"][:19]), ("to", summary["to"][:19])]
    if "distinct" in summary:
        facts.append(("different values", f"{summary['distinct']:,}"))
    categories = [
        (text, count / rows)
        for text, count in list(summary.get("categories", {}).items())[:_MAX_CATEGORIES]
    ]
    return Card(
        column.name,
        column.type,
        column.datatype,
        not column.nullable,
        summary["missing"] / rows,
        bars,
        low,
        high,
        categories,
        facts,
    )


def _value(value: float | None) -> str:
    return "unknown" if value is None else number(value)


def _histogram(subject: Subject, column: Column) -> tuple[list[float], str, str]:
    cells = from_series(column, subject.rows[column.name].dropna()).astype(np.float64)
    cells = cells[np.isfinite(cells) & (np.abs(cells) < np.finfo(np.float64).max / 4)]
    if len(cells) == 0:
        return [], "", ""
    low, high = np.quantile(cells, (_TAIL, 1 - _TAIL))
    counts, edges = np.histogram(cells[(cells >= low) & (cells <= high)], bins=_BINS)
    if counts.max() == 0 or low == high:
        return [], "", ""
    return (counts / counts.max()).round(3).tolist(), number(edges[0]), number(edges[-1])
