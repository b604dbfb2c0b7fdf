"""CSV in blocks: every cell is text until the signature says otherwise."""

from __future__ import annotations

import codecs
import io
import re
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pyfunc_packaging.arrow_columns import Array, decode, first_unsuitable, parse
from pyfunc_packaging.blocks import Block, cut
from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.schema import Column

#: Bytes of CSV that are parsed at a time; a line can be no longer. pyarrow reads a score of them
#: ahead of a slow model, so they are what bounds memory.
_BYTES = 2 * 2**20


class CsvReader:
    """CSV in UTF-8 with a line of names; every cell is text until the signature says otherwise."""

    format = "csv"

    def __init__(self, source: Path | IO[bytes], missing: Sequence[str]) -> None:
        from pyarrow import csv

        _check_encoding(source)
        self._pipe = None if isinstance(source, Path) else _Pipe(source)
        self._file: Any = self._pipe or pa.OSFile(str(source))
        self.total = source.stat().st_size if isinstance(source, Path) else None
        try:
            self._batches = csv.open_csv(
                self._file,
                csv.ReadOptions(block_size=_BYTES, use_threads=False),
                # a line break within quotes is none between rows
                csv.ParseOptions(newlines_in_values=True),
                # as bytes, or pyarrow would look for bad UTF-8 itself and not say where it is
                csv.ConvertOptions(
                    default_column_type=pa.binary(),
                    null_values=["", *missing],
                    strings_can_be_null=True,
                    quoted_strings_can_be_null=False,
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            self._stop()
            raise _malformed(error) from error
        try:
            self.names = self._batches.schema.names
        except UnicodeDecodeError as error:
            self._stop()
            raise UnsuitableData(
                f"the line of names: expected CSV in UTF-8, found the byte"
                f" 0x{error.object[error.start]:02x}, which is none; {_WRITE_UTF8}"
            ) from error

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """The rows; see :class:`Reader`."""
        first = 1
        try:
            while (batch := next(self._batches, None)) is not None:
                for block in cut(batch, rows, first):
                    yield block
                    first += block.length
        except pa.ArrowInvalid as error:
            raise _malformed(error) from error
        finally:
            self._stop()
        if first == 1:
            yield Block(1, 0, {name: pa.array([], pa.binary()) for name in self.names})

    def _stop(self) -> None:
        if self._pipe is not None:
            self._pipe.stop()

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
        return 0 if self._pipe is not None else int(self._file.tell())


_WRITE_UTF8 = "write the file in UTF-8 (pandas does by default, Excel as 'CSV UTF-8')"


def _check_encoding(source: Path | IO[bytes]) -> None:
    """Refuse UTF-16, of which pyarrow would only say that rows have other lengths."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            start = file.read(4)
    else:  # a pipe that cannot be looked into is read as it is
        start = source.peek(4)[:4] if isinstance(source, io.BufferedReader) else b""
    if start[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in start:
        raise UnsuitableData(f"expected CSV in UTF-8, found UTF-16; {_WRITE_UTF8}")


def _from_utf8(cells: pa.Array) -> pa.Array:
    return cells.cast(pa.string())


def _malformed(error: pa.ArrowInvalid) -> UnsuitableData:
    text = " ".join(str(error).removeprefix("CSV parse error: ").split())
    if text.startswith("Empty CSV file"):
        return UnsuitableData("expected CSV with a line of names, found none")
    if "straddling object straddles" in text:
        return UnsuitableData(
            f"expected rows of at most {_BYTES / 2**20:.0f} MB, found a longer one; look for a"
            f" quote that nobody closes"
        )
    count = re.match(r"Row #(\d+): Expected (\d+) columns, got (\d+)", text)
    if count is None:
        return UnsuitableData(f"expected CSV, found something else ({text[:200]})")
    # pyarrow counts the line of names
    return UnsuitableData(
        f"row {int(count[1]) - 1:,}: expected {count[2]} columns, found {count[3]}"
    )


class _Pipe:
    """A file of Python's, which pyarrow reads in a thread that must end before Python does."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._stopped = False
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        with self._lock:
            return b"" if self._stopped else self._file.read(size)

    def stop(self) -> None:
        self._stopped = True
        with self._lock:
            pass
