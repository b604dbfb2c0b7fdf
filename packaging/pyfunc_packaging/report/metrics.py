"""How good predictions are: figures for a target, and where the errors are."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn import metrics

from pyfunc_packaging.profile import MAX_CATEGORIES
from pyfunc_packaging.report.evaluation import Evaluation, Target
from pyfunc_packaging.report.wording import minus, number
from pyfunc_packaging.schema import Column

Array = npt.NDArray[Any]

#: Groups of a table that are shown; the rest are the rarest.
_MAX_GROUPS = 12
_MAX_TABLES = 6


@dataclass(frozen=True)
class Group:
    """Rows that have something in common, and the errors among them.

    Parameters
    ----------
    label : str
    rows : int
    error : float
        Mean absolute error, or the share of wrong labels.
    bias : float or None
        Mean of predicted minus actual; None for labels.
    """

    label: str
    rows: int
    error: float
    bias: float | None


def figures(target: Target) -> dict[str, float]:
    """The usual metrics of a target, those that make sense for it.

    Returns
    -------
    dict of str to float
        ``r2``, ``mae``, ``rmse`` and ``median_ae`` in the target's unit; or ``accuracy``,
        ``balanced_accuracy``, and with probabilities ``log_loss`` and ``roc_auc``.

    Examples
    --------
    >>> actual, predicted = np.array([1.0, 3.0]), np.array([2.0, 3.0])
    >>> target = Target("price", "price", None, np.arange(2), actual, predicted)
    >>> figures(target)
    {'r2': 0.5, 'mae': 0.5, 'rmse': 0.7071067811865476, 'median_ae': 0.5}
    """
    actual, predicted = target.actual, target.predicted
    with warnings.catch_warnings():
        # classes that no given row has, probabilities that do not quite add up
        warnings.simplefilter("ignore")
        if target.classes is None:
            found = {
                "r2": metrics.r2_score(actual, predicted),
                "mae": metrics.mean_absolute_error(actual, predicted),
                "rmse": metrics.root_mean_squared_error(actual, predicted),
                "median_ae": metrics.median_absolute_error(actual, predicted),
            }
        else:
            found = {
                "accuracy": metrics.accuracy_score(actual, predicted),
                "balanced_accuracy": metrics.balanced_accuracy_score(actual, predicted),
                **_of_chances(target),
            }
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _of_chances(target: Target) -> dict[str, float]:
    chances, actual = target.chances, target.actual
    if chances is None or target.classes is None or not np.isfinite(chances).all():
        return {}
    every = np.arange(len(target.classes))
    if len(every) < 2:
        return {}
    found = {"log_loss": metrics.log_loss(actual, chances, labels=every)}
    if len(every) == 2 and len(np.unique(actual)) == 2:
        found["roc_auc"] = metrics.roc_auc_score(actual, chances[:, 1])
    elif len(np.unique(actual)) == len(every) and np.allclose(chances.sum(axis=1), 1.0):
        found["roc_auc"] = metrics.roc_auc_score(actual, chances, labels=every, multi_class="ovr")
    return found


def loss(target: Target, predicted: Array, chances: Array | None) -> float:
    """What permuting a column makes worse: RMSE, log loss, or the share of wrong labels."""
    if target.classes is None:
        return float(np.sqrt(np.mean((predicted - target.actual) ** 2)))
    if chances is not None:
        own = chances[np.arange(len(chances)), target.actual]
        return float(-np.log(np.clip(own, 1e-15, 1.0)).mean())
    return float(np.mean(predicted != target.actual))


def by_decile(target: Target) -> list[Group]:
    """Errors by decile of the actual value; of labels, by the label."""
    if target.classes is not None:
        return _groups(target, np.array(target.classes, dtype=object)[target.actual])
    edges = np.unique(np.quantile(target.actual, np.linspace(0, 1, 11)))
    if len(edges) < 3:
        return []
    places = np.clip(np.searchsorted(edges, target.actual, side="right") - 1, 0, len(edges) - 2)
    texts = [minus(number(edge)) for edge in edges]
    return [
        _group(target, f"{texts[place]} to {texts[place + 1]}", places == place)
        for place in range(len(edges) - 1)
        if (places == place).any()
    ]


def by_category(
    target: Target, evaluation: Evaluation, columns: tuple[Column, ...]
) -> dict[str, list[Group]]:
    """Errors by the categories of each text column that has at most 50 of them."""
    tables: dict[str, list[Group]] = {}
    for column in columns:
        if column.type not in ("string", "boolean") or len(tables) == _MAX_TABLES:
            continue
        cells = evaluation.rows[column.name].iloc[target.positions]
        if 1 < cells.nunique() <= MAX_CATEGORIES:
            texts = cells.astype(object).where(cells.notna(), "missing").map(str)
            tables[column.name] = _groups(target, texts.to_numpy(dtype=object))
    return tables


def _groups(target: Target, labels: Array) -> list[Group]:
    counts = pd.Series(labels).value_counts()
    return [_group(target, label, labels == label) for label in counts.index[:_MAX_GROUPS]]


def _group(target: Target, label: str, chosen: npt.NDArray[np.bool_]) -> Group:
    actual, predicted = target.actual[chosen], target.predicted[chosen]
    if target.classes is not None:
        return Group(label, len(actual), float(np.mean(actual != predicted)), None)
    errors = predicted - actual
    return Group(label, len(actual), float(np.abs(errors).mean()), float(errors.mean()))
