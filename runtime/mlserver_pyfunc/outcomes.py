"""What a model predicts, counted: numbers in buckets, labels one by one.

The buckets are those between which training's predictions lay in equal shares, so that a shift
shows in any of them; ``data/profile.json`` says them. Bundles written before it did have golden
rows, whose predictions say at least where to look.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pyfunc_packaging.schema import Column, Schema, Tensor

Array = npt.NDArray[Any]

#: Counts by bucket, and the sum.
NumberTally = tuple[Mapping[int, int], float]

#: Labels that are counted at most; a model of more classes has none counted.
MAX_LABELS = 100

#: Up to so many rows, counting in Python is faster than numpy is.
_FEW = 16

#: Buckets between the golden rows' predictions, where the profile says none.
_STEPS = 10


class NumberCounts:
    """A histogram of one numeric output.

    Parameters
    ----------
    name : str
        Of the output.
    bounds : sequence of float
        Upper bounds of the buckets, ascending.
    training : sequence of float
        Which ratio of training's predictions is at most each bound; empty if nobody knows.
    """

    def __init__(self, name: str, bounds: Sequence[float], training: Sequence[float] = ()) -> None:
        self.name = name
        self.bounds = list(bounds)
        self._edges = np.array(self.bounds)
        self.training = list(training)
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def tally(self, values: Array) -> NumberTally:
        """Count predictions, and add nothing.

        Parameters
        ----------
        values : ndarray of shape (n,)
            One that is not finite has no place in a sum, and is left out.

        Returns
        -------
        tuple
            Counts by bucket, and the sum.
        """
        if len(values) <= _FEW:
            places: dict[int, int] = {}
            total = 0.0
            for value in values.tolist():
                if math.isfinite(value):
                    place = bisect_left(self.bounds, value)
                    places[place] = places.get(place, 0) + 1
                    total += value
            return places, total
        with np.errstate(invalid="ignore", over="ignore"):
            added = float(np.add.reduce(values, dtype=np.float64))
            if not math.isfinite(added):
                values = values[np.isfinite(values)]
                added = float(np.add.reduce(values, dtype=np.float64))
        found = np.bincount(self._edges.searchsorted(values)).tolist()
        return dict(enumerate(found)), added

    def add_one(self, value: float) -> None:
        """The same for one prediction, at once."""
        if math.isfinite(value):
            self.counts[bisect_left(self.bounds, value)] += 1
            self.sum += value

    def add(self, found: NumberTally) -> None:
        """Add what `tally` found."""
        places, total = found
        for place, count in places.items():
            self.counts[place] += count
        self.sum += total


class LabelCounts:
    """How often each label of one output was predicted.

    Parameters
    ----------
    name : str
        Of the output.
    labels : sequence
        All that there can be.
    training : mapping of str to float
        Ratio of training's predictions, by label as text; empty if nobody knows.
    """

    def __init__(
        self, name: str, labels: Sequence[Any], training: Mapping[str, float] | None = None
    ) -> None:
        self.name = name
        self.training = dict(training or {})
        self.counts = {str(label): 0 for label in labels}

    def tally(self, values: Array) -> Mapping[str, int]:
        """Count predictions by label, and add nothing; what is none of the labels is left out."""
        found = {str(value): count for value, count in Counter(values.tolist()).items()}
        return {label: count for label, count in found.items() if label in self.counts}

    def add_one(self, value: Any) -> None:
        """The same for one prediction, at once."""
        label = str(value)
        if label in self.counts:
            self.counts[label] += 1

    def add(self, found: Mapping[str, int]) -> None:
        """Add what `tally` found."""
        for label, count in found.items():
            self.counts[label] += count


OutputCounts = NumberCounts | LabelCounts


def watch_outputs(
    schema: Schema, profile: Mapping[str, Any], golden: Mapping[str, Any]
) -> list[OutputCounts]:
    """What to count of a model's predictions.

    Parameters
    ----------
    schema : Schema
    profile, golden : mapping
        The contents of ``data/profile.json`` and ``data/golden.json``; empty where there are none.

    Examples
    --------
    >>> schema = Schema((), outputs=(Column("price", "double"),))
    >>> profile = {"predictions": {"price": {"bounds": [1.0, 2.0], "at_most": [0.5, 1.0]}}}
    >>> [price] = watch_outputs(schema, profile, {})
    >>> price.tally(np.array([0.5, 1.0, 9.0]))
    ({0: 2, 2: 1}, 10.5)
    """
    described = profile.get("predictions", {})
    classes = [field.classes for field in schema.outputs if isinstance(field, Tensor)]
    known: Sequence[Any] = next((labels for labels in classes if labels is not None), ())
    response = golden.get("response", {}).get("outputs", [])
    shown = {output["name"]: output["data"] for output in response}
    found = [
        _watch(output, described.get(output.name, {}), known, shown.get(output.name, []))
        for output in schema.outputs
        # a label beside probabilities may be a tensor of one dimension
        if isinstance(output, Column) or (known and output.classes is None)
    ]
    return [counts for counts in found if counts is not None]


def _watch(
    output: Column | Tensor, said: Mapping[str, Any], classes: Sequence[Any], shown: Sequence[Any]
) -> OutputCounts | None:
    if "labels" in said or classes:
        ratios = said.get("labels", {})
        labels = dict.fromkeys([*map(str, classes), *ratios])
        return LabelCounts(output.name, list(labels), ratios) if len(labels) <= MAX_LABELS else None
    if getattr(output, "type", "") not in ("integer", "long", "float", "double"):
        return None
    if "bounds" in said:
        return NumberCounts(output.name, said["bounds"], said["at_most"])
    numbers = [value for value in shown if value is not None]
    if not numbers:
        return None
    steps = np.linspace(min(numbers), max(numbers), _STEPS + 1).tolist()
    return NumberCounts(output.name, sorted({float(f"{step:.6g}") for step in steps}))
