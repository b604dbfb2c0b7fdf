"""CSV in blocks: every cell is text until the signature says otherwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pyfunc_packaging.arrow_columns import Array, decode, first_unsuitable, parse
from pyfunc_packaging.blocks import Block, cut
from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.schema import Column

#: Bytes of CSV that are parsed at a time; a line can be no longer.
_BYTES = 8 * 2**20


class CsvReader:
    """CSV in UTF-8 with a line of names; every cell is text until the signature says otherwise."""

    format = "csv"

    def __init__(self, source: Path | IO[bytes], missing: Sequence[str]) -> None:
        from pyarrow import csv

        self._file: Any = source.open("rb") if isinstance(source, Path) else source
        self.total = source.stat().st_size if isinstance(source, Path) else None
        # As bytes, or pyarrow would look for bad UTF-8 itself and not say where it is. Names
        # are not known yet, so the first reader reads them and no row.
        reading = csv.ReadOptions(block_size=_BYTES, use_threads=False)
        # a line break within quotes is none between rows
        parsing = csv.ParseOptions(newlines_in_values=True)
        header = self._file.readline()
        while header.count(b'"') % 2 and (more := self._file.readline()):
            header += more
        if not header.strip():
            raise UnsuitableData("expected CSV with a line of names, found an empty file")
        names = csv.read_csv(pa.py_buffer(header.rstrip(b"\r\n") + b"\n"), parse_options=parsing)
        self.names = [str(name) for name in names.column_names]
        reading.column_names = self.names
        converting = csv.ConvertOptions(
            column_types={name: pa.binary() for name in self.names},
            null_values=["", *missing],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            check_utf8=False,
        )
        try:
            self._batches: Any = csv.open_csv(self._file, reading, parsing, converting)
        except pa.ArrowInvalid as error:
            if "Empty CSV" not in str(error):
                raise _malformed(error, self.names) from error
            self._batches = ()

    def blocks(self, rows: int) -> Iterator[Block]:
        """The rows; see :class:`Reader`."""
        first = 1
        batches = iter(self._batches)
        while True:
            try:
                batch = next(batches, None)
            except pa.ArrowInvalid as error:
                raise _malformed(error, self.names) from error
            if batch is None:
                break
            for block in cut(batch, rows, first):
                yield block
                first += block.length
        if first == 1:
            yield Block(1, 0, {name: pa.array([], pa.binary()) for name in self.names})

    def decode(self, column: Column, cells: Any) -> Array:
        """A decoded column; see :class:`Reader`."""
        if column.type == "binary":
            return decode(column, cells)
        return decode(column, parse(column, first_unsuitable(column, cells, _from_utf8)))

    def to_arrow(self, cells: Any) -> pa.Array:
        """Cells to pass through; see :class:`Reader`."""
        return _from_utf8(cells)

    def position(self) -> int:
        """How much was read; see :class:`Reader`."""
        return int(self._file.tell())


def _from_utf8(cells: pa.Array) -> pa.Array:
    return cells.cast(pa.string())


def _malformed(error: pa.ArrowInvalid, names: Sequence[str]) -> UnsuitableData:
    text = " ".join(str(error).removeprefix("CSV parse error: ").split())
    return UnsuitableData(
        f"{text[:160]} (rows are counted without the line of names, and should have {len(names)}"
        f" columns)"
    )
