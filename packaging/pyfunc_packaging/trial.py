"""Try a model on its rows: what goes in, what comes out, and whether it can be served at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.exceptions import NotFittedError

from pyfunc_packaging.classification import classifier_outputs, has_probabilities
from pyfunc_packaging.errors import UnsuitableData, UnsuitableModel
from pyfunc_packaging.frame import from_frame, to_frame
from pyfunc_packaging.infer import infer_columns, infer_outputs, probe
from pyfunc_packaging.schema import Schema
from pyfunc_packaging.scoring import method_of, predict_outputs

Values = Mapping[str, npt.NDArray[Any]]
#: From rows to predictions by output name.
Predict = Callable[[pd.DataFrame], Values]

#: Rows that the model is tried on before it is packaged.
_TRIAL_ROWS = 1000


def make_schema(model: Any, rows: pd.DataFrame, y: Any, output_name: str | None) -> Schema:
    """Observe what a fitted model takes and returns.

    Parameters
    ----------
    model : estimator
        Fitted, with ``predict``.
    rows : pandas.DataFrame of shape (n, m)
        Raw rows.
    y : Series, DataFrame or array of n values, or None
        The target, for the name of the output.
    output_name : str, optional
        Name of the output, instead. The labels of a classifier are called ``"label"`` unless this
        says otherwise, and its probabilities ``"probability"``.

    Returns
    -------
    Schema

    Raises
    ------
    UnsuitableModel
        If the model is not fitted, fails on the rows, or predicts at random.
    UnsuitableData
        If the rows are not what a model can be served with.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> X = pd.DataFrame({"rooms": [2.0, 3.0, 5.0]})
    >>> make_schema(LinearRegression().fit(X, [2.0, 3.0, 5.0]), X, None, None).inputs[0].nullable
    False
    """
    columns = infer_columns(rows)
    names = _output_names(rows, y, output_name)
    _check_model(model, rows, names)
    trial = rows.head(_TRIAL_ROWS)
    returned = _try(model, model.predict, trial)
    chances = _try(model, model.predict_proba, trial) if has_probabilities(model) else None
    if hasattr(returned, "columns") and output_name is None:
        names = [str(column) for column in returned.columns]
    predictions = np.asarray(returned)
    outputs = classifier_outputs(model, predictions, chances, name=output_name)
    outputs = outputs or infer_outputs(predictions, len(trial), names)

    def predict(rows: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
        return predict_outputs(model, outputs, rows)

    def ask(rows: pd.DataFrame) -> Any:
        # labels are never infinite; the probabilities beside them may be
        last = outputs[-1]
        return (
            predict(rows)[last.name] if method_of(last) != "predict" else model.predict(rows.copy())
        )

    columns = probe(columns, trial, ask)
    columns = tuple(
        replace(column, nullable=column.nullable or bool(rows[column.name].isna().any()))
        for column in columns
    )
    schema = Schema(inputs=columns, outputs=outputs)
    _check_round_trip(model, predict, schema, trial)
    return schema


def _check_target(rows: pd.DataFrame, y: Any) -> None:
    """Refuse a target that cannot belong to the rows, one by one."""
    if y is None:
        return
    if len(y) != len(rows):
        raise UnsuitableData(f"y should have one value a row of X: {len(rows)}, found {len(y)}")
    index = getattr(y, "index", None)
    if not isinstance(index, pd.Index) or index.equals(rows.index):
        return
    places = pd.RangeIndex(len(rows))
    # an index that only counts says nothing of which rows it means, unless X has it, too
    own = not (index.equals(places) or rows.index.equals(places))
    if own or index.isin(rows.index).all():
        raise UnsuitableData(
            "y has another index than X, or the same in another order, so that nobody knows which"
            " value belongs to which row; pass y.loc[X.index], or y.to_numpy() if their order says"
        )


def _output_names(rows: pd.DataFrame, y: Any, output_name: str | None) -> list[str]:
    _check_target(rows, y)
    if output_name is not None:
        names = [output_name]
    elif isinstance(y, pd.DataFrame):
        names = [str(column) for column in y.columns]
    else:
        name = getattr(y, "name", None)
        names = ["prediction" if name is None else str(name)]
    target = [column for column in names if y is not None and column in rows.columns]
    if target:
        raise UnsuitableData(
            f"X still holds the target column {target[0]!r}; leave it out, as it is not known when"
            f" predictions are made: X.drop(columns=[{target[0]!r}]). If it is another thing of"
            f" the same name, pass output_name="
        )
    return names


def _check_model(model: Any, rows: pd.DataFrame, names: Sequence[str]) -> None:
    if not callable(getattr(model, "predict", None)) or isinstance(model, type):
        raise UnsuitableModel(
            f"model should be a fitted scikit-learn estimator with predict(), found"
            f" {model if isinstance(model, type) else type(model).__name__}"
        )
    fitted = getattr(model, "feature_names_in_", None)
    if fitted is None:
        return
    extra = [column for column in rows.columns if column not in set(fitted)]
    if extra:
        raise UnsuitableData(
            f"X has the column(s) {', '.join(map(repr, extra))} that the model was not fitted on"
            f" (is the target among them?); pass the rows that fit() was given"
        )


def _try(model: Any, method: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> Any:
    try:
        return method(rows.copy())
    except NotFittedError as error:
        raise UnsuitableModel(
            f"the {type(model).__name__} is not fitted; call fit(X, y) first"
        ) from error
    except Exception as error:  # whatever the user's model raises, it is about these rows
        raise UnsuitableModel(
            f"the model fails on the first {len(rows)} rows of X: {type(error).__name__}: {error}."
            f" Pass raw rows, as fit() was given"
        ) from error


def _check_round_trip(model: Any, predict: Predict, schema: Schema, rows: pd.DataFrame) -> None:
    """Rows that went through the wire's types must still give the same predictions."""
    expected = _try(model, predict, rows)
    if not _equal(_try(model, predict, rows), expected):
        raise UnsuitableModel(
            "the model does not predict the same for the same rows twice; give it a fixed"
            " random_state, or leave out what is random when it predicts"
        )
    carried = to_frame(schema.columns, from_frame(schema, rows))
    advice = (
        "the model depends on something in X that no request can carry, such as the index,"
        " attributes, or Python objects in a column; compute it from columns"
    )
    try:
        again = predict(carried)
    except Exception as error:  # whatever the user's model raises, it raises for lack of that
        raise UnsuitableData(f"{advice} ({type(error).__name__}: {error})") from error
    if not _equal(again, expected):
        raise UnsuitableData(advice)


def _equal(one: Values, other: Values) -> bool:
    return all(_same(one[name], other[name]) for name in one)


def _same(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> bool:
    if one.shape == other.shape and one.dtype.kind == other.dtype.kind == "f":
        return bool(np.allclose(one, other, rtol=1e-6, atol=0.0, equal_nan=True))
    return bool(np.array_equal(one, other))
