"""The metrics ``pyfunc_…``, made of the models' counts when Prometheus asks for them.

They are in the registry that MLServer's own endpoint shows; docs/monitoring.md says what each is
for. In MLServer's parallel workers, whose metrics go through files, there are none of these.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any

from prometheus_client import REGISTRY
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from mlserver_pyfunc.counts import BOUNDS
from mlserver_pyfunc.outcomes import LabelCounts, NumberCounts

_MODEL = ("model", "version")

#: What the bundle's series say of it; the value is always 1.
INFO = ("bundle", "digest", "engine", "format")


class Collected(Collector):
    """The models of this process.

    Examples
    --------
    >>> [family.name for family in Collected().collect()][:2]
    ['pyfunc_bundle_info', 'pyfunc_model_ready']
    """

    def __init__(self) -> None:
        self._models: dict[tuple[str, str], Any] = {}

    def add(self, model: Any) -> None:
        """Show a model; one of the same name and version was loaded again, and begins at zero."""
        self._models[_labels(model)] = model

    def remove(self, model: Any) -> None:
        """Show a model no more, unless another has taken its place already."""
        if self._models.get(_labels(model)) is model:
            del self._models[_labels(model)]

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, for the registry to see that their names are free."""
        return Collected().collect()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now; see prometheus_client."""
        models = list(self._models.items())
        yield from _of_models(models)
        yield from _of_requests(models)
        yield from _of_columns(models)
        yield from _of_predictions(models)


def _labels(model: Any) -> tuple[str, str]:
    return model.name, model.version or ""


Models = Sequence[tuple[tuple[str, str], Any]]


def _of_models(models: Models) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "pyfunc_bundle_info", "What is served; the value is always 1.", labels=[*_MODEL, *INFO]
    )
    ready = GaugeMetricFamily(
        "pyfunc_model_ready",
        "1 if the model answers requests, 0 if it does not or its predicts hang.",
        labels=_MODEL,
    )
    waiting = GaugeMetricFamily(
        "pyfunc_queue_requests", "Requests that wait for the model's thread.", labels=_MODEL
    )
    limit = GaugeMetricFamily(
        "pyfunc_queue_limit", "Requests that may wait; more are refused.", labels=_MODEL
    )
    for labels, model in models:
        info.add_metric((*labels, *(model.facts[name] for name in INFO)), 1)
        ready.add_metric(labels, int(model.ready and model.alive))
        waiting.add_metric(labels, model.waiting)
        limit.add_metric(labels, model.max_waiting)
    yield from (info, ready, waiting, limit)


def _of_requests(models: Models) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "pyfunc_requests", "Inference requests, answered or refused.", labels=_MODEL
    )
    rows = CounterMetricFamily("pyfunc_rows", "Rows that were predicted.", labels=_MODEL)
    refusals = CounterMetricFamily(
        "pyfunc_refusals",
        "Inference requests that got no predictions, by why.",
        labels=[*_MODEL, "reason"],
    )
    total = HistogramMetricFamily(
        "pyfunc_request_duration_seconds",
        "From a request's last byte to its answer, of those that got predictions.",
        labels=_MODEL,
    )
    stages = HistogramMetricFamily(
        "pyfunc_stage_duration_seconds",
        "The part of it that each stage took; waiting for the model's thread is in none.",
        labels=[*_MODEL, "stage"],
    )
    for labels, model in models:
        counts = model.counts
        requests.add_metric(labels, counts.requests)
        rows.add_metric(labels, counts.rows)
        for reason, count in counts.refusals.items():
            refusals.add_metric((*labels, reason), count)
        total.add_metric(labels, _buckets(BOUNDS, counts.total.counts), counts.total.sum)
        for stage, found in counts.stages.items():
            stages.add_metric((*labels, stage), _buckets(BOUNDS, found.counts), found.sum)
    yield from (requests, rows, refusals, total, stages)


def _of_columns(models: Models) -> Iterator[Metric]:
    by_column = [*_MODEL, "column"]
    missing = CounterMetricFamily(
        "pyfunc_column_missing", "Missing values among the rows predicted.", labels=by_column
    )
    unseen = CounterMetricFamily(
        "pyfunc_column_unseen", "Values that the training data did not have.", labels=by_column
    )
    outside = CounterMetricFamily(
        "pyfunc_column_outside_range",
        "Values below the smallest or above the largest of the training data.",
        labels=by_column,
    )
    training = GaugeMetricFamily(
        "pyfunc_column_training_missing_ratio",
        "Missing values in the training data, from 0 to 1.",
        labels=by_column,
    )
    for labels, model in models:
        for column in model.counts.columns:
            where = (*labels, column.name)
            missing.add_metric(where, column.missing)
            training.add_metric(where, column.training_missing / max(model.counts.training_rows, 1))
            if column.has_categories:
                unseen.add_metric(where, column.unseen)
            if column.has_range:
                outside.add_metric(where, column.outside)
    yield from (missing, unseen, outside, training)


def _of_predictions(models: Models) -> Iterator[Metric]:
    by_output = [*_MODEL, "output"]
    numbers = HistogramMetricFamily(
        "pyfunc_prediction", "Numbers that were predicted.", labels=by_output
    )
    at_most = GaugeMetricFamily(
        "pyfunc_prediction_training_ratio",
        "Predictions for the training data of at most le, from 0 to 1.",
        labels=[*by_output, "le"],
    )
    predicted = CounterMetricFamily(
        "pyfunc_predicted_labels", "Labels that were predicted.", labels=[*by_output, "label"]
    )
    usual = GaugeMetricFamily(
        "pyfunc_predicted_labels_training_ratio",
        "Predictions for the training data of this label, from 0 to 1.",
        labels=[*by_output, "label"],
    )
    for labels, model in models:
        for output in model.counts.outputs:
            where = (*labels, output.name)
            if isinstance(output, NumberCounts):
                numbers.add_metric(where, _buckets(output.bounds, output.counts), output.sum)
                for bound, ratio in zip(output.bounds, output.training, strict=False):
                    at_most.add_metric((*where, str(bound)), ratio)
            elif isinstance(output, LabelCounts):
                for label, count in output.counts.items():
                    predicted.add_metric((*where, label), count)
                    if output.training:
                        usual.add_metric((*where, label), output.training.get(label, 0.0))
    yield from (numbers, at_most, predicted, usual)


def _buckets(bounds: Iterable[float], counts: Iterable[int]) -> list[tuple[str, float]]:
    """Buckets as Prometheus has them: each with all that is in those before it."""
    names = [*map(str, bounds), "+Inf"]
    return list(zip(names, itertools.accumulate(counts), strict=True))


@cache
def collector() -> Collected:
    """The one of this process, in the registry that MLServer shows."""
    collected = Collected()
    # in a parallel worker the registry would be asked by nobody
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        REGISTRY.register(collected)
    return collected
