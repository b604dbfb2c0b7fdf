"""Compile `FunctionTransformer`: what its Python functions do, recorded."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import check_array

from pyfunc_packaging.compile.composition import output_names, returns_frame
from pyfunc_packaging.compile.recording import merged
from pyfunc_packaging.compile.recording_frames import TracedFrame
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Table
from pyfunc_packaging.compile.tracing import trace


def _forward(estimator: FunctionTransformer, table: Table, context: Context) -> Table:
    given = _validated(table, context) if estimator.validate else table
    result = _called(estimator.func, estimator.kw_args, given, context)
    return Table(result.blocks, _names(estimator, given, result, context))


def _inverse(estimator: FunctionTransformer, table: Table, context: Context) -> Table:
    given = _validated(table, context) if estimator.validate else table
    return _called(estimator.inverse_func, estimator.inv_kw_args, given, context)


def _validated(table: Table, context: Context) -> Table:
    """An array of one type without missing or infinite values: `check_array`'s default."""
    if table.text:
        raise context.error("expected numbers, found text")
    kinds = {block.kind for block in table.blocks}
    if kinds == {"int"} or kinds == {"bool"}:
        block = merged(table)
        return Table((block,)) if len(table.blocks) > 1 else table.unnamed()
    return Table((context.finite(table),))


def _called(
    function: Callable[..., Any] | None, options: Any, table: Table, context: Context
) -> Table:
    if function is None:
        return table
    if isinstance(function, functools.partial) and function.func is check_array:
        # histogram gradient boosting checks its numeric columns so
        return _checked(function.keywords, table, context)
    called = functools.partial(function, **options) if options else function
    result = trace(called, table, context)
    if result.ndim != 2:
        raise context.error("the function returns one dimension, expected a table of two")
    names = None
    if isinstance(result, TracedFrame):
        names = tuple(result.columns)
        if not all(isinstance(name, str) for name in names):
            raise context.error("the function returns columns whose names are no text")
    return Table(result._table.blocks, names)


def _checked(options: Any, table: Table, context: Context) -> Table:
    if options != {"dtype": [np.float64], "ensure_all_finite": False}:
        raise context.error(f"check_array with {sorted(options)} is not compiled")
    return Table((table.floats,))


def _names(
    estimator: FunctionTransformer, given: Table, result: Table, context: Context
) -> tuple[str, ...] | None:
    """Names of the result's columns, where scikit-learn returns a DataFrame."""
    if estimator.feature_names_out is None:
        return result.names
    names = tuple(estimator.get_feature_names_out())
    if len(names) != result.width:
        raise context.error("feature_names_out does not name every column")
    if result.names is not None and result.names not in (names, given.names):
        raise context.error("the function's columns are not those of feature_names_out")
    if result.names is None and not returns_frame(estimator):
        return None
    return tuple(output_names(estimator, given) or names)


register_compiler(FunctionTransformer, _forward)
register_compiler(FunctionTransformer, _inverse, method="inverse_transform")
