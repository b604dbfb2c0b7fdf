"""Compile what only passes on to the estimator that it holds."""

from __future__ import annotations

from typing import Any

from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV

from pyfunc_packaging.compile.registry import Compiler, Context, register_compiler
from pyfunc_packaging.compile.table import Table

METHODS = ("transform", "predict", "predict_proba", "decision_function", "inverse_transform")


def _passes_on(attribute: str, method: str) -> Compiler:
    def compile_held(model: Any, table: Table, context: Context) -> Table:
        held = getattr(model, attribute, None)
        if held is None:
            raise context.error(f"has no {attribute}; train it with refit=True")
        return context.compile(held, table, method=method, step=attribute)

    return compile_held


for _method in METHODS:
    register_compiler(FrozenEstimator, _passes_on("estimator", _method), method=_method)
    for _class in (
        GridSearchCV,
        RandomizedSearchCV,
        "sklearn.model_selection._search_successive_halving.HalvingGridSearchCV",
        "sklearn.model_selection._search_successive_halving.HalvingRandomSearchCV",
    ):
        register_compiler(_class, _passes_on("best_estimator_", _method), method=_method)
