"""Compile baselines, which predict the same for every row."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.dummy import DummyClassifier, DummyRegressor
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.labels import labels
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Table


def _count(table: Table) -> Var:
    """Number of rows, of shape (1,)."""
    return op.shape(table.blocks[0].var, start=0, end=1)


def _repeat(row: Any, table: Table) -> Table:
    """The same row of numbers for every row."""
    cells = np.asarray(row, dtype=np.float64).reshape(1, -1)
    shape = op.concat([_count(table), ints([1])], axis=0)
    return Table.of(op.expand(const(cells), shape), cells.shape[1])


def _regressor(model: DummyRegressor, table: Table, context: Context) -> Table:
    return _repeat(model.constant_, table)


def _check(model: DummyClassifier, context: Context) -> None:
    if model.n_outputs_ > 1:
        raise context.error("several targets are not compiled")
    if model._strategy in ("stratified", "uniform"):
        raise context.error(f"strategy={model._strategy!r} predicts at random")


def _classifier(model: DummyClassifier, table: Table, context: Context) -> Table:
    _check(model, context)
    if model._strategy == "constant":
        label = np.ravel(model.constant)
    else:
        label = model.classes_[[np.argmax(model.class_prior_)]]
    return labels(label, op.expand(ints([0]), _count(table)), context)


def _probabilities(model: DummyClassifier, table: Table, context: Context) -> Table:
    _check(model, context)
    if model._strategy == "constant":
        return _repeat(model.classes_ == np.ravel(model.constant)[0], table)
    if model._strategy == "most_frequent":
        return _repeat(np.arange(model.n_classes_) == np.argmax(model.class_prior_), table)
    return _repeat(model.class_prior_, table)


register_compiler(DummyRegressor, _regressor, method="predict")
register_compiler(DummyClassifier, _classifier, method="predict")
register_compiler(DummyClassifier, _probabilities, method="predict_proba")
