"""Compile voting and stacking: several estimators on the same columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.ensemble import (
    StackingClassifier,
    StackingRegressor,
    VotingClassifier,
    VotingRegressor,
)
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.bagging import summed, votes
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.registry import Compiler, Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table


def _members(model: Any) -> list[tuple[str, Any]]:
    """Fitted estimators that take part, with their names."""
    names = [name for name, estimator in model.estimators if estimator != "drop"]
    return list(zip(names, model.estimators_, strict=True))


def _average(parts: Sequence[Var], weights: Sequence[float] | None) -> Var:
    """``np.average`` of tensors of one shape."""
    if weights is None:
        return op.div(summed(parts), const(float(len(parts))))
    weighted = [op.mul(part, const(w)) for part, w in zip(parts, weights, strict=True)]
    return op.div(summed(weighted), const(np.sum(np.asarray(weights, dtype=np.float64))))


def _each(model: Any, table: Table, context: Context, method: str) -> list[Table]:
    return [
        context.compile(estimator, table, method=method, step=name)
        for name, estimator in _members(model)
    ]


def _voting_regressor(model: VotingRegressor, table: Table, context: Context) -> Table:
    results = [result.x for result in _each(model, table, context, "predict")]
    return Table.of(_average(results, model._weights_not_none), 1)


@shared
def _voting_probabilities(model: VotingClassifier, table: Table, context: Context) -> Table:
    if model.voting == "hard":
        raise context.error("voting='hard' has no probabilities")
    results = [result.x for result in _each(model, table, context, "predict_proba")]
    return Table.of(_average(results, model._weights_not_none), len(model.classes_), inf=False)


def _voting_classifier(model: VotingClassifier, table: Table, context: Context) -> Table:
    if isinstance(model.le_, list):
        raise context.error("classifies several outputs at once")
    if model.voting == "soft":
        scores = _voting_probabilities(model, table, context).x
        return most_likely(model.classes_, scores, context)
    results = _each(model, table, context, "predict")
    weights = [1.0] * len(results) if model.weights is None else model._weights_not_none
    if min(weights) < 0:
        raise context.error("a vote has a negative weight")
    count = len(model.classes_)
    parts = [votes(part, count, weight) for part, weight in zip(results, weights, strict=True)]
    return most_likely(model.classes_, summed(parts), context)


@shared
def _stacked(model: Any, table: Table, context: Context) -> Table:
    """What the final estimator sees: the others' predictions, perhaps with the columns."""
    if isinstance(getattr(model, "_label_encoder", None), list):
        raise context.error("classifies several outputs at once")
    parts = []
    for (name, estimator), method in zip(_members(model), model.stack_method_, strict=True):
        result = context.compile(estimator, table, method=method, step=name)
        if method == "predict_proba" and len(model.classes_) == 2:
            result = result.take([1])
        parts.append(result)
    if model.passthrough:
        parts.append(table)
    return Table.beside(parts, output_names(model, table))


def _stacking(method: str) -> Compiler:
    def compile_stacking(model: Any, table: Table, context: Context) -> Table:
        stacked = _stacked(model, table, context)
        final = model.final_estimator_
        return context.compile(final, stacked, method=method, step="final_estimator")

    return compile_stacking


def _stacking_classifier(model: StackingClassifier, table: Table, context: Context) -> Table:
    codes = _stacking("predict")(model, table, context).blocks[0].var
    position = op.reshape(op.cast(codes, to=np.int64), ints([-1]))
    return labels(model.classes_, position, context)


register_compiler(VotingRegressor, _voting_regressor, method="predict")
register_compiler(VotingClassifier, _voting_classifier, method="predict")
register_compiler(VotingClassifier, _voting_probabilities, method="predict_proba")
register_compiler(StackingRegressor, _stacking("predict"), method="predict")
register_compiler(StackingClassifier, _stacking_classifier, method="predict")
register_compiler(StackingClassifier, _stacking("predict_proba"), method="predict_proba")
register_compiler(StackingClassifier, _stacking("decision_function"), method="decision_function")
