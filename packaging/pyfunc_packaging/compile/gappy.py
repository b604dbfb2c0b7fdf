"""Integers of a column that may have gaps: int64 in pandas where a batch has none, else float64."""

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

    Parameters
    ----------
    whole : Var of int64, shape (n, 1), optional
        The integers, for batches without a gap; they wrap around where they overflow. None
        where it is not known whether pandas has integers or floats.
    gaps : Var of bool, scalar, optional
        Whether the batch has a gap.
    """

    whole: Var | None = None
    gaps: Var | None = None

    def take(self, positions: Sequence[int]) -> Block:
        """Columns by position, in that order."""
        if list(positions) == [0]:
            return self
        return Block(self.var, self.width, nan=self.nan, inf=self.inf).take(positions)


def both(floats: Var, whole: Var, gaps: Var) -> GappyInts:
    """Either of two results, as a batch has gaps or none."""
    var = op.where(gaps, floats, op.cast(whole, to=np.float64))
    return GappyInts(var, 1, whole=whole, gaps=gaps)


def tainted(block: Block) -> Block:
    """A result of which it is not known whether pandas has integers or floats."""
    return GappyInts(block.var, 1, nan=block.nan, inf=block.inf)


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
        return GappyInts(block.var, 1, inf=False, origin=block.origin)
    # the largest integer is no float64: the nearest one is beyond it
    largest = op.const(np.int64(np.iinfo(np.int64).max))
    beyond = op.greater_or_equal(block.var, const(2.0**63))
    whole = op.where(beyond, largest, op.cast(block.var, to=np.int64))
    return GappyInts(block.var, 1, inf=False, origin=block.origin, whole=whole, gaps=gaps)


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
