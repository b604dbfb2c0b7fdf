"""Sums, means and extremes of the values of each row."""

from __future__ import annotations

import functools

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.elementwise import BY_BATCH, Unsupported, cast
from pyfunc_packaging.compile.gappy import GappyInts, both, is_whole
from pyfunc_packaging.compile.recording import merged
from pyfunc_packaging.compile.table import Block, Kind, Table


def reduce_row(name: str, table: Table, kind: Kind, *, skip_missing: bool) -> Block:
    """One value for each row.

    Parameters
    ----------
    name : {"sum", "mean", "min", "max", "prod", "any", "all"}
    table : Table
    kind : str
        What numpy or pandas returns.
    skip_missing : bool
        Whether NaN is left out, as in pandas; in numpy it decides.

    Returns
    -------
    Block
    """
    if table.text:
        raise Unsupported(f"{name} of text is not compiled")
    axis = ints([1])
    if name in ("any", "all"):
        if table.nan:
            raise Unsupported(f"{name} of values that may be missing is not compiled")
        truths = [op.cast(cast(block, "bool"), to=np.int32) for block in table.blocks]
        joined = truths[0] if len(truths) == 1 else op.concat(truths, axis=1)
        reduce = op.reduce_max if name == "any" else op.reduce_min
        return _plain(op.cast(reduce(joined, axis, keepdims=True), to=np.bool_), "bool")
    if name != "mean" and any(isinstance(block, GappyInts) for block in table.blocks):
        columns = table.columns()
        if all(map(is_whole, columns)):
            return _gappy(name, columns, skip_missing=skip_missing)
    if kind == "int":
        parts = [cast(block, "int") for block in table.blocks]
        joined = parts[0] if len(parts) == 1 else op.concat(parts, axis=1)
        if name in ("max", "min"):
            extreme = op.reduce_max if name == "max" else op.reduce_min
            return _plain(extreme(joined, axis, keepdims=True), "int")
        # ONNX Runtime's own sums of integers go by way of float64
        combine = op.add if name == "sum" else op.mul
        terms = [op.gather(joined, ints([position]), axis=1) for position in range(table.width)]
        return _plain(functools.reduce(combine, terms), "int")
    if kind != "float":
        raise Unsupported(f"{name} of booleans is not compiled")
    block = table.floats if len({b.kind for b in table.blocks}) > 1 else merged(table).to_float()
    return Block(_float(name, block, skip_missing=skip_missing), 1)


def _gappy(name: str, columns: list[Block], *, skip_missing: bool) -> Block:
    wholes, conditions = [], []
    for block in columns:
        if not isinstance(block, GappyInts):
            wholes.append(block)
        elif block.whole is None or block.gaps is None:
            raise Unsupported(f"{name} of {BY_BATCH}")
        else:
            wholes.append(Block(block.whole, 1, "int"))
            conditions.append(block.gaps)
    gaps = conditions[0]
    for condition in conditions[1:]:
        gaps = op.or_(gaps, condition)
    whole = reduce_row(name, Table(tuple(wholes)), "int", skip_missing=skip_missing)
    floats = _float(name, Table(tuple(columns)).floats, skip_missing=skip_missing)
    return both(floats, whole.var, gaps)


def _plain(var: Var, kind: Kind) -> Block:
    return Block(var, 1, kind, nan=False, inf=False)


def _float(name: str, block: Block, *, skip_missing: bool) -> Var:
    axis = ints([1])
    x, width = block.var, float(block.width)
    function = {
        "sum": op.reduce_sum,
        "mean": op.reduce_sum,
        "prod": op.reduce_prod,
        "max": op.reduce_max,
        "min": op.reduce_min,
    }[name]
    if not block.nan:
        total = function(x, axis, keepdims=True)
        return op.div(total, const(width)) if name == "mean" else total
    missing = op.isnan(x)
    neutral = {"sum": 0.0, "mean": 0.0, "prod": 1.0, "max": -np.inf, "min": np.inf}[name]
    total = function(op.where(missing, const(neutral), x), axis, keepdims=True)
    gaps = op.reduce_sum(op.cast(missing, to=np.float64), axis, keepdims=True)
    if not skip_missing:
        total = op.div(total, const(width)) if name == "mean" else total
        return op.where(op.greater(gaps, const(0.0)), const(np.nan), total)
    if name == "mean":
        return op.div(total, op.sub(const(width), gaps))
    if name in ("max", "min"):
        return op.where(op.equal(gaps, const(width)), const(np.nan), total)
    return total
