"""Compile classifiers of two classes that decide by another threshold than one half."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.labels import labels
from pyfunc_packaging.compile.registry import Compiler, Context, register_compiler
from pyfunc_packaging.compile.table import Table


def _estimator(model: Any) -> Any:
    """What computes the scores; a FixedThresholdClassifier may hold one that was fitted before."""
    return getattr(model, "estimator_", model.estimator)


def _passes_on(method: str) -> Compiler:
    def compile_held(model: Any, table: Table, context: Context) -> Table:
        return context.compile(_estimator(model), table, method=method, step="estimator")

    return compile_held


def _tuned(model: TunedThresholdClassifierCV, table: Table, context: Context) -> Table:
    positive = model._curve_scorer._get_pos_label()
    return _decided(model, table, context, model.best_threshold_, positive)


def _fixed(model: FixedThresholdClassifier, table: Table, context: Context) -> Table:
    threshold = model.threshold
    if threshold == "auto":
        threshold = 0.5 if _method(model) == "predict_proba" else 0.0
    return _decided(model, table, context, threshold, model.pos_label)


def _method(model: Any) -> str:
    if model.response_method != "auto":
        return str(model.response_method)
    has_chances = hasattr(_estimator(model), "predict_proba")
    return "predict_proba" if has_chances else "decision_function"


def _decided(model: Any, table: Table, context: Context, threshold: float, positive: Any) -> Table:
    classes = np.asarray(model.classes_)
    chosen = 1 if positive is None else int(np.flatnonzero(classes == positive)[0])
    result = _passes_on(_method(model))(model, table, context)
    if _method(model) == "predict_proba":
        scores = result.take([chosen]).x
    else:  # the score of the second class
        scores = result.x if chosen == 1 else op.neg(result.x)
    hit = op.cast(op.greater_or_equal(scores, const(threshold)), to=np.int64)
    return labels(classes[[1 - chosen, chosen]], hit, context)


for _class, _predict in ((TunedThresholdClassifierCV, _tuned), (FixedThresholdClassifier, _fixed)):
    register_compiler(_class, _predict, method="predict")
    for _name in ("predict_proba", "decision_function"):
        register_compiler(_class, _passes_on(_name), method=_name)
