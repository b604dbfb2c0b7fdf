"""Compile multi-layer perceptrons: a matrix product and an activation for every layer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.neural_network import MLPClassifier, MLPRegressor
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.linear import product
from pyfunc_packaging.compile.probabilities import complement, expit, softmax
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Block, Table

ACTIVATIONS: dict[str, Callable[[Var], Var]] = {
    "exp": op.exp,
    "identity": lambda x: x,
    "logistic": expit,
    "relu": op.relu,
    "softmax": softmax,
    "tanh": op.tanh,
}


@shared
def _forward(model: Any, table: Table, context: Context) -> Var:
    """What the last layer gives, of shape (n, outputs)."""
    for activation in (model.activation, model.out_activation_):
        if activation not in ACTIVATIONS:
            raise context.error(f"activation={activation!r} is not compiled")
    x = context.finite(table).var
    last = len(model.coefs_) - 1
    for number, (weights, offset) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        x = product(x, weights.T, offset)
        x = ACTIVATIONS[model.activation if number < last else model.out_activation_](x)
    return x


def _regressor(model: MLPRegressor, table: Table, context: Context) -> Table:
    return Table.of(_forward(model, table, context), model.n_outputs_)


def _classifier(model: MLPClassifier, table: Table, context: Context) -> Table:
    scores = _forward(model, table, context)
    binarizer = model._label_binarizer
    if binarizer.y_type_ == "multiclass":
        return most_likely(model.classes_, scores, context)
    chosen = op.cast(op.greater(scores, const(0.5)), to=np.int64)
    if binarizer.y_type_ == "multilabel-indicator":
        return Table((Block(chosen, model.n_outputs_, "int", nan=False, inf=False),))
    return labels(model.classes_, chosen, context)


def _probabilities(model: MLPClassifier, table: Table, context: Context) -> Table:
    scores = _forward(model, table, context)
    if model.n_outputs_ == 1:
        return Table.of(complement(scores), 2)
    return Table.of(scores, model.n_outputs_)


register_compiler(MLPRegressor, _regressor, method="predict")
register_compiler(MLPClassifier, _classifier, method="predict")
register_compiler(MLPClassifier, _probabilities, method="predict_proba")
