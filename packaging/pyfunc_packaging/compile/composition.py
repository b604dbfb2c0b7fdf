"""Compile what puts estimators together: pipelines, column transformers, unions."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.utils._set_output import _get_output_config

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.registry import Compiler, Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table


def returns_frame(estimator: Any) -> bool:
    """Whether `transform` returns a DataFrame, by ``set_output`` or the global setting."""
    return bool(_get_output_config("transform", estimator)["dense"] == "pandas")


def _pipeline(method: str) -> Compiler:
    def compile_pipeline(estimator: Pipeline, table: Table, context: Context) -> Table:
        *transformers, (last_name, last) = estimator.steps
        for name, step in transformers:
            if step is not None and step != "passthrough":
                table = context.compile(step, table, step=name)
        if last is None or last == "passthrough":
            return table
        return context.compile(last, table, method=method, step=last_name)

    return compile_pipeline


def _pipeline_inverse(estimator: Pipeline, table: Table, context: Context) -> Table:
    for name, step in reversed(estimator.steps):
        if step is not None and step != "passthrough":
            table = context.compile(step, table, method="inverse_transform", step=name)
    return table


def _column_transformer(estimator: ColumnTransformer, table: Table, context: Context) -> Table:
    results = []
    for name, transformer, columns in estimator.transformers_:
        chosen = choose(estimator, table, columns, context)
        if chosen.width == 0 or (isinstance(transformer, str) and transformer == "drop"):
            continue
        if not isinstance(transformer, str):
            chosen = context.compile(transformer, chosen, step=name)
        elif transformer != "passthrough":
            raise context.error(f"part {name!r}: expected an estimator, found {transformer!r}")
        weight = (estimator.transformer_weights or {}).get(name)
        if weight is not None:
            chosen = _weighted(chosen, weight)
        results.append(chosen)
    if not results:
        raise context.error("no column is left")
    joined = Table.beside(results)
    if all(result.names is not None for result in results) and returns_frame(estimator):
        return Table(joined.blocks, tuple(estimator.get_feature_names_out()))
    return joined


def choose(estimator: ColumnTransformer, table: Table, columns: Any, context: Context) -> Table:
    """The columns of one part: by names, positions, a mask or a slice."""
    if callable(columns):
        raise context.error("expected a fitted ColumnTransformer")
    if isinstance(columns, str | int | np.integer):
        columns = [columns]
    if isinstance(columns, slice):
        if isinstance(columns.start, str) or isinstance(columns.stop, str):
            names = list(estimator.feature_names_in_)
            start = None if columns.start is None else names.index(columns.start)
            stop = None if columns.stop is None else names.index(columns.stop) + 1
            columns = slice(start, stop, columns.step)
        columns = list(range(table.width))[columns]
    columns = list(columns)
    if columns and all(isinstance(column, bool | np.bool_) for column in columns):
        columns = [position for position, wanted in enumerate(columns) if wanted]
    seen = getattr(estimator, "feature_names_in_", None)
    if seen is not None and table.names is not None:
        # scikit-learn goes by name where fit and transform were given DataFrames
        names = [name if isinstance(name, str) else str(seen[name]) for name in columns]
        return table.select(names)
    if any(isinstance(column, str) for column in columns):
        raise context.error("selects columns by name from an array, which has no names")
    return table.take([int(column) % table.width for column in columns])


def _weighted(table: Table, weight: float) -> Table:
    return Table(
        tuple(
            Block(
                op.mul(block.to_float().var, const(weight)),
                block.width,
                nan=block.nan or (block.inf and weight == 0),
            )
            for block in table.blocks
        ),
        table.names,
    )


def _feature_union(estimator: FeatureUnion, table: Table, context: Context) -> Table:
    results = []
    for name, transformer in estimator.transformer_list:
        if isinstance(transformer, str) and transformer == "drop":
            continue
        result = table
        if not isinstance(transformer, str):
            result = context.compile(transformer, table, step=name)
        weight = (estimator.transformer_weights or {}).get(name)
        results.append(result if weight is None else _weighted(result, weight))
    if not results:
        raise context.error("no column is left")
    joined = Table.beside(results)
    if all(result.names is not None for result in results):
        return Table(joined.blocks, tuple(estimator.get_feature_names_out()))
    return joined


def _transformed_target(
    estimator: TransformedTargetRegressor, table: Table, context: Context
) -> Table:
    result = context.compile(estimator.regressor_, table, method="predict", step="regressor")
    transformer = estimator.transformer_
    return context.compile(
        transformer, result.unnamed(), method="inverse_transform", step="transformer"
    )


def output_names(estimator: Any, table: Table) -> tuple[str, ...] | None:
    """Names of a transformer's output, where it returns a DataFrame."""
    return tuple(estimator.get_feature_names_out()) if returns_frame(estimator) else None


for _method in ("transform", "predict", "predict_proba", "decision_function"):
    register_compiler(Pipeline, _pipeline(_method), method=_method)
register_compiler(Pipeline, _pipeline_inverse, method="inverse_transform")
register_compiler(ColumnTransformer, _column_transformer)
register_compiler(FeatureUnion, _feature_union)
register_compiler(TransformedTargetRegressor, _transformed_target)
