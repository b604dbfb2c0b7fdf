"""A table inside a graph: what flows from one compiled step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import MISSING_TEXT

Kind = Literal["float", "int", "bool", "text", "foreign"]

#: numpy dtype of a block's tensor, by kind.
DTYPES: dict[Kind, Any] = {
    "float": np.float64,
    "int": np.int64,
    "bool": np.bool_,
    "text": np.str_,
}


class ForeignColumn(ValueError):
    """Something is computed from a column of a type that graphs have no input for."""


@dataclass(frozen=True, eq=False)
class Block:
    """Neighbouring columns of one kind, in one tensor.

    Parameters
    ----------
    var : spox.Var of shape (n, width)
    width : int
        Number of columns.
    kind : {"float", "int", "bool", "text", "foreign"}
        What the cells are: float64, int64, bool or text, or those of a `ForeignBlock`.
    nan : bool
        Whether a cell may be missing: NaN among floats, a marker among texts (see
        `pyfunc_packaging.session.MISSING_TEXT`). False is a promise.
    inf : bool
        Whether a float may be infinite. False is a promise.
    origin : Column, optional
        The model's own column, where the cells are still those of one: a Python function sees
        its pandas dtype. None for what was computed, in the dtype of the kind.
    """

    var: Var
    width: int
    kind: Kind = "float"
    nan: bool = True
    inf: bool = True
    origin: Column | None = None

    def take(self, positions: Sequence[int]) -> Block:
        """Columns by position, in that order."""
        positions = list(positions)
        if positions == list(range(self.width)):
            return self
        index = op.const(np.array(positions, dtype=np.int64))
        return replace(self, var=op.gather(self.var, index, axis=1), width=len(positions))

    def to_float(self) -> Block:
        """The same cells as float64."""
        if self.kind == "float":
            if self.origin is None and type(self) is Block:
                return self
            return Block(self.var, self.width, nan=self.nan, inf=self.inf)
        if self.kind == "text":
            raise ValueError("expected numbers, found text")
        return Block(op.cast(self.var, to=np.float64), self.width, nan=False, inf=False)


class ForeignBlock(Block):
    """A column of a type that graphs have no input for, such as datetimes.

    It can be passed on and left out; whoever asks for its cells meets `ForeignColumn`.

    Parameters
    ----------
    column : Column
    """

    def __init__(self, column: Column) -> None:
        known = {"width": 1, "kind": "foreign", "nan": column.nullable, "inf": False}
        for name, value in {**known, "origin": column}.items():
            object.__setattr__(self, name, value)  # the class is frozen

    @property
    def var(self) -> Var:
        """There is no tensor."""
        assert self.origin is not None
        raise ForeignColumn(
            f"column {self.origin.name!r} is {self.origin.type}, which no graph takes"
        )


@dataclass(frozen=True, eq=False)
class Table:
    """Columns side by side; what scikit-learn would hold in a DataFrame or an array.

    Parameters
    ----------
    blocks : tuple of Block
        Every block has at least one column.
    names : tuple of str, optional
        Names of the columns where scikit-learn would have a DataFrame, None for an array.

    Examples
    --------
    >>> from spox import Tensor, argument
    >>> rooms = Block(argument(Tensor(np.float64, ("n", 1))), 1)
    >>> places = Block(argument(Tensor(np.str_, ("n", 1))), 1, "text")
    >>> table = Table((rooms, places), ("rooms", "place"))
    >>> table.width, [block.kind for block in table.take([1, 0]).blocks]
    (2, ['text', 'float'])
    """

    blocks: tuple[Block, ...]
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, var: Var, width: int, *, nan: bool = False, inf: bool = True) -> Table:
        """An array of float64, of shape (n, width)."""
        return cls((Block(var, width, nan=nan, inf=inf),))

    @classmethod
    def beside(cls, tables: Iterable[Table], names: Sequence[str] | None = None) -> Table:
        """Tables side by side; names only where they are given."""
        blocks = tuple(block for table in tables for block in table.blocks)
        return cls(blocks, None if names is None else tuple(names))

    @property
    def width(self) -> int:
        """Number of columns."""
        return sum(block.width for block in self.blocks)

    @property
    def nan(self) -> bool:
        """Whether a cell may be missing."""
        return any(block.nan for block in self.blocks)

    @property
    def inf(self) -> bool:
        """Whether a cell may be infinite."""
        return any(block.inf for block in self.blocks)

    @property
    def text(self) -> bool:
        """Whether there is a column of text."""
        return any(block.kind == "text" for block in self.blocks)

    def check_inputs(self) -> None:
        """Check that a graph can take every column.

        Raises
        ------
        ForeignColumn
        """
        for block in self.blocks:
            if isinstance(block, ForeignBlock):
                _ = block.var

    @property
    def column_shape(self) -> Var:
        """Shape of a single column, (n, 1), as a tensor of two integers."""
        held = [block for block in self.blocks if not isinstance(block, ForeignBlock)]
        first = (held or self.blocks)[0]
        return op.shape(first.take([0]).var)

    def take(self, positions: Iterable[int]) -> Table:
        """Columns by position, in that order."""
        positions = list(positions)
        where = [
            (number, column)
            for number, block in enumerate(self.blocks)
            for column in range(block.width)
        ]
        parts: list[tuple[int, list[int]]] = []
        for position in positions:
            number, column = where[position]
            if parts and parts[-1][0] == number:
                parts[-1][1].append(column)
            else:
                parts.append((number, [column]))
        return Table(
            tuple(self.blocks[number].take(columns) for number, columns in parts),
            None if self.names is None else tuple(self.names[position] for position in positions),
        )

    def select(self, names: Iterable[str]) -> Table:
        """Columns by name, in that order; the table must have names."""
        if self.names is None:
            raise ValueError("expected a table with names, found an array")
        index = {name: position for position, name in enumerate(self.names)}
        return self.take([index[name] for name in names])

    def columns(self) -> list[Block]:
        """Every column as a block of its own."""
        return [block.take([column]) for block in self.blocks for column in range(block.width)]

    def finite(self) -> Table:
        """The same cells with the promise that none is infinite."""
        blocks = [replace(b, inf=False) if b.kind == "float" else b for b in self.blocks]
        return replace(self, blocks=tuple(blocks))

    def unnamed(self) -> Table:
        """The same cells as an array."""
        return replace(self, names=None)

    @cached_property
    def floats(self) -> Block:
        """All columns as one block of float64; ValueError where there is text."""
        blocks = [block.to_float() for block in self.blocks]
        if len(blocks) == 1:
            return blocks[0]
        var = op.concat([block.var for block in blocks], axis=1)
        return Block(var, self.width, nan=self.nan, inf=self.inf)

    @property
    def x(self) -> Var:
        """The tensor of `floats`, of shape (n, width)."""
        return self.floats.var


def is_missing(block: Block) -> Var:
    """Which cells of a block are missing: bool, of its shape."""
    if block.kind == "float":
        return op.isnan(block.var)
    if block.kind == "text":
        return op.equal(block.var, op.const(np.array(MISSING_TEXT, dtype=object)))
    return op.not_(op.equal(block.var, block.var))  # integers and booleans are never missing


def check_booleans(table: Table) -> None:
    """Check that no column holds None among booleans, for what looks for NaN among objects.

    Raises
    ------
    ValueError
    """
    names = [
        block.origin.name
        for block in table.blocks
        if block.nan
        and block.origin is not None
        and block.origin.type == "boolean"
        and block.origin.dtype in (None, "bool", "object")
        and not (block.origin.dtype == "object" and block.origin.missing == "NaN")
    ]
    if names:
        wanted = ", ".join(f'{name!r}: "boolean"' for name in names)
        raise ValueError(
            f"a missing value is None among the booleans of {', '.join(map(repr, names))}, and"
            f" scikit-learn takes it for a value here; convert before fit: X.astype({{{wanted}}})"
        )
