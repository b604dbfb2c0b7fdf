"""The model's predictions on the rows that it was packaged with, beside what was true."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import is_classifier

from pyfunc_packaging.frame import from_frame, to_frame
from pyfunc_packaging.report.subject import Subject
from pyfunc_packaging.schema import Column, Tensor
from pyfunc_packaging.scoring import method_of, predict_outputs
from pyfunc_packaging.session import OnnxSession

Array = npt.NDArray[Any]
Predict = Callable[[Mapping[str, Array]], Mapping[str, Array]]

#: Seconds that predicting may take; models that are slower are shown on fewer rows.
_BUDGET = 0.5
_FIRST_ROWS = 200
_MAX_ROWS = 50_000


@dataclass(frozen=True)
class Target:
    """One target: what was true and what was predicted, row by row.

    Parameters
    ----------
    name : str
    output : str
        Name of the output that predicts it.
    classes : tuple of str or None
        Labels as text, in the order of their codes; None for a number.
    positions : ndarray of shape (n,)
        Rows of the evaluation that have a usable target.
    actual, predicted : ndarray of shape (n,)
        Numbers, or the codes of labels.
    chances : ndarray of shape (n, k) or None
        Probability of each class.
    """

    name: str
    output: str
    classes: tuple[str, ...] | None
    positions: npt.NDArray[np.int64]
    actual: Array
    predicted: Array
    chances: Array | None = None


@dataclass(frozen=True)
class Evaluation:
    """A sample of the given rows with predictions.

    Parameters
    ----------
    given : int
        Rows that there are.
    rows : pandas.DataFrame
        The sample.
    columns : mapping of str to ndarray
        The same, decoded.
    predict : callable
        From decoded columns to predictions; the compiled graph where there is one.
    targets : list of Target
    """

    given: int
    rows: pd.DataFrame
    columns: Mapping[str, Array]
    predict: Predict
    targets: list[Target]


def evaluate(subject: Subject) -> Evaluation | None:
    """Predict as many of the given rows as fit into half a second; None without a target."""
    if subject.y is None:
        return None
    predict = _make_predict(subject)
    positions = _sample(subject, predict)
    rows = subject.rows.iloc[positions].reset_index(drop=True)
    columns = from_frame(subject.schema, rows)
    predictions = predict(columns)
    y = pd.DataFrame(np.asarray(subject.y).reshape(len(subject.rows), -1)).iloc[positions]
    outputs = [each for each in subject.schema.outputs if method_of(each) == "predict"]
    if len(outputs) != y.shape[1]:
        return None  # targets that nothing says which output predicts
    targets = [
        target
        for place, output in enumerate(outputs)
        if (target := _target(subject, output, y.iloc[:, place], predictions)) is not None
    ]
    return Evaluation(len(subject.rows), rows, columns, predict, targets)


def _make_predict(subject: Subject) -> Predict:
    if subject.graph is not None:
        return OnnxSession(subject.graph, subject.schema.columns).run

    def predict(columns: Mapping[str, Array]) -> dict[str, Array]:
        frame = to_frame(subject.schema.columns, columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shown once already, when the model was tried
            return predict_outputs(subject.model, subject.schema.outputs, frame)

    return predict


def _sample(subject: Subject, predict: Predict) -> npt.NDArray[np.int64]:
    count = len(subject.rows)
    first = from_frame(subject.schema, subject.rows.head(_FIRST_ROWS))
    start = time.perf_counter()
    predict(first)
    pace = (time.perf_counter() - start) / min(count, _FIRST_ROWS)
    affordable = min(_MAX_ROWS, max(_FIRST_ROWS, int(_BUDGET / pace)))
    if count <= affordable:
        return np.arange(count)
    chosen = np.random.default_rng(0).choice(count, size=affordable, replace=False)
    return np.sort(chosen).astype(np.int64)


def _target(
    subject: Subject, output: Column | Tensor, y: pd.Series[Any], predictions: Mapping[str, Array]
) -> Target | None:
    found = np.asarray(predictions[output.name])
    if found.ndim != 1:
        return None
    name = getattr(subject.y, "name", None)
    if isinstance(subject.y, pd.DataFrame):
        name = output.name if subject.y.shape[1] > 1 else subject.y.columns[0]
    name = output.name if name is None else str(name)
    classifies = hasattr(subject.model, "__sklearn_tags__") and is_classifier(subject.model)
    if classifies or getattr(output, "type", "") in ("string", "boolean"):
        return _labels(subject, name, output, y, found, predictions)
    actual = pd.to_numeric(y, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    predicted = found.astype(np.float64)
    usable = np.flatnonzero(np.isfinite(actual) & np.isfinite(predicted))
    if len(usable) < 2:
        return None
    return Target(name, output.name, None, usable, actual[usable], predicted[usable])


def _labels(
    subject: Subject,
    name: str,
    output: Column | Tensor,
    y: pd.Series[Any],
    found: Array,
    predictions: Mapping[str, Array],
) -> Target | None:
    tensor = next((t for t in subject.schema.outputs if isinstance(t, Tensor) and t.classes), None)
    actual, predicted = y.tolist(), found.tolist()
    if tensor is not None and tensor.classes is not None:
        labels = list(tensor.classes)
    else:
        labels = sorted({cell for cell in (*actual, *predicted) if not pd.isna(cell)}, key=str)
    codes = {label: code for code, label in enumerate(labels)}
    true = np.array([codes.get(cell, -1) for cell in actual])
    guess = np.array([codes.get(cell, -1) for cell in predicted])
    # labels that the model does not know are no rows that it could get right
    usable = np.flatnonzero((true >= 0) & (guess >= 0))
    if len(usable) < 2:
        return None
    chances = None if tensor is None else np.asarray(predictions[tensor.name])[usable]
    texts = tuple(map(str, labels))
    return Target(name, output.name, texts, usable, true[usable], guess[usable], chances)
