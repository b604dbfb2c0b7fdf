"""Compile what makes several models of one: a model for each target, or for each class."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor, RegressorChain
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.probabilities import complement, row_sum
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Block, Table


def _each(model: Any, table: Table, context: Context, method: str) -> list[Table]:
    return [
        context.compile(part, table, method=method, step=f"estimator {number}")
        for number, part in enumerate(model.estimators_)
    ]


def _regressors(model: MultiOutputRegressor, table: Table, context: Context) -> Table:
    return Table.beside(_each(model, table, context, "predict"))


def _classifiers(model: MultiOutputClassifier, table: Table, context: Context) -> Table:
    blocks = [block for part in _each(model, table, context, "predict") for block in part.blocks]
    kinds = {block.kind for block in blocks}
    if len(kinds) != 1:
        raise context.error(f"labels of several kinds: {', '.join(sorted(kinds))}")
    joined = op.concat([block.var for block in blocks], axis=1)
    return Table((Block(joined, len(blocks), kinds.pop(), nan=False, inf=False),))


def _chain(model: RegressorChain, table: Table, context: Context) -> Table:
    context.finite(table)
    known = table.unnamed()
    found = []
    for number, part in enumerate(model.estimators_):
        result = context.compile(part, known, method="predict", step=f"estimator {number}")
        found.append(result.floats)
        known = Table.beside([known, result])
    order = np.argsort(model.order_)
    return Table(tuple(found[position] for position in order))


# --- one against the rest ---------------------------------------------------------------------


def _scores(model: OneVsRestClassifier, table: Table, context: Context) -> tuple[Var, float]:
    """A score for every class, and the one above which a class of two is chosen."""
    if hasattr(model.estimators_[0], "decision_function"):
        parts = _each(model, table, context, "decision_function")
        return op.concat([part.x for part in parts], axis=1), 0.0
    return _second(model, table, context), 0.5


@shared
def _second(model: OneVsRestClassifier, table: Table, context: Context) -> Var:
    """The probability that each model gives to its own class, of shape (n, models)."""
    parts = _each(model, table, context, "predict_proba")
    return op.concat([part.floats.take([1]).var for part in parts], axis=1)


def _predict(model: OneVsRestClassifier, table: Table, context: Context) -> Table:
    scores, threshold = _scores(model, table, context)
    kind = model.label_binarizer_.y_type_
    if kind == "multiclass":
        return most_likely(model.classes_, scores, context)
    chosen = op.cast(op.greater(scores, const(threshold)), to=np.int64)
    if kind != "binary":
        return Table((Block(chosen, len(model.estimators_), "int", nan=False, inf=False),))
    return labels(model.classes_, chosen, context)


def _probabilities(model: OneVsRestClassifier, table: Table, context: Context) -> Table:
    each, count = _second(model, table, context), len(model.estimators_)
    if count == 1:
        each, count = complement(each), 2
    if model.multilabel_:
        return Table.of(each, count)
    total = row_sum(each)
    nothing = op.equal(total, const(0.0))
    return Table.of(op.div(each, op.where(nothing, const(1.0), total)), count)


def _decision(model: OneVsRestClassifier, table: Table, context: Context) -> Table:
    return Table.beside(_each(model, table, context, "decision_function"))


register_compiler(MultiOutputRegressor, _regressors, method="predict")
register_compiler(MultiOutputClassifier, _classifiers, method="predict")
register_compiler(RegressorChain, _chain, method="predict")
register_compiler(OneVsRestClassifier, _predict, method="predict")
register_compiler(OneVsRestClassifier, _probabilities, method="predict_proba")
register_compiler(OneVsRestClassifier, _decision, method="decision_function")
