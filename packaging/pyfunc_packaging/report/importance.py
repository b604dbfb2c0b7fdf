"""Permutation importance: how much worse predictions are when one column is shuffled."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np

from pyfunc_packaging.report.evaluation import Evaluation, Target
from pyfunc_packaging.report.metrics import loss

logger = logging.getLogger(__name__)

_MAX_ROWS = 1000
_REPEATS = 3
#: Seconds; columns that are not reached by then are left out, and the report says so.
_BUDGET = 1.0


@dataclass(frozen=True)
class Importances:
    """What came of shuffling columns.

    Parameters
    ----------
    rows : int
        Rows that were shuffled.
    repeats : int
    unit : str
        What is measured.
    increases : list of (str, float)
        By column, the most important first.
    left_out : int
        Columns that there was no time for.
    """

    rows: int
    repeats: int
    unit: str
    increases: list[tuple[str, float]]
    left_out: int


def permutation_importance(target: Target, evaluation: Evaluation) -> Importances | None:
    """Shuffle one column after another; None where the model cannot predict shuffled rows."""
    rng = np.random.default_rng(0)
    size = min(_MAX_ROWS, len(target.positions))
    chosen = np.sort(rng.choice(len(target.positions), size=size, replace=False))
    sample = Target(
        target.name,
        target.output,
        target.classes,
        target.positions[chosen],
        target.actual[chosen],
        target.predicted[chosen],
        None if target.chances is None else target.chances[chosen],
    )
    columns = {name: cells[sample.positions] for name, cells in evaluation.columns.items()}
    before = loss(sample, sample.predicted, sample.chances)
    found: list[tuple[str, float]] = []
    deadline = time.perf_counter() + _BUDGET
    for name, cells in columns.items():
        if time.perf_counter() > deadline:
            break
        losses = []
        for _ in range(_REPEATS):
            shuffled = {**columns, name: cells[rng.permutation(size)]}
            try:
                losses.append(_loss(sample, evaluation, shuffled))
            except Exception:
                logger.info("no permutation importance: shuffled %r", name, exc_info=True)
                return None
        found.append((name, float(np.mean(losses)) - before))
    found.sort(key=lambda pair: -pair[1])
    unit = "RMSE" if target.classes is None else "log loss"
    if target.classes is not None and target.chances is None:
        unit = "share of wrong labels"
    return Importances(size, _REPEATS, unit, found, len(columns) - len(found))


def _loss(sample: Target, evaluation: Evaluation, columns: dict[str, np.ndarray]) -> float:
    outputs = evaluation.predict(columns)
    if sample.classes is None:
        return loss(sample, np.asarray(outputs[sample.output], dtype=np.float64), None)
    if sample.chances is not None:
        tensor = next(array for array in outputs.values() if array.ndim == 2)
        return loss(sample, sample.predicted, np.asarray(tensor))
    codes = {label: code for code, label in enumerate(sample.classes)}
    texts = np.asarray(outputs[sample.output]).tolist()
    return loss(sample, np.array([codes.get(str(text), -1) for text in texts]), None)
