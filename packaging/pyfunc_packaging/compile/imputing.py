"""Compile imputers: what stands for a missing value, and which values were missing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.impute import MissingIndicator, SimpleImputer

from pyfunc_packaging.compile.arithmetic import const, texts
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table, check_booleans, is_missing
from pyfunc_packaging.expressions import is_missing_value


def _check_marker(marker: Any, table: Table, context: Context) -> None:
    """Only the missing values of pandas are compiled: NaN, pd.NA for the same, None among texts."""
    if marker is None and all(block.kind == "text" for block in table.blocks):
        for block in table.blocks:
            if block.nan and not _marks(block, marker):
                context.refuse(is_missing(block))
    elif marker is None or not is_missing_value(marker):
        raise context.error(f"missing_values={marker!r} is not compiled, only NaN is")


def _marks(block: Block, marker: Any) -> bool:
    """Whether the marker is what stands for missing cells of a block.

    scikit-learn passes over None in columns of objects where it looks for NaN, and vice versa.
    """
    origin = block.origin
    holds_none = (
        block.kind == "text"
        and origin is not None
        and origin.dtype in (None, "object")
        and origin.missing in (None, "None")
    )
    return holds_none == (marker is None)


def _simple_imputer(estimator: SimpleImputer, table: Table, context: Context) -> Table:
    marker = estimator.missing_values
    _check_marker(marker, table, context)
    if estimator.strategy in ("most_frequent", "constant"):
        table = _validate(table, context)
    else:  # makes float64 of everything
        table = context.refuse_infinite(table)
    statistics = estimator.statistics_
    # a None is no empty column: it is the most frequent value of one that holds it beside NaN
    empty = np.array([value is not None and is_missing_value(value) for value in statistics])
    keep = [
        position
        for position in range(table.width)
        if estimator.keep_empty_features or not empty[position]
    ]
    kept = table.take(keep)
    if kept.nan and not kept.text:
        kept = Table((kept.floats,))  # all columns at once
    blocks = []
    start = 0
    for block in kept.blocks:
        values = [statistics[position] for position in keep[start : start + block.width]]
        blocks.append(_filled(block, values, context) if _marks(block, marker) else block)
        start += block.width
    if estimator.indicator_ is not None and estimator.indicator_.features_.size:
        blocks.append(_missing(table.take(estimator.indicator_.features_), marker).to_float())
    if not blocks:
        raise context.error("no column is left")
    return Table(tuple(blocks), output_names(estimator, table))


def _validate(table: Table, context: Context) -> Table:
    """Refuse what `check_array` refuses of columns in their own dtypes; what is left."""
    table.check_inputs()
    check_booleans(table)
    origins = [block.origin for block in table.blocks if block.origin is not None]
    if table.text or any(origin.dtype == "object" for origin in origins):
        return table  # an array of objects is not searched for infinite values
    return context.refuse_infinite(table)


def _filled(block: Block, values: list[Any], context: Context) -> Block:
    if block.kind == "text":
        if not all(isinstance(value, str) for value in values):
            raise context.error("fills a column of text with something that is no text")
        if not block.nan:
            return block
        fill = texts(values)
        filled = op.where(is_missing(block), fill, block.var)
        if block.width == 1:
            context.fills[filled] = block.var, values[0]
        return Block(filled, block.width, "text", nan=False)
    if not all(isinstance(value, int | float | np.number) for value in values):
        raise context.error("fills a column of numbers with something that is no number")
    if not block.nan:
        return block
    floats = block.to_float()
    filled = op.where(op.isnan(floats.var), const(values), floats.var)
    missing = any(map(is_missing_value, values))
    infinite = any(isinstance(value, float) and math.isinf(value) for value in values)
    return Block(filled, block.width, nan=missing, inf=floats.inf or infinite)


def _missing(table: Table, marker: Any) -> Block:
    """Which cells hold the marker; nothing does in columns that are marked otherwise."""
    parts = []
    for block in table.blocks:
        missing = is_missing(block)
        parts.append(missing if _marks(block, marker) else op.and_(missing, op.const(False)))
    var = parts[0] if len(parts) == 1 else op.concat(parts, axis=1)
    return Block(var, table.width, "bool", nan=False, inf=False)


def _missing_indicator(estimator: MissingIndicator, table: Table, context: Context) -> Table:
    marker = estimator.missing_values
    _check_marker(marker, table, context)
    _validate(table, context)
    if not estimator.features_.size:
        raise context.error("no column is left")
    others = sorted(set(range(table.width)) - set(estimator.features_))
    if estimator.error_on_new and others and estimator.features == "missing-only":
        new = table.take(others)
        if new.nan:
            context.refuse(_missing(new, marker).var)
    block = _missing(table.take(estimator.features_), marker)
    return Table((block,), output_names(estimator, table))


register_compiler(SimpleImputer, _simple_imputer)
register_compiler(MissingIndicator, _missing_indicator)
