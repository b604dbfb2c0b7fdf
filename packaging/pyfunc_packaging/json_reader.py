"""JSON lines in blocks: one object a row, whose text is kept."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa

from pyfunc_packaging.arrow_columns import (
    EXPECTED,
    Array,
    UnsuitableCell,
    decode,
    first_unsuitable,
    parse,
    show,
)
from pyfunc_packaging.blocks import Block
from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.schema import Column


class JsonReader:
    """JSON lines: one object a row."""

    format = "jsonl"

    def __init__(self, source: Path | IO[bytes], columns: Sequence[Column]) -> None:
        self._file: Any = source.open("rb") if isinstance(source, Path) else source
        self._ours = isinstance(source, Path)
        self.total = source.stat().st_size if isinstance(source, Path) else None
        self._columns = columns
        self._first = self._file.readline()
        self._read = len(self._first)
        while self._first and not self._first.strip():
            self._first = self._file.readline()
        first = _parse_lines([self._first], 1)[0][1] if self._first else {}
        self.names = list(first) if first else [column.name for column in columns]

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """The rows; see :class:`Reader`."""
        first, lines = 1, [self._first] if self._first else []
        try:
            for line in self._file:
                if len(lines) == rows:
                    yield self._block(lines, first)
                    first, lines = first + len(lines), []
                self._read += len(line)
                if not line.isspace():
                    lines.append(line)
            yield self._block(lines, first)
        finally:
            if self._ours:
                self._file.close()

    def _block(self, lines: list[bytes], first: int) -> Block:
        parsed = _parse_lines(lines, first)
        rows = [row for _, row in parsed]
        known = dict.fromkeys(self.names).keys()
        names = set(known)
        for number, row in enumerate(rows, first):
            if row.keys() != known:
                self._check_names(row, number)
                names |= row.keys()
        columns = _JsonColumns(rows)
        return Block(first, len(rows), columns, [text for text, _ in parsed], frozenset(names))

    def _check_names(self, row: Mapping[str, Any], number: int) -> None:
        for column in self._columns:
            if column.name not in row:
                raise UnsuitableData(
                    f"row {number:,}: column {column.name!r} is not there; write null for a missing"
                    f" value"
                )

    def decode(self, column: Column, cells: Any) -> Array:
        """A decoded column; see :class:`Reader`."""
        return decode_json(column, cells)

    def to_arrow(self, cells: Any) -> pa.Array:
        """Cells to pass through; see :class:`Reader`."""
        texts = [
            cell if cell is None or type(cell) is str else json.dumps(cell, ensure_ascii=False)
            for cell in cells
        ]
        return pa.array(texts, pa.string())

    def position(self) -> int:
        """How much was read; see :class:`Reader`."""
        return self._read


class _JsonColumns(Mapping[str, list[Any]]):
    """Columns that are taken out of their rows when somebody asks for them."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._rows = rows

    def __getitem__(self, name: str) -> list[Any]:
        return [row.get(name) for row in self._rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows[0] if self._rows else ())

    def __len__(self) -> int:
        return len(self._rows[0]) if self._rows else 0


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) != len(pairs):
        raise ValueError("a name is there more than once")
    return row


def _constant(name: str) -> None:
    # NaN, as Python writes it, is a missing value; infinity has no place in JSON
    if name != "NaN":
        raise ValueError(f"{name} is no JSON")


def _parse_lines(lines: Sequence[bytes], first: int) -> list[tuple[str, dict[str, Any]]]:
    read = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_constant).raw_decode
    result = []
    for number, line in enumerate(lines, first):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8").strip()
            row, end = read(text)
            if type(row) is not dict or end != len(text):
                raise ValueError("no single object")
        except (ValueError, RecursionError) as error:
            raise UnsuitableData(
                f"row {number:,}: expected a JSON object on one line, found something else"
                f" ({error})"
            ) from error
        result.append((text, row))
    return result


#: MLflow column type -> types that Python reads from JSON for it.
_JSON_TYPES: Mapping[str, frozenset[type]] = {
    "boolean": frozenset({bool}),
    "integer": frozenset({int, float}),
    "long": frozenset({int, float}),
    "float": frozenset({int, float}),
    "double": frozenset({int, float}),
    "string": frozenset({str}),
    "binary": frozenset({str}),
    "datetime": frozenset({str}),
}
_NONE = frozenset({type(None)})


def decode_json(column: Column, cells: list[Any]) -> Array:
    """Python's values from JSON as a decoded column.

    Parameters
    ----------
    column : Column
    cells : list of bool, int, float, str or None
        Texts are text, bytes by their UTF-8, or datetimes in ISO 8601.

    Returns
    -------
    ndarray of shape (n,)

    Raises
    ------
    UnsuitableCell

    Examples
    --------
    >>> decode_json(Column("age", "double", nullable=True), [41, 0.5, None])
    array([41. ,  0.5,  nan])
    """
    kinds = set(map(type, cells))
    allowed = _JSON_TYPES[column.type]
    if not kinds <= allowed | _NONE:
        wrong = next(n for n, cell in enumerate(cells) if type(cell) not in allowed | _NONE)
        raise UnsuitableCell(
            wrong,
            f"column {column.name!r}: expected {EXPECTED[column.type]}, found {show(cells[wrong])}",
        )
    if str in allowed:
        texts = first_unsuitable(column, cells, partial(pa.array, type=pa.string()))
        if column.type == "datetime":
            texts = parse(column, texts)
        return decode(column, texts.cast(pa.binary()) if column.type == "binary" else texts)
    if column.type == "boolean":
        return decode(column, pa.array(cells, pa.bool_()))
    if column.type == "double" and int not in kinds:
        numbers = np.array(cells, np.float64)
        if not np.isinf(numbers).any():
            return decode(column, pa.array(numbers, from_pandas=True))
    # as text a number has the one meaning that it has in CSV, too
    texts = pa.array([None if cell is None else _number(cell) for cell in cells], pa.string())
    return decode(column, parse(column, texts))


def _number(cell: float) -> str:
    # JSON cannot say infinity: a number that became it was too large
    return "too large" if cell in (float("inf"), float("-inf")) else repr(cell)
