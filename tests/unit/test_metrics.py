"""What Prometheus sees of the counts, read by Prometheus' own parser."""

from __future__ import annotations

import threading
from datetime import date
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mlserver_pyfunc.counts import BOUNDS, Counts, Durations, Times
from mlserver_pyfunc.drift import watch_columns
from mlserver_pyfunc.metrics import Collected
from mlserver_pyfunc.outcomes import LabelCounts, NumberCounts
from mlserver_pyfunc.refusals import REASONS, MissingInput, Ragged, find_reason
from mlserver_pyfunc.status import to_mlserver_error
from pyfunc_packaging.errors import ModelFailure, ServerBusy
from pyfunc_packaging.frame import from_series
from pyfunc_packaging.profile import profile
from pyfunc_packaging.schema import Column

PROFILE = {
    "rows": 4,
    "columns": {
        "age": {"missing": 1, "quantiles": {"0.0": 10.0, "1.0": 20.0}},
        "city": {"missing": 0, "categories": {"Rome": 4}},
    },
}
COLUMNS = [Column("age", "double", nullable=True), Column("city", "string")]


def make_model(name: str = "m", version: str | None = None) -> Any:
    outputs = [NumberCounts("price", [-1.0, 2.5], [0.25, 1.0]), LabelCounts("kind", ["a\n", '"b"'])]
    return SimpleNamespace(
        name=name,
        version=version,
        ready=True,
        alive=True,
        waiting=3,
        max_waiting=128,
        facts={"bundle": "b", "digest": "sha256:0", "engine": "onnx", "format": "1"},
        counts=Counts(watch_columns(COLUMNS, PROFILE), outputs, PROFILE["rows"]),
    )


def scrape(*models: Any) -> dict[tuple[str, ...], float]:
    """Values by name and labels, without those of the model."""
    registry, collected = CollectorRegistry(auto_describe=True), Collected()
    registry.register(collected)
    for model in models:
        collected.add(model)
    return {
        (sample.name, *[f"{k}={v}" for k, v in sample.labels.items() if k not in _USUAL]): value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        for value in [sample.value]
    }


_USUAL = ("model", "version")


def test_everything_counted_is_seen() -> None:
    model = make_model()
    values = {"age": np.array([15.0, 25.0, np.nan]), "city": np.array(["Rome", "Oslo", "Bern"])}
    values["city"] = values["city"].astype(object)
    predictions = {"price": np.array([-2.0, 0.5, 9.0]), "kind": np.array(["a\n", "a\n", '"b"'])}
    model.counts.predict(values, predictions, 3)
    times = Times(60e-6)
    times.predict, times.encode = 0.2, 100.0
    model.counts.answer(times, 3.0)
    model.counts.refuse(MissingInput("…"))
    found = scrape(model)
    assert found["pyfunc_requests_total",] == 2
    assert found["pyfunc_rows_total",] == 3
    assert found["pyfunc_refusals_total", "reason=missing_input"] == 1
    assert found["pyfunc_refusals_total", "reason=ragged"] == 0
    assert found["pyfunc_column_missing_total", "column=age"] == 1
    assert found["pyfunc_column_outside_range_total", "column=age"] == 1
    assert found["pyfunc_column_unseen_total", "column=city"] == 2
    assert found["pyfunc_column_training_missing_ratio", "column=age"] == 0.25
    assert ("pyfunc_column_unseen_total", "column=age") not in found
    assert ("pyfunc_column_outside_range_total", "column=city") not in found
    assert found["pyfunc_prediction_bucket", "le=-1.0", "output=price"] == 1
    assert found["pyfunc_prediction_bucket", "le=2.5", "output=price"] == 2
    assert found["pyfunc_prediction_bucket", "le=+Inf", "output=price"] == 3
    assert found["pyfunc_prediction_training_ratio", "le=-1.0", "output=price"] == 0.25
    assert found["pyfunc_predicted_labels_total", "label=a\n", "output=kind"] == 2
    assert found["pyfunc_predicted_labels_total", 'label="b"', "output=kind"] == 1
    assert found["pyfunc_request_duration_seconds_sum",] == 3.0
    stages = {
        stage: found["pyfunc_stage_duration_seconds_sum", f"stage={stage}"]
        for stage in ("decode", "predict", "encode")
    }
    assert stages == {"decode": 60e-6, "predict": 0.2, "encode": 100.0}
    decode = [
        found["pyfunc_stage_duration_seconds_bucket", f"le={bound}", "stage=decode"]
        for bound in BOUNDS
    ]
    assert decode == [0] + [1] * 16
    assert found["pyfunc_stage_duration_seconds_bucket", "le=10.0", "stage=encode"] == 0
    assert found["pyfunc_stage_duration_seconds_bucket", "le=+Inf", "stage=encode"] == 1
    assert found["pyfunc_queue_requests",] == 3
    assert found["pyfunc_queue_limit",] == 128


