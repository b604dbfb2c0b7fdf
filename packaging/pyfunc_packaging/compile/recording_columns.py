"""Results that are made column by column, and whether pandas holds integers or floats in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.elementwise import Unsupported, cast, choose, constant
from pyfunc_packaging.compile.gappy import GappyInts, is_whole, tainted
from pyfunc_packaging.compile.recording import Traced, is_narrow
from pyfunc_packaging.compile.registry import any_of
from pyfunc_packaging.compile.table import Block, Kind, Table


def each(
    traced: Traced,
    sample: Any,
    make: Callable[..., Block],
    *operands: Any,
    certain: bool = False,
) -> Any:
    """A result made column by column: by ``make``, of its kind and a block of each operand.

    Floats that pandas makes of whole numbers are marked, unless ``make`` says itself in which
    batches they stay integers, or the result is certain to have the sample's type in all.
    """
    kinds = traced._kinds(sample)
    blocks = []
    with traced._explained():
        for position, kind in enumerate(kinds):
            columns = [block_of(operand, position) for operand in operands]
            block = make(kind, *columns)
            if not certain:
                narrow = [_is_narrow(operand, position) for operand in operands]
                block = _by_batch(block, columns, narrow, pandas=not isinstance(sample, np.ndarray))
            blocks.append(block)
    return traced._wrap(Table(tuple(blocks)), sample)


def _by_batch(
    block: Block, columns: Sequence[Block], narrow: Sequence[bool], *, pandas: bool
) -> Block:
    """A result, marked where its type depends on the batch."""
    if not pandas:  # numpy looks at types alone
        gappy = any(isinstance(column, GappyInts) for column in columns)
        floats = any(column.kind == "float" and not is_whole(column) for column in columns)
        if block.kind == "float" and gappy and not floats and not isinstance(block, GappyInts):
            return tainted(block)
        return block
    if block.kind not in ("int", "float") or not narrow[0]:
        if block.kind == "float" and is_whole(columns[0]) and not isinstance(block, GappyInts):
            return tainted(block)
        return block
    if block.kind == "int" or not is_whole(columns[0]):
        raise Unsupported(
            "numbers of less than 64 bits, of which pandas makes larger ones in some batches"
            " alone; use .astype(float) before"
        )
    return tainted(block, narrow=True)


def _is_narrow(operand: Any, position: int) -> bool:
    """Whether a column holds integers smaller than int64, or floats smaller than float64."""
    if not isinstance(operand, Traced):
        return False
    block, sample = block_of(operand, position), operand._sample
    if isinstance(block, GappyInts):
        return block.narrow
    frame = isinstance(sample, pd.DataFrame) and sample.shape[1] > 1
    return is_narrow(sample.iloc[:, position] if frame else sample)


def is_integral(value: Any) -> bool:
    """Whether a column of int64 can hold a constant."""
    if not isinstance(value, int | float | np.number) or not float(value).is_integer():
        return False
    return bool(-(2.0**63) <= value < 2.0**63)


def as_floats(sample: Any, values: Sequence[Any]) -> Any:
    """The sample as if a constant that integers cannot hold had replaced one in each column."""
    if all(is_integral(value) for value in values):
        return sample
    if isinstance(sample, pd.Series):
        return sample.astype(np.float64) if sample.dtype.kind in "iu" else sample
    names = [name for name, dtype in sample.dtypes.items() if dtype.kind in "iu"]
    return sample.astype(dict.fromkeys(names, np.float64))


def overwrite(column: Block, cells: Var, value: Any, kind: Kind, other: Block) -> Block:
    """A constant in some cells of a column of pandas.

    Integers stay integers where the constant is one, or where there is no such cell.

    Parameters
    ----------
    column : Block
    cells : Var of bool
    value : scalar
    kind : str
        Of the result.
    other : Block
        The constant.
    """
    if kind != "float" or column.kind == "bool" or not is_whole(column):
        return choose(cells, other, column, kind)
    integral = is_integral(value)
    if integral and column.kind == "int":
        return choose(cells, other, column, "int")
    result = choose(cells, other, column, "float")
    whole, gaps = column.var, None
    if isinstance(column, GappyInts):
        if column.whole is None or column.gaps is None:
            return tainted(result, narrow=column.narrow)
        whole, gaps = column.whole, column.gaps
    if integral:
        assert gaps is not None
        whole = op.where(cells, cast(other, "int"), whole)
    else:
        gaps = any_of(cells) if gaps is None else op.or_(gaps, any_of(cells))
    return GappyInts(
        result.var,
        1,
        nan=result.nan,
        inf=result.inf,
        whole=whole,
        gaps=gaps,
        exact=isinstance(column, GappyInts) and column.exact,
    )


def block_of(operand: Any, position: int) -> Block:
    """One column of an operand; of a constant its one value."""
    if isinstance(operand, Block):
        return operand
    if isinstance(operand, Traced):
        table = operand._table
        return table.take([position if table.width > 1 else 0]).blocks[0]
    return constant(operand)
