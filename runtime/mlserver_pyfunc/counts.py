"""What one model has done since it was loaded, in plain numbers that cost next to nothing to keep.

Prometheus' own counters and histograms take a microsecond and a lock each, which a model that
answers in fifty would notice; :mod:`mlserver_pyfunc.metrics` makes theirs of these when asked.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mlserver_pyfunc.drift import NOTHING, ColumnCounts
from mlserver_pyfunc.outcomes import OutputCounts
from mlserver_pyfunc.refusals import REASONS, find_reason

#: Upper bounds of the buckets of durations, in seconds: one row takes tens of microseconds, the
#: largest request may take minutes.
BOUNDS = (
    *(50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3),
    *(25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1.0, 2.5, 5.0, 10.0),
)


#: From so many rows on it pays to look at all columns of doubles at once, and up to so many: more
#: would take longer to copy than each column takes by itself.
_SOME, _MANY = 17, 4096


class Times:
    """Seconds that one request spent in each stage so far."""

    __slots__ = ("decode", "encode", "predict")

    def __init__(self, decode: float = 0.0) -> None:
        self.decode = decode
        self.predict = 0.0
        self.encode = 0.0


class Durations:
    """A histogram of seconds."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.sum += seconds


class Counts:
    """What one model has done; to be used from any thread.

    Parameters
    ----------
    columns : sequence of ColumnCounts
    outputs : sequence of NumberCounts or LabelCounts
    training_rows : int
        Rows that the profile was made of.

    Examples
    --------
    >>> counts = Counts()
    >>> counts.answer(Times(), 0.0002)
    >>> counts.refuse(TimeoutError())
    >>> counts.requests, counts.refusals["internal_error"]
    (2, 1)
    """

    def __init__(
        self,
        columns: Sequence[ColumnCounts] = (),
        outputs: Sequence[OutputCounts] = (),
        training_rows: int = 0,
    ) -> None:
        self._lock = threading.Lock()
        self.columns = columns
        self.outputs: Sequence[Any] = outputs  # each adds what it has tallied
        self.training_rows = training_rows
        # one row at a time is how most models are asked: what it takes to see that all is as usual
        self._ranges = [(c.name, *c.usual_range) for c in columns if c.usual_range is not None]
        self._texts = [(c.name, c.usual_texts) for c in columns if c.usual_texts is not None]
        simple = {name for name, *_ in (*self._ranges, *self._texts)}
        self._numbers = [column for column in columns if column.is_double]
        self._rest = [column for column in columns if not column.is_double]
        self._bounds = np.array([column.usual_range for column in self._numbers], dtype=float)
        self._others = [column for column in columns if column.name not in simple]
        self.requests = 0
        self.rows = 0
        self.refusals = dict.fromkeys(REASONS, 0)
        self.total = Durations()
        self.stages = {"decode": Durations(), "predict": Durations(), "encode": Durations()}
        self._decode, self._predict, self._encode = self.stages.values()

    def answer(self, times: Times, seconds: float) -> None:
        """Count a request that was answered with predictions.

        Parameters
        ----------
        times : Times
        seconds : float
            From when it was there to when its answer was.
        """
        with self._lock:
            self.requests += 1
            self._decode.add(times.decode)
            self._predict.add(times.predict)
            self._encode.add(times.encode)
            self.total.add(seconds)

    def refuse(self, error: BaseException) -> None:
        """Count a request that was answered with an error, or not at all."""
        with self._lock:
            self.requests += 1
            self.refusals[find_reason(error)] += 1

    def predict(
        self,
        values: Mapping[str, npt.NDArray[Any]],
        predictions: Mapping[str, npt.NDArray[Any]],
        rows: int,
    ) -> None:
        """Count rows that were predicted, of one request or of several.

        Parameters
        ----------
        values : mapping of str to ndarray of shape (rows,)
        predictions : mapping of str to ndarray of shape (rows, ...)
        rows : int
        """
        columns = self.columns
        if rows == 1 and self._is_usual(values):
            columns = self._others
        elif _SOME <= rows <= _MANY and self._numbers:
            columns = self._find_unusual(values)
        strange = [
            (column, found)
            for column in columns
            if (found := column.tally(values[column.name])) is not NOTHING
        ]
        if rows == 1:
            with self._lock:
                self.rows += 1
                for column, found in strange:
                    column.add(found)
                for output in self.outputs:
                    output.add_one(predictions[output.name].item())
            return
        predicted = [output.tally(predictions[output.name].reshape(-1)) for output in self.outputs]
        with self._lock:
            self.rows += rows
            for column, found in strange:
                column.add(found)
            for output, counted in zip(self.outputs, predicted, strict=True):
                output.add(counted)

    def _find_unusual(self, values: Mapping[str, npt.NDArray[Any]]) -> Sequence[ColumnCounts]:
        """The columns that may have something to count; most doubles are in their range."""
        cells = np.array([values[column.name] for column in self._numbers])
        # NaN is smallest and largest, and in no range
        usual = np.minimum.reduce(cells, axis=1) >= self._bounds[:, 0]
        usual &= np.maximum.reduce(cells, axis=1) <= self._bounds[:, 1]
        if usual.all():
            return self._rest
        unusual = [self._numbers[place] for place in np.flatnonzero(~usual)]
        return [*self._rest, *unusual]

    def _is_usual(self, values: Mapping[str, npt.NDArray[Any]]) -> bool:
        """Whether the one row has nothing to count, but in `_others`."""
        for name, low, high in self._ranges:
            if not low <= values[name].item() <= high:
                return False
        for name, known in self._texts:  # noqa: SIM110 - all() of a generator takes twice as long
            if values[name].item() not in known:
                return False
        return True
