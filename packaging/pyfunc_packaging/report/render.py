"""Put the report together: facts in, one HTML page out."""

from __future__ import annotations

import importlib.resources
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from pyfunc_packaging.calling import GRPC, REST, make_calls
from pyfunc_packaging.report import plots
from pyfunc_packaging.report.columns import describe_columns
from pyfunc_packaging.report.evaluation import Evaluation, Target, evaluate
from pyfunc_packaging.report.highlights import describe_gaps, describe_target
from pyfunc_packaging.report.importance import permutation_importance
from pyfunc_packaging.report.metrics import by_category, by_decile, figures
from pyfunc_packaging.report.steps import describe_steps, final_estimator
from pyfunc_packaging.report.subject import Subject
from pyfunc_packaging.report.wording import (
    TITLES,
    duration,
    figure_texts,
    minus,
    number,
    numbers,
    share,
)
from pyfunc_packaging.schema import Column, Tensor

#: Targets and labels beyond these have their figures, but no plots and no matrix.
_MAX_PLOTTED = 3
_MAX_CLASSES = 15


def render(subject: Subject) -> tuple[str, list[dict[str, Any]]]:
    """Make the page.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    html : str
    metrics : list of dict
        See :func:`pyfunc_packaging.report.write_report`.
    """
    evaluation = evaluate(subject)
    targets = evaluation.targets if evaluation else []
    metrics: list[dict[str, Any]] = [
        {
            "target": target.name,
            "kind": "regression" if target.classes is None else "classification",
            "rows": len(target.positions),
            "figures": figures(target),
        }
        for target in targets
    ]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.undefined = jinja2.StrictUndefined
    environment.filters["number"] = number
    environment.filters["numbers"] = numbers
    environment.filters["share"] = share
    environment.filters["minus"] = minus
    environment.filters["duration"] = duration
    environment.globals["titles"] = TITLES
    source = importlib.resources.files(__package__).joinpath("template.html").read_text("utf-8")
    html = environment.from_string(source).render(
        subject=subject,
        kind=final_estimator(subject.model),
        engine="pyfunc" if subject.graph is None else "onnx",
        graph_bytes=None if subject.graph is None else len(subject.graph),
        step=describe_steps(subject.model),
        evaluation=evaluation,
        sections=[
            _section(place, target, facts, evaluation, subject)
            for place, (target, facts) in enumerate(zip(targets, metrics, strict=True))
            if evaluation
        ],
        cards=describe_columns(subject),
        gaps=describe_gaps(subject.schema.columns, subject.profile["columns"], len(subject.rows)),
        outputs=[_output(output) for output in subject.schema.outputs],
        calls=make_calls(subject.name, subject.golden["request"], subject.golden["response"]),
        addresses=(REST, GRPC),
        timings=_timings(subject),
    )
    return html, metrics


def _section(
    place: int, target: Target, facts: dict[str, Any], evaluation: Evaluation, subject: Subject
) -> dict[str, Any]:
    shown = place < _MAX_PLOTTED
    deciles = by_decile(target) if shown else []
    categories = by_category(target, evaluation, subject.schema.columns) if shown else {}
    importances = permutation_importance(target, evaluation) if shown else None
    return {
        **facts,
        "texts": figure_texts(facts["figures"]),
        "highlights": describe_target(target, importances, deciles, categories) if shown else [],
        "plots": _plots(place, target) if shown else [],
        "matrix": _matrix(target) if shown else None,
        "deciles": deciles,
        "categories": categories,
        "importances": importances,
    }


def _plots(place: int, target: Target) -> list[tuple[str, str, Markup]]:
    """Title, what it says in words, and the picture."""
    key = f"t{place}"
    if target.classes is None:
        actual, predicted = target.actual, target.predicted
        if np.abs((actual, predicted)).max() > 1e300:
            return []  # no axis reaches so far
        off = predicted - actual
        mean, low, high = numbers((off.mean(), np.quantile(off, 0.05), np.quantile(off, 0.95)))
        dense = "; stronger cells hold more rows" if len(off) > plots.MAX_DOTS else ""
        return [
            (
                "Predicted against actual",
                f"The nearer to the line, the better{dense}.",
                _markup(plots.predicted_against_actual(actual, predicted, key)),
            ),
            (
                "Residuals",
                f"Predicted minus actual: {mean} on average; nine of ten lie between {low}"
                f" and {high}.",
                _markup(plots.residuals(actual, predicted, key)),
            ),
        ]
    if target.chances is None or not np.isfinite(target.chances).all():
        return []
    if len(target.classes) == 2:
        right, chance = target.actual == 1, target.chances[:, 1]
        label = "probability of the second label"
    else:
        right = target.chances.argmax(axis=1) == target.actual
        chance, label = target.chances.max(axis=1), "probability of the likeliest label"
    second = f"The second label is {target.classes[1]}. " if len(target.classes) == 2 else ""
    words = f"{second}On the dashed line a probability of 0.8 is right in 8 of 10 rows."
    return [("Calibration", words, _markup(plots.calibration(right, chance, label, key)))]


def _markup(svg: str) -> Markup:
    return Markup(svg)  # noqa: S704 - matplotlib made it, of numbers and of our own words


def _matrix(target: Target) -> dict[str, Any] | None:
    """Counts by actual and predicted label, with the share within the actual one."""
    if target.classes is None or len(target.classes) > _MAX_CLASSES:
        return None
    size = len(target.classes)
    counts = np.zeros((size, size), dtype=int)
    np.add.at(counts, (target.actual, target.predicted), 1)
    totals = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    cells = [
        [(int(count), float(share)) for count, share in zip(*line, strict=True)]
        for line in zip(counts, counts / totals, strict=True)
    ]
    return {"labels": target.classes, "lines": list(zip(target.classes, cells, strict=True))}


def _output(output: Column | Tensor) -> dict[str, Any]:
    classes = output.classes if isinstance(output, Tensor) else None
    return {
        "name": output.name,
        "datatype": output.datatype,
        "shape": "[" + ", ".join("n" if size == -1 else str(size) for size in output.shape) + "]",
        "classes": ", ".join(map(str, classes[:_MAX_CLASSES])) if classes else "",
        "more": max(len(classes) - _MAX_CLASSES, 0) if classes else 0,
    }


def _timings(subject: Subject) -> list[tuple[str, float, float, float]]:
    """Rows, seconds of the graph and of the pipeline, and how many times as fast."""
    seconds = subject.compilation.get("seconds") or {}
    return [
        (rows, each["onnx"], each["pyfunc"], each["pyfunc"] / each["onnx"])
        for rows, each in seconds.items()
    ]
