"""What requests hold, counted against what training data held: ``data/profile.json``.

One row of nine columns takes some microseconds, so every row is counted and none is sampled: small
requests are looked at in Python, which is done before numpy would have begun, large ones by numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.schema import NUMPY_TYPES, Column

Array = npt.NDArray[Any]

#: Values of a column that are missing, unseen in training, outside its range.
Tally = tuple[int, int, int]
NOTHING: Tally = (0, 0, 0)

#: Columns that are counted at most, the first ones: each is up to four series in Prometheus.
MAX_COLUMNS = 200

#: Up to so many rows, comparing in Python is faster than numpy is.
_FEW = 64


class ColumnCounts:
    """What one column's values were.

    Parameters
    ----------
    column : Column
    found : mapping
        What the profile says of it.

    Attributes
    ----------
    missing, unseen, outside : int
        Missing values; texts and booleans that training did not have; numbers and datetimes below
        its smallest or above its largest.
    has_range, has_categories : bool
        Whether the profile says enough to count the latter two.
    training_missing : int
        Missing values in training.
    """

    __slots__ = (
        "_high",
        "_is_double",
        "_kind",
        "_known",
        "_low",
        "_nullable",
        "has_categories",
        "has_range",
        "missing",
        "name",
        "outside",
        "training_missing",
        "unseen",
    )

    def __init__(self, column: Column, found: Mapping[str, Any]) -> None:
        self.name = column.name
        self.missing = self.unseen = self.outside = 0
        self.training_missing = int(found.get("missing", 0))
        self._nullable = column.nullable
        self._is_double = column.type == "double"
        self._kind = np.dtype(NUMPY_TYPES[column.type]).kind
        bounds = _read_bounds(column, found)
        self.has_range = bounds is not None
        self._low: float
        self._high: float
        self._low, self._high = bounds or (-np.inf, np.inf)
        categories = found.get("categories")
        self.has_categories = isinstance(categories, dict)
        self._known = frozenset(
            name == "True" if self._kind == "b" else name for name in categories or ()
        )

    @property
    def is_double(self) -> bool:
        """Whether the values are float64."""
        return self._is_double

    @property
    def usual_range(self) -> tuple[float, float] | None:
        """What one cell, read with ``item()``, is between if there is nothing to count."""
        plain = self._kind == "f" or (self._kind == "i" and not self._nullable)
        return (self._low, self._high) if plain else None

    @property
    def usual_texts(self) -> frozenset[Any] | None:
        """The same for texts: what one cell is among."""
        return self._known if self._kind == "O" and self.has_categories else None

    def tally(self, cells: Array) -> Tally:
        """Count values, and add nothing.

        Parameters
        ----------
        cells : ndarray of shape (n,)
            As :mod:`pyfunc_packaging.frame` has them.

        Returns
        -------
        tuple of int
            How many are missing, unseen, outside; `NOTHING` itself if none is.
        """
        if self._kind in "fi" and not isinstance(cells, np.ma.MaskedArray):
            return NOTHING if self._is_usual(cells) else self._tally_numbers(cells)
        if self._kind == "O":
            return self._tally_texts(cells.tolist())
        gaps = 0
        if self._kind == "M":
            moments = cells.view("int64")  # NaT is the smallest, and in no range
            if self.has_range and self._is_usual(moments):
                return NOTHING
            absent = np.isnat(cells)
            gaps = int(np.count_nonzero(absent))
            cells = moments[~absent]
        elif isinstance(cells, np.ma.MaskedArray):
            gaps = int(np.count_nonzero(np.ma.getmaskarray(cells)))
            cells = cells.compressed()
        if self._kind == "b":
            _, unseen, outside = self._tally_texts(cells.tolist())
        else:
            _, unseen, outside = self._tally_numbers(cells)
        return (gaps, unseen, outside) if gaps or unseen or outside else NOTHING

    def _tally_texts(self, cells: Sequence[Any]) -> Tally:
        known = self._known
        if known.issuperset(cells):
            return NOTHING
        missing = sum([cell is None for cell in cells])
        if self.has_categories:
            return missing, sum([cell not in known for cell in cells]) - missing, 0
        return (missing, 0, 0) if missing else NOTHING

    def _is_usual(self, cells: Array) -> bool:
        """Whether numbers are all in the range: none is missing, and there is nothing to count."""
        low, high = self._low, self._high
        if len(cells) > _FEW:  # NaN is smallest and largest, and in no range
            return bool(low <= np.minimum.reduce(cells) and np.maximum.reduce(cells) <= high)
        for cell in cells.tolist():  # noqa: SIM110 - all() of a generator takes twice as long
            if not low <= cell <= high:
                return False
        return True

    def _tally_numbers(self, cells: Array) -> Tally:
        inside = np.count_nonzero((cells >= self._low) & (cells <= self._high))
        missing = int(np.count_nonzero(np.isnan(cells)))
        outside = len(cells) - int(inside) - missing
        return (missing, 0, outside) if missing or outside else NOTHING

    def add(self, found: Tally) -> None:
        """Add what `tally` found."""
        missing, unseen, outside = found
        self.missing += missing
        self.unseen += unseen
        self.outside += outside


def _read_bounds(column: Column, found: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Smallest and largest value in training, comparable with what requests hold."""
    if column.type == "datetime":
        bounds = found.get("from"), found.get("to")
        if not all(isinstance(bound, str) for bound in bounds):
            return None
        from pyfunc_packaging.frame import from_json

        low, high = from_json(column, bounds).astype("datetime64[ns]").view("int64").tolist()
        return low, high
    quantiles = found.get("quantiles") or {}
    low, high = quantiles.get("0.0"), quantiles.get("1.0")
    return None if low is None or high is None else (low, high)


def watch_columns(columns: Sequence[Column], profile: Mapping[str, Any]) -> list[ColumnCounts]:
    """What to count of the rows of a model.

    Parameters
    ----------
    columns : sequence of Column
        Of the signature.
    profile : mapping
        The content of ``data/profile.json``; empty where there is none.

    Examples
    --------
    >>> profile = {"columns": {"city": {"missing": 0, "categories": {"Rome": 2}}}}
    >>> [city] = watch_columns([Column("city", "string", nullable=True)], profile)
    >>> city.tally(np.array(["Rome", "Bern", None], dtype=object))
    (1, 1, 0)
    """
    described = profile.get("columns", {})
    known = [column for column in columns if column.name in described]
    return [ColumnCounts(column, described[column.name]) for column in known[:MAX_COLUMNS]]
