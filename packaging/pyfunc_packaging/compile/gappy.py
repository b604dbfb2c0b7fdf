"""Integers of a column that pandas makes floats of in some batches, and keeps in others.

A missing value makes float64 of int64, and so do a division by zero and a cell that is replaced
by something else: the dtype of a column depends on the batch. It shows where integers wrap around.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.registry import any_of
from pyfunc_packaging.compile.table import Block, Table


@dataclass(frozen=True, eq=False)
class GappyInts(Block):
    """One column of floats that pandas holds as integers in a batch without a gap.

    Its sample is of float64, as in a batch with one.

    Parameters
    ----------
    whole : Var of int64, shape (n, 1), optional
        The integers, for batches without a gap; they wrap around where they overflow. None
        where it is not known whether pandas has integers or floats.
    gaps : Var of bool, scalar, optional
        Whether the batch has a gap: something of which pandas makes floats.
    exact : bool
        Whether float64 holds each of the integers.
    narrow : bool
        Whether they are smaller than int64, of which numpy's functions make smaller floats.
    """

    whole: Var | None = None
    gaps: Var | None = None
    exact: bool = False
    narrow: bool = False

    def take(self, positions: Sequence[int]) -> Block:
        """Columns by position, in that order."""
        if list(positions) == [0]:
            return self
        return Block(self.var, self.width, nan=self.nan, inf=self.inf).take(positions)


def both(floats: Var, whole: Var, gaps: Var) -> GappyInts:
    """Either of two results, as a batch has gaps or none."""
    var = op.where(gaps, floats, op.cast(whole, to=np.float64))
    return GappyInts(var, 1, whole=whole, gaps=gaps)


def tainted(block: Block, *, narrow: bool = False) -> Block:
    """A result of which it is not known whether pandas has integers or floats."""
    return GappyInts(block.var, 1, nan=block.nan, inf=block.inf, exact=narrow, narrow=narrow)


def is_whole(block: Block) -> bool:
    """Whether pandas may hold a block as whole numbers; truths count."""
    return isinstance(block, GappyInts) or block.kind in ("int", "bool")


def with_gaps(table: Table) -> Table:
    """The table with its nullable integers as such; in an array one gap makes floats of all."""
    columns = table.columns()
    gappy = [
        block.kind == "float" and block.origin is not None and _is_plain(block.origin.dtype)
        for block in columns
    ]
    if not any(gappy):
        return table
    if table.names is not None:
        parts = [
            _gappy(b, any_of(op.isnan(b.var))) if g else b
            for b, g in zip(columns, gappy, strict=True)
        ]
        return Table(tuple(parts), table.names)
    if not all(g or b.kind == "int" for b, g in zip(columns, gappy, strict=True)):
        return table  # an array of floats in any case
    gaps = any_of(op.isnan(table.x))
    return Table(tuple(_gappy(block, gaps) for block in columns))


def _is_plain(dtype: str | None) -> bool:
    """Whether a dtype is one of numpy's integers."""
    return dtype is not None and dtype.startswith(("int", "uint"))


def _gappy(block: Block, gaps: Var) -> Block:
    floats = block.to_float()
    if block.kind == "int":
        return GappyInts(floats.var, 1, origin=block.origin, whole=block.var, gaps=gaps)
    assert block.origin is not None
    if block.origin.dtype != "int64":  # smaller ones wrap around earlier
        return GappyInts(block.var, 1, inf=False, origin=block.origin, exact=True, narrow=True)
    # the largest integer is no float64: the nearest one is beyond it
    largest = op.const(np.int64(np.iinfo(np.int64).max))
    beyond = op.greater_or_equal(block.var, const(2.0**63))
    whole = op.where(beyond, largest, op.cast(block.var, to=np.int64))
    return GappyInts(
        block.var, 1, inf=False, origin=block.origin, whole=whole, gaps=gaps, exact=True
    )


def without_gaps(block: Block) -> Block:
    """The same cells as floats in any case."""
    return (
        Block(block.var, block.width, nan=block.nan, inf=block.inf)
        if isinstance(block, GappyInts)
        else block
    )


def filled(block: GappyInts, var: Var, *, nan: bool) -> Block:
    """The column with something in its gaps; a batch without gaps is as it was."""
    return replace(block, var=var, nan=nan, origin=None)