def test_every_reason_is_there_before_anything_is_refused() -> None:
    found = scrape(make_model())
    assert [key[1] for key in found if key[0] == "pyfunc_refusals_total"] == [
        f"reason={reason}" for reason in REASONS
    ]


def test_a_model_that_hangs_is_not_ready() -> None:
    model = make_model()
    assert scrape(model)["pyfunc_model_ready",] == 1
    model.alive = False
    assert scrape(model)["pyfunc_model_ready",] == 0


def test_versions_of_a_model_are_series_of_their_own() -> None:
    registry, collected = CollectorRegistry(auto_describe=True), Collected()
    registry.register(collected)
    for model in (make_model(version="1"), make_model(version="2"), make_model(version="2")):
        collected.add(model)
    text = generate_latest(registry).decode()
    assert text.count("pyfunc_rows_total{") == 2
    collected.remove(make_model(version="2"))  # not the one that is there
    assert generate_latest(registry).decode().count("pyfunc_rows_total{") == 2


def test_a_model_that_is_unloaded_is_seen_no_more() -> None:
    collected, model = Collected(), make_model()
    collected.add(model)
    collected.remove(model)
    assert [sample for family in collected.collect() for sample in family.samples] == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Ragged("…"), "ragged"),
        (to_mlserver_error(ServerBusy("…")), "queue_full"),
        (to_mlserver_error(ModelFailure("…")), "model_error"),
        (KeyError("x"), "internal_error"),
        (KeyboardInterrupt(), "client_gone"),
    ],
)
def test_reasons(error: BaseException, reason: str) -> None:
    assert find_reason(error) == reason


@pytest.mark.parametrize(("seconds", "place"), [(0.0, 0), (50e-6, 0), (51e-6, 1), (11.0, 17)])
def test_a_duration_is_in_the_bucket_that_it_is_at_most(seconds: float, place: int) -> None:
    found = Durations()
    found.add(seconds)
    assert found.counts.index(1) == place


MANY = {
    "f": st.none() | st.floats(0, 3),
    "i": st.integers(0, 3),
    "n": st.none() | st.integers(0, 3),
    "s": st.none() | st.sampled_from(["a", "b", "c"]),
    "id": st.none() | st.text(max_size=2),
    "b": st.none() | st.booleans(),
    "d": st.none() | st.dates(date(2020, 1, 1), date(2020, 1, 9)),
}
DTYPES = {"f": "float64", "i": "int64", "n": "Int64", "b": "boolean", "d": "datetime64[ns]"}


def to_frame(rows: Any) -> pd.DataFrame:
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=DTYPES.get(name, "object"))
            for name in MANY
        }
    )


@settings(max_examples=100, deadline=None)
@given(
    rows=st.lists(st.fixed_dictionaries(MANY), min_size=1, max_size=6),
    times=st.sampled_from([1, 10]),
)
def test_rows_one_by_one_count_as_rows_together(rows: list[dict[str, Any]], times: int) -> None:
    training = to_frame(
        [
            {
                "f": 1.0,
                "i": 1,
                "n": 1,
                "s": "a",
                "id": str(n),
                "b": True,
                "d": date(2020, 1, n % 5 + 1),
            }
            for n in range(60)
        ]
    )
    types = {"f": "double", "i": "long", "n": "long", "b": "boolean", "d": "datetime"}
    columns = [
        Column(name, types.get(name, "string"), nullable=name != "i", dtype=DTYPES.get(name))
        for name in MANY
    ]
    said = profile(columns, training)

    def count(parts: list[pd.DataFrame]) -> Any:
        outputs = [NumberCounts("y", [1.0, 2.0]), LabelCounts("k", ["0", "1"])]
        counts = Counts(watch_columns(columns, said), outputs)
        for part in parts:
            values = {c.name: from_series(c, part[c.name]) for c in columns}
            numbers = part["f"].to_numpy()
            counts.predict(values, {"y": numbers, "k": part["i"].to_numpy()}, len(part))
        found = [(c.name, c.missing, c.unseen, c.outside) for c in counts.columns]
        return counts.rows, found, outputs[0].counts, round(outputs[0].sum, 9), outputs[1].counts

    frame = to_frame(rows * times)
    alone = [frame.iloc[[position]] for position in range(len(frame))]
    assert count(alone) == count([frame])


def test_threads_lose_nothing() -> None:
    counts = make_model().counts
    values = {"age": np.array([99.0]), "city": np.array(["Oslo"], dtype=object)}
    predictions = {"price": np.array([0.0]), "kind": np.array(["a\n"])}

    def work() -> None:
        for _ in range(2000):
            counts.predict(values, predictions, 1)
            counts.answer(Times(), 0.001)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (counts.rows, counts.requests, sum(counts.total.counts)) == (8000, 8000, 8000)
    assert [(c.outside, c.unseen) for c in counts.columns] == [(8000, 0), (0, 8000)]
    assert counts.outputs[0].counts == [0, 8000, 0]
