"""Compile our own transformers: engineered columns and plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile import arithmetic as ar
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table, is_missing
from pyfunc_packaging.compile.tracing import trace
from pyfunc_packaging.expressions import Binary, Call, Column, Node, Number, String, Unary, parse
from pyfunc_packaging.features import ColumnFeatures, PlainValues

_UNARY = {
    "abs": op.abs,
    "exp": op.exp,
    "expm1": ar.expm1,
    "log": op.log,
    "log1p": ar.log1p,
    "sqrt": op.sqrt,
}
_BINARY = {
    "+": op.add,
    "-": op.sub,
    "*": op.mul,
    "/": op.div,
    "//": ar.floor_divide,
    "%": ar.remainder,
    "**": op.pow,
    "minimum": ar.minimum,
    "maximum": ar.maximum,
}
_COMPARISONS: Mapping[str, Callable[[Var, Var], Var]] = {
    "<": op.less,
    "<=": op.less_or_equal,
    ">": op.greater,
    ">=": op.greater_or_equal,
    "==": op.equal,
    "!=": lambda a, b: op.not_(op.equal(a, b)),
}


def _column_features(estimator: ColumnFeatures, table: Table, context: Context) -> Table:
    names = _names(estimator, table, context)
    columns = dict(zip(names, table.columns(), strict=True))
    for name, feature in (estimator.features or {}).items():
        if callable(feature):
            columns[name] = _called(name, feature, columns, context)
        else:
            columns[name] = _evaluate(name, parse(feature).root, columns, context)
    return Table(tuple(columns.values()), tuple(columns))


def _called(
    name: str, function: Callable[[Any], Any], columns: dict[str, Block], context: Context
) -> Block:
    """One feature that a Python function computes from all columns so far."""
    table = Table(tuple(columns.values()), tuple(columns))
    result = trace(function, table, context, what=f"feature {name!r}")
    if result.ndim != 1:
        raise context.error(f"feature {name!r}: the function returns several columns")
    return result._table.columns()[0]


def _names(estimator: Any, table: Table, context: Context) -> list[str]:
    """Names of the columns that the transformer saw; it takes no others."""
    if table.names is None:
        return [f"x{position}" for position in range(table.width)]
    if tuple(estimator.feature_names_in_) != table.names:
        raise context.error("the columns have another order than in training")
    return list(table.names)


def _evaluate(name: str, root: Node, columns: dict[str, Block], context: Context) -> Block:
    """One feature as a float64 column, computed as `Expression.evaluate` does."""

    def block(column: Column) -> Block:
        return columns[column.name]

    def is_text(node: Node) -> bool:
        return isinstance(node, Column) and block(node).kind == "text"

    def number(node: Node) -> Var:
        match node:
            case Number(value):
                return ar.const(value)
            case Column():
                if is_text(node):
                    raise context.error(f"feature {name!r} computes with the text {node.name!r}")
                return block(node).to_float().var
            case Unary("-", operand):
                return op.neg(number(operand))
            case Binary(operator, left, right) if operator in _BINARY:
                return _BINARY[operator](number(left), number(right))
            case Call("clip", (operand, low, high)):
                return ar.minimum(ar.maximum(number(operand), number(low)), number(high))
            case Call("where", (condition, left, right)):
                return op.where(truth(condition), number(left), number(right))
            case Call(("minimum" | "maximum") as function, (left, right)):
                return _BINARY[function](number(left), number(right))
            case Call(function, (operand,)) if function in _UNARY:
                return _UNARY[function](number(operand))
        return op.cast(truth(node), to=np.float64)

    def truth(node: Node) -> Var:
        match node:
            case Unary("not", operand):
                return op.not_(truth(operand))
            case Binary("and", left, right):
                return op.and_(truth(left), truth(right))
            case Binary("or", left, right):
                return op.or_(truth(left), truth(right))
            case Binary(operator, Column() as column, String(text)) | Binary(
                operator, String(text), Column() as column
            ):
                if not is_text(column):
                    raise context.error(f"feature {name!r} compares numbers with a text")
                equal = op.equal(block(column).var, ar.texts(text))
                return equal if operator == "==" else op.not_(equal)
            case Binary(operator, left, right) if operator in _COMPARISONS:
                return _COMPARISONS[operator](number(left), number(right))
            case Call("isnan", (Column() as column,)):
                return is_missing(block(column))
            case Call("isnan", (operand,)):
                return op.isnan(number(operand))
        return ar.is_nonzero(number(node))

    var = number(root)
    if not columns:
        raise context.error("there is no column")
    if not _uses_column(root):  # a constant still needs one value a row
        var = op.expand(var, Table(tuple(columns.values())).column_shape)
    return Block(var, 1)


def _uses_column(root: Node) -> bool:
    from pyfunc_packaging._expression_nodes import walk_columns

    return next(walk_columns(root), None) is not None


def _plain_values(estimator: PlainValues, table: Table, context: Context) -> Table:
    _names(estimator, table, context)
    if estimator.kind == "categories":  # in which NaN now marks what is missing
        return Table(tuple(replace(block, origin=None) for block in table.blocks), table.names)
    if table.text:
        raise context.error("expected numbers, found text")
    blocks = []
    for block in table.blocks:
        floats = block.to_float()
        if floats.inf:
            var = op.where(op.isinf(floats.var), ar.const(np.nan), floats.var)
            floats = Block(var, floats.width, nan=True, inf=False)
        blocks.append(floats)
    return Table(tuple(blocks), table.names)


register_compiler(ColumnFeatures, _column_features)
register_compiler(PlainValues, _plain_values)
