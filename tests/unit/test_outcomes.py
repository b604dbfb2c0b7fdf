"""What is counted of predictions equals what numpy counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlserver_pyfunc.outcomes import MAX_LABELS, LabelCounts, NumberCounts, watch_outputs
from pyfunc_packaging.schema import Column, Schema, Tensor

NUMBERS = st.floats(-1e6, 1e6, width=32)
ANY_NUMBERS = NUMBERS | st.sampled_from([np.nan, np.inf, -np.inf])


@settings(max_examples=100, deadline=None)
@given(
    bounds=st.lists(NUMBERS, min_size=1, max_size=8, unique=True).map(sorted),
    cells=st.lists(ANY_NUMBERS, max_size=10),
    times=st.sampled_from([1, 20]),
)
def test_numbers(bounds: list[float], cells: list[float], times: int) -> None:
    counts = NumberCounts("y", bounds)
    values = np.array(cells * times)
    counts.add(counts.tally(values))
    finite = values[np.isfinite(values)]
    at_most = np.cumsum(counts.counts)
    assert at_most.tolist() == [*[int((finite <= b).sum()) for b in bounds], len(finite)]
    assert counts.sum == pytest.approx(finite.sum())


@settings(deadline=None)
@given(st.lists(st.sampled_from(["yes", "no", "maybe", "other"]), max_size=200))
def test_labels(cells: list[str]) -> None:
    counts = LabelCounts("y", ["yes", "no", "maybe"])
    counts.add(counts.tally(np.array([*cells, None], dtype=object)[:-1]))
    assert counts.counts == {label: cells.count(label) for label in ("yes", "no", "maybe")}


PRICE = Column("price", "double")
LABEL = Column("label", "long")
CHANCE = Tensor("probability", "float64", (-1, 2), (0, 1))


def test_a_profile_says_the_buckets_and_what_training_had() -> None:
    said = {"predictions": {"price": {"bounds": [1.0, 2.0], "at_most": [0.5, 1.0]}}}
    [price] = watch_outputs(Schema((), (PRICE,)), said, {})
    assert isinstance(price, NumberCounts)
    assert (price.bounds, price.training) == ([1.0, 2.0], [0.5, 1.0])


def test_golden_rows_say_the_buckets_of_older_bundles() -> None:
    golden = {"response": {"outputs": [{"name": "price", "data": [5.0, 0.0, None]}]}}
    [price] = watch_outputs(Schema((), (PRICE,)), {"columns": {}}, golden)
    assert isinstance(price, NumberCounts)
    assert price.bounds == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0]
    assert price.training == []


def test_one_golden_row_makes_one_bucket() -> None:
    golden = {"response": {"outputs": [{"name": "price", "data": [5.0]}]}}
    [price] = watch_outputs(Schema((), (PRICE,)), {}, golden)
    assert isinstance(price, NumberCounts)
    assert price.bounds == [5.0]


def test_classes_are_labels_even_where_none_was_predicted() -> None:
    said = {"predictions": {"label": {"labels": {"1": 1.0}}}}
    [label] = watch_outputs(Schema((), (LABEL, CHANCE)), said, {})
    assert isinstance(label, LabelCounts)
    assert (label.counts, label.training) == ({"0": 0, "1": 0}, {"1": 1.0})
    assert label.tally(np.array([1, 1, 0])) == {"1": 2, "0": 1}


def test_classes_of_older_bundles_are_labels() -> None:
    [label] = watch_outputs(Schema((), (LABEL, CHANCE)), {}, {})
    assert isinstance(label, LabelCounts)
    assert label.counts == {"0": 0, "1": 0}


def test_a_label_may_be_a_tensor() -> None:
    label = Tensor("label", "object", (-1,))
    [found] = watch_outputs(Schema((), (label, CHANCE)), {}, {})
    assert found.name == "label"


def test_labels_without_end_are_not_counted() -> None:
    classes = tuple(range(MAX_LABELS + 1))
    chance = Tensor("probability", "float64", (-1, len(classes)), classes)
    assert watch_outputs(Schema((), (LABEL, chance)), {}, {}) == []


@pytest.mark.parametrize("output", [Column("y", "string"), Tensor("y", "float64", (-1, 3))])
def test_what_nobody_described_is_not_counted(output: Column | Tensor) -> None:
    assert watch_outputs(Schema((), (output,)), {}, {}) == []
