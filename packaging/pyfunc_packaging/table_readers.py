"""Read tables of any length in blocks: CSV, JSON lines, Parquet, Arrow.

Nothing is guessed: a column of the signature is read as the signature says, and every other column
of CSV or JSON lines stays the text that it is.
"""

from __future__ import annotations

import stat
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pyfunc_packaging.arrow_columns import Array, check_type, decode
from pyfunc_packaging.blocks import Block, Reader, cut
from pyfunc_packaging.csv_reader import CsvReader
from pyfunc_packaging.errors import InvalidArgument, UnsuitableData
from pyfunc_packaging.json_reader import JsonReader
from pyfunc_packaging.schema import Column
from pyfunc_packaging.table_formats import FORMATS, PIPED


def open_reader(
    source: Path | IO[bytes], kind: str, columns: Sequence[Column], missing: Sequence[str] = ()
) -> Reader:
    r"""Open a table, and check that it has the columns that a model takes.

    Parameters
    ----------
    source : pathlib.Path or binary file
    kind : str
        ``csv``, ``jsonl``, ``parquet`` or ``arrow``.
    columns : sequence of Column
        Of the signature.
    missing : sequence of str
        What stands in CSV for a missing value, beside nothing at all.

    Returns
    -------
    Reader

    Raises
    ------
    UnsuitableData
        If it is no such file, or columns are absent, twice there or of another type.
    InvalidArgument
        If there is no file, or `missing` is for one that is no CSV.

    Examples
    --------
    >>> import io
    >>> rows = io.BytesIO(b"id,age\n007,41\n")
    >>> reader = open_reader(rows, "csv", [Column("age", "long")])
    >>> [block.columns["id"].to_pylist() for block in reader.blocks(10)]
    [[b'007']]
    """
    if isinstance(source, Path):
        _check_file(source, kind)
    if missing and kind != "csv":
        raise InvalidArgument(
            f"--missing says what stands for a missing value in CSV; {kind} has null for it"
        )
    try:
        reader: Any
        if kind == "csv":
            reader = CsvReader(source, missing)
        elif kind == "jsonl":
            reader = JsonReader(source, columns)
        elif kind == "parquet":
            reader = ParquetReader(source, columns)
        else:
            reader = ArrowReader(source, columns)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise InvalidArgument(f"{source}: cannot be read ({error.strerror or error})") from error
    except (pa.ArrowInvalid, OSError) as error:
        raise UnsuitableData(f"expected {FORMATS[kind]}, found something else ({error})") from error
    absent = [column.name for column in columns if column.name not in reader.names]
    if absent:
        raise UnsuitableData(
            f"the column(s) {', '.join(map(repr, absent))} are not there; the model takes"
            f" {', '.join(column.name for column in columns)}, the file has"
            f" {', '.join(reader.names[:50])}"
        )
    repeated = {name for name in reader.names if reader.names.count(name) > 1}
    if repeated:
        raise UnsuitableData(
            f"the column(s) {', '.join(map(repr, sorted(repeated)))} are there more than once;"
            f" rename them"
        )
    result: Reader = reader
    return result


def _check_file(path: Path, kind: str) -> None:
    """Say of what is no file that it is none, before pyarrow says it in its own words."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidArgument(f"{path}: cannot be read ({error.strerror})") from error
    if stat.S_ISDIR(mode):
        raise InvalidArgument(f"{path}: expected a file, found a directory; name a file in it")
    # only JSON lines are read from a path without looking back
    if not stat.S_ISREG(mode) and kind != "jsonl":
        ways = "save it as one, or send it to standard input, which is -"
        raise InvalidArgument(
            f"{path}: expected a file, found a pipe or a device;"
            f" {ways if kind in PIPED else 'save it as one'}"
        )


class ParquetReader:
    """Parquet, of one file."""

    format = "parquet"

    def __init__(self, source: Path | IO[bytes], columns: Sequence[Column]) -> None:
        from pyarrow import parquet

        # without pre_buffer a row group is read as it is needed, and not at once
        self._file = parquet.ParquetFile(source, pre_buffer=False, buffer_size=2**20)
        self._schema = self._file.schema_arrow.remove_metadata()
        self.names = self._schema.names
        self.total: int | None = self._file.metadata.num_rows
        self._read = 0
        _check_types(columns, self._schema)

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """The rows; see :class:`Reader`."""
        try:
            for batch in self._file.iter_batches(batch_size=rows, use_threads=False):
                for block in cut(batch, rows, self._read + 1):
                    yield block
                    self._read += block.length
        except (pa.ArrowInvalid, OSError) as error:
            raise UnsuitableData(f"after row {self._read:,}: {error}") from error
        if not self.total:
            yield _no_rows(self._schema)

    def decode(self, column: Column, cells: Any) -> Array:
        """A decoded column; see :class:`Reader`."""
        return decode(column, cells)

    def to_arrow(self, cells: Any) -> pa.Array:
        """Cells to pass through; see :class:`Reader`."""
        return _plain(cells)

    def position(self) -> int:
        """How much was read; see :class:`Reader`."""
        return self._read


class ArrowReader:
    """Arrow's own format: a file, which Feather is, or a stream."""

    format = "arrow"

    def __init__(self, source: Path | IO[bytes], columns: Sequence[Column]) -> None:
        file: Any = pa.memory_map(str(source)) if isinstance(source, Path) else source
        try:
            opened = pa.ipc.open_file(file)
            self._batches: Any = (
                opened.get_batch(number) for number in range(opened.num_record_batches)
            )
        except pa.ArrowInvalid:
            file.seek(0)
            opened = pa.ipc.open_stream(file)
            self._batches = opened
        self._schema = opened.schema.remove_metadata()
        self.names = self._schema.names
        self.total: int | None = None
        self._read = 0
        _check_types(columns, self._schema)

    def blocks(self, rows: int) -> Generator[Block, None, None]:
        """The rows; see :class:`Reader`."""
        try:
            for batch in self._batches:
                for block in cut(batch, rows, self._read + 1):
                    yield block
                    self._read += block.length
        except (pa.ArrowInvalid, OSError) as error:
            raise UnsuitableData(f"after row {self._read:,}: {error}") from error
        if not self._read:
            yield _no_rows(self._schema)

    decode = ParquetReader.decode
    to_arrow = ParquetReader.to_arrow

    def position(self) -> int:
        """How much was read; see :class:`Reader`."""
        return self._read


def _check_types(columns: Sequence[Column], schema: pa.Schema) -> None:
    for column in columns:
        found = schema.get_all_field_indices(column.name)
        if len(found) == 1:
            check_type(column, schema.field(found[0]).type)


def _no_rows(schema: pa.Schema) -> Block:
    return Block(1, 0, {field.name: pa.array([], field.type) for field in schema})


def _plain(cells: pa.Array) -> pa.Array:
    """Without dictionaries, of which Arrow files can hold only one a column."""
    return cells.dictionary_decode() if pa.types.is_dictionary(cells.type) else cells
