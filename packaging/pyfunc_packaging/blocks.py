"""Some rows of a table, and what reads them from a file."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from pyfunc_packaging.arrow_columns import Array
from pyfunc_packaging.schema import Column


@dataclass(frozen=True)
class Block:
    """Some rows that follow one another.

    Parameters
    ----------
    first : int
        Number of the first row; the first of the file is row 1.
    length : int
        How many they are.
    columns : mapping of str to pyarrow.Array or list
        What the file holds, by name; lists of Python's values for JSON.
    lines : sequence of str
        The lines themselves, for JSON lines.
    names : frozenset of str
        All names in these rows, for JSON lines, of which each can have others.
    """

    first: int
    length: int
    columns: Mapping[str, Any]
    lines: Sequence[str] = ()
    names: frozenset[str] = frozenset()


class Reader(Protocol):
    """A table in a file."""

    #: ``csv``, ``jsonl``, ``parquet`` or ``arrow``.
    format: str
    #: All columns, in the file's order.
    names: list[str]
    #: How much there is to read, in rows or bytes; None where nobody knows.
    total: int | None

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """The rows, at most so many at a time."""

    def decode(self, column: Column, cells: Any) -> Array:
        """Cells of a block as a decoded column."""

    def to_arrow(self, cells: Any) -> pa.Array:
        """Cells of a block as they are passed through to a file of another format."""

    def position(self) -> int:
        """How much of ``total`` was read."""


def cut(batch: pa.RecordBatch, rows: int, first: int) -> Iterator[Block]:
    """Blocks of at most so many rows.

    Parameters
    ----------
    batch : pyarrow.RecordBatch
    rows : int
    first : int
        Number of its first row.

    Examples
    --------
    >>> batch = pa.record_batch({"x": [1, 2, 3]})
    >>> [(block.first, block.length) for block in cut(batch, 2, 11)]
    [(11, 2), (13, 1)]
    """
    for start in range(0, batch.num_rows, rows):
        part = batch.slice(start, rows)
        columns = dict(zip(part.schema.names, part.columns, strict=True))
        yield Block(first + start, part.num_rows, columns)
