"""Write tables block by block: CSV, JSON lines, Parquet, Arrow.

Rendering, which may happen in several threads, is apart from writing, which keeps the order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import IO, Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from pyfunc_packaging.arrow_columns import is_text
from pyfunc_packaging.errors import UnsuitableData


class Writer(Protocol):
    """A table that comes into being in a file."""

    #: ``csv``, ``jsonl``, ``parquet`` or ``arrow``.
    format: str

    def render(self, columns: Mapping[str, pa.Array], lines: Sequence[str] = ()) -> Any:
        """Rows as they are written; `lines` are JSON objects that get the columns added."""

    def write(self, rendered: Any) -> None:
        """Write what `render` returned."""

    def close(self) -> None:
        """Write what belongs at the end; the file stays open."""


def make_writer(file: IO[bytes], kind: str) -> Writer:
    """A writer of one format.

    Parameters
    ----------
    file : binary file
    kind : str
        ``csv``, ``jsonl``, ``parquet`` or ``arrow``.

    Returns
    -------
    Writer

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> writer = make_writer(file, "csv")
    >>> writer.write(writer.render({"id": pa.array(["a,b", "", None]), "x": pa.array([1, 2, 3])}))
    >>> print(file.getvalue().decode(), end="")
    id,x
    "a,b",1
    "",2
    ,3
    """
    writers: Mapping[str, Any] = {"csv": CsvWriter, "jsonl": JsonWriter}
    writer: Writer = writers[kind](file) if kind in writers else ArrowWriter(file, kind)
    return writer


def _join(*parts: Any) -> bytes:
    """The bytes of texts put side by side, row by row; every one of them."""
    joined = pc.binary_join_element_wise(*parts, "")
    _, offsets, data = joined.buffers()
    if not len(joined):
        return b""
    ends = memoryview(offsets).cast("i" if pa.types.is_string(joined.type) else "q")
    return bytes(memoryview(data)[: ends[len(joined)]])


def _refuse_nested(columns: Mapping[str, pa.Array], what: str) -> None:
    for name, cells in columns.items():
        if pa.types.is_nested(cells.type):
            raise UnsuitableData(
                f"column {name!r} holds {cells.type} values, which {what} cannot hold; write"
                f" Parquet, or leave out the input's columns with --only-predictions"
            )


def _to_text(name: str, cells: pa.Array, what: str) -> pa.Array:
    try:
        return cells.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UnsuitableData(
            f"column {name!r} holds {cells.type} values, of which {what} cannot hold one ({error});"
            f" write Parquet, or leave out the input's columns with --only-predictions"
        ) from error


class CsvWriter:
    """CSV: a missing value is nothing, an empty text is ``""``, and only what must be is quoted."""

    format = "csv"

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._header = True

    def render(
        self, columns: Mapping[str, pa.Array], lines: Sequence[str] = ()
    ) -> tuple[bytes, bytes]:
        """Like :meth:`Writer.render`."""
        _refuse_nested(columns, "CSV")
        names = [pc.if_else(True, _quoted(pa.array([name])), "")[0].as_py() for name in columns]
        header = ",".join(names).encode() + b"\n"
        parts: list[Any] = []
        for name, cells in columns.items():
            text = _to_text(name, cells, "CSV")
            text = _quoted(text) if is_text(cells.type) or text.type != cells.type else text
            parts += [pc.coalesce(text, pa.scalar("")), ","]
        parts[-1] = "\n"
        return header, _join(*parts)

    def write(self, rendered: tuple[bytes, bytes]) -> None:
        """Like :meth:`Writer.write`."""
        if self._header:
            self._file.write(rendered[0])
            self._header = False
        self._file.write(rendered[1])

    def close(self) -> None:
        """Like :meth:`Writer.close`."""


def _quoted(text: pa.Array) -> pa.Array:
    needed = pc.match_substring_regex(text, r'[",\r\n]|^$')
    if not pc.any(needed).as_py():
        return text
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(text, '"', '""'), '"', "")
    return pc.if_else(needed, quoted, text)


class JsonWriter:
    """JSON lines: an object a row."""

    format = "jsonl"

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def render(self, columns: Mapping[str, pa.Array], lines: Sequence[str] = ()) -> bytes:
        """Like :meth:`Writer.render`."""
        _refuse_nested(columns, "a line of ours")
        parts: list[Any] = []
        for name, cells in columns.items():
            key = json.dumps(name, ensure_ascii=False) + ":"
            parts += [("," if parts else "{") + key, _to_json(name, cells)]
        parts.append("}\n")
        if lines:
            # what came stays as it is, to the last digit
            parts[0] = "," + parts[0][1:]
            parts.insert(0, pa.array([line[:-1].rstrip() for line in lines], pa.string()))
        return _join(*parts)

    def write(self, rendered: bytes) -> None:
        """Like :meth:`Writer.write`."""
        self._file.write(rendered)

    def close(self) -> None:
        """Like :meth:`Writer.close`."""


def _to_json(name: str, cells: pa.Array) -> pa.Array:
    kind = cells.type
    if pa.types.is_floating(kind):
        # JSON has no name for NaN and infinity
        cells = pc.if_else(pc.is_finite(cells), cells, pa.scalar(None, kind))
    text = _to_text(name, cells, "JSON")
    if not (
        pa.types.is_boolean(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        encoded = text.dictionary_encode()
        words = [json.dumps(word, ensure_ascii=False) for word in encoded.dictionary.to_pylist()]
        text = pa.array(words, pa.string()).take(encoded.indices)
    return pc.coalesce(text, pa.scalar("null"))


class ArrowWriter:
    """Parquet, or an Arrow (Feather) file."""

    def __init__(self, file: IO[bytes], kind: str) -> None:
        self.format = kind
        self._file = file
        self._writer: Any = None

    def render(self, columns: Mapping[str, pa.Array], lines: Sequence[str] = ()) -> pa.RecordBatch:
        """Like :meth:`Writer.render`."""
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def write(self, rendered: pa.RecordBatch) -> None:
        """Like :meth:`Writer.write`."""
        if self._writer is None:
            if self.format == "parquet":
                from pyarrow import parquet

                self._writer = parquet.ParquetWriter(self._file, rendered.schema)
            else:
                self._writer = pa.ipc.new_file(self._file, rendered.schema)
        if rendered.num_rows:
            self._writer.write_batch(rendered)

    def close(self) -> None:
        """Like :meth:`Writer.close`."""
        if self._writer is not None:
            self._writer.close()


def prediction_columns(name: str, classes: Sequence[Any] | None, width: int | None) -> list[str]:
    """Names of the columns that one output becomes.

    Parameters
    ----------
    name : str
        Of the output.
    classes : sequence, optional
        The labels that its columns are about.
    width : int or None
        How many values a row has; None for one that is no list.

    Returns
    -------
    list of str

    Examples
    --------
    >>> prediction_columns("probability", ("high", "low"), 2)
    ['probability_high', 'probability_low']
    """
    if width is None:
        return [name]
    return [f"{name}_{label}" for label in classes or range(width)]
