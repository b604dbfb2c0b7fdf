"""Compile scalers: one subtraction, one division, in scikit-learn's order."""

from __future__ import annotations

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, RobustScaler, StandardScaler

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table


def _result(estimator: object, table: Table, block: Block) -> Table:
    return Table((block,), output_names(estimator, table))


def _standard(estimator: StandardScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = block.var
    if estimator.with_mean:
        var = op.sub(var, const(estimator.mean_))
    if estimator.with_std:
        var = op.div(var, const(estimator.scale_))
    return _result(estimator, table, Block(var, block.width, nan=block.nan))


def _min_max(estimator: MinMaxScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = op.add(op.mul(block.var, const(estimator.scale_)), const(estimator.min_))
    if estimator.clip:
        low, high = (np.float64(limit) for limit in estimator.feature_range)
        var = op.clip(var, const(low), const(high))
    return _result(estimator, table, Block(var, block.width, nan=block.nan))


def _max_abs(estimator: MaxAbsScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = op.div(block.var, const(estimator.scale_))
    if estimator.clip:
        var = op.clip(var, const(-1.0), const(1.0))
    return _result(estimator, table, Block(var, block.width, nan=block.nan))


def _robust(estimator: RobustScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = block.var
    if estimator.with_centering:
        var = op.sub(var, const(estimator.center_))
    if estimator.with_scaling:
        var = op.div(var, const(estimator.scale_))
    return _result(estimator, table, Block(var, block.width, nan=block.nan))


def _standard_inverse(estimator: StandardScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = block.var
    if estimator.with_std:
        var = op.mul(var, const(estimator.scale_))
    if estimator.with_mean:
        var = op.add(var, const(estimator.mean_))
    return Table((Block(var, block.width, nan=block.nan),))


def _min_max_inverse(estimator: MinMaxScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = op.div(op.sub(block.var, const(estimator.min_)), const(estimator.scale_))
    return Table((Block(var, block.width, nan=block.nan),))


def _max_abs_inverse(estimator: MaxAbsScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    return Table((Block(op.mul(block.var, const(estimator.scale_)), block.width, nan=block.nan),))


def _robust_inverse(estimator: RobustScaler, table: Table, context: Context) -> Table:
    block = context.finite(table, allow_missing=True)
    var = block.var
    if estimator.with_scaling:
        var = op.mul(var, const(estimator.scale_))
    if estimator.with_centering:
        var = op.add(var, const(estimator.center_))
    return Table((Block(var, block.width, nan=block.nan),))


register_compiler(StandardScaler, _standard)
register_compiler(MinMaxScaler, _min_max)
register_compiler(MaxAbsScaler, _max_abs)
register_compiler(RobustScaler, _robust)
register_compiler(StandardScaler, _standard_inverse, method="inverse_transform")
register_compiler(MinMaxScaler, _min_max_inverse, method="inverse_transform")
register_compiler(MaxAbsScaler, _max_abs_inverse, method="inverse_transform")
register_compiler(RobustScaler, _robust_inverse, method="inverse_transform")
