"""Predict the rows of a file into another file, block by block, without a server."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from pyfunc_packaging.arrow_columns import Array, UnsuitableCell, encode, first_unsuitable
from pyfunc_packaging.block_scoring import BlockScorer, choose_block_size, unsuitable_row
from pyfunc_packaging.blocks import Block, Reader
from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.progress import is_watched
from pyfunc_packaging.replaced_file import check_free, replaced_file
from pyfunc_packaging.schema import Column
from pyfunc_packaging.scoring import Scorer
from pyfunc_packaging.table_formats import PIPED, choose_format, naming
from pyfunc_packaging.table_readers import open_reader
from pyfunc_packaging.table_writers import Writer, make_writer, prediction_columns
from pyfunc_packaging.trusted_bundle import TrustedBundle

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What :func:`predict_file` did.

    Parameters
    ----------
    rows : int
    seconds : float
        From opening the rows to the finished file, without loading the model.
    engine : str
        ``"onnx"`` or ``"pyfunc"``.
    """

    rows: int
    seconds: float
    engine: str


def predict_file(
    bundle: str | Path,
    input_path: str | Path,
    *,
    output_path: str | Path,
    input_format: str | None = None,
    output_format: str | None = None,
    only_predictions: bool = False,
    prefix: str = "",
    missing: Sequence[str] = (),
    overwrite: bool = False,
) -> Scored:
    """Predict every row of a file into another file; see ``docs/batch.md``.

    Parameters
    ----------
    bundle : str or pathlib.Path
        The directory that ``package_model()`` wrote.
    input_path, output_path : str or pathlib.Path
        CSV, JSON lines, Parquet or Arrow, by their endings; ``-`` is standard input and output.
    input_format, output_format : str, optional
        ``"csv"``, ``"jsonl"``, ``"parquet"`` or ``"arrow"``, where the ending does not say it.
    only_predictions : bool
        Whether to leave out the input's columns.
    prefix : str
        What the names of the predictions begin with.
    missing : sequence of str
        What stands in CSV for a missing value, beside an empty cell.
    overwrite : bool
        Whether to replace a file that is there.

    Returns
    -------
    Scored

    Raises
    ------
    UnsuitableData
        If the rows do not fit the signature; the message names the row and the column.
    InvalidArgument
        If a path or a format cannot be.
    OutputExists
        If a file is there, or another process is writing it.
    CannotWrite
        If the disk does not let us.
    CodeRefused
        If the model can only be loaded by running code; see ``docs/threat-model.md``.

    Examples
    --------
    ``predict_file("bundle", "rows.parquet", output_path="scored.parquet")``
    """
    kind = choose_format(str(input_path), input_format, "--input-format")
    result_kind = choose_format(str(output_path), output_format, "--output-format")
    if str(output_path) != "-":
        check_free(Path(output_path), overwrite=overwrite)
    engine = TrustedBundle.read(Path(bundle)).load(_logger)
    start = time.perf_counter()
    source = sys.stdin.buffer if str(input_path) == "-" else Path(input_path)
    with naming(str(input_path)):
        reader = open_reader(source, kind, engine.schema.columns, missing)
        job = _Job(engine, reader, only_predictions=only_predictions, prefix=prefix)
        with _open_output(str(output_path), overwrite=overwrite) as file:
            rows = job.run(make_writer(file, result_kind))
    return Scored(rows, time.perf_counter() - start, engine.engine)


@contextmanager
def _open_output(path: str, *, overwrite: bool) -> Iterator[IO[bytes]]:
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with replaced_file(Path(path), overwrite=overwrite) as file:
            yield file


class _Job:
    """One file's way through a model."""

    def __init__(
        self, scorer: Scorer, reader: Reader, *, only_predictions: bool, prefix: str
    ) -> None:
        self._scorer = scorer
        self._reader = reader
        self._rows = BlockScorer(scorer, reader)
        self._columns = {column.name: column for column in scorer.schema.columns}
        self._only_predictions = only_predictions
        self._prefix = prefix

    def run(self, writer: Writer) -> int:
        """Predict all rows, in order; how many they were."""
        # scikit-learn models, and code of users in them, need not bear several threads
        workers = _cores() if self._scorer.engine == "onnx" else 1
        rows, blocks = 0, self._reader.blocks(choose_block_size(self._reader))
        pending: deque[tuple[int, Future[Any]]] = deque()
        with (
            closing(writer),
            ThreadPoolExecutor(workers) as pool,
            _bar(self._reader) as show,
        ):
            try:
                for block in blocks:
                    pending.append((block.length, pool.submit(self._score, block, writer)))
                    if len(pending) > workers:
                        rows += _write(pending.popleft(), writer)
                        show(rows)
                while pending:
                    rows += _write(pending.popleft(), writer)
                    show(rows)
            finally:
                blocks.close()
                pool.shutdown(cancel_futures=True)
        return rows

    def _score(self, block: Block, writer: Writer) -> Any:
        values = self._rows.decode(block)
        predictions = self._flatten(self._rows.predict(values, block))
        if self._only_predictions:
            return writer.render(predictions)
        clash = sorted(predictions.keys() & (set(self._reader.names) | block.names))
        if clash:
            raise UnsuitableData(
                f"the column {clash[0]!r} is there already, and a prediction has that name; put"
                f" something before it with --prefix, or leave out the input's columns with"
                f" --only-predictions"
            )
        if self._reader.format == writer.format == "jsonl":
            return writer.render(predictions, block.lines)
        strange = sorted(block.names.difference(self._reader.names))
        if strange:
            raise UnsuitableData(
                f"rows {block.first:,} to {block.first + block.length - 1:,}: {strange[0]!r} is"
                f" there, which the first row does not have; write JSON lines, where every row"
                f" keeps its own names"
            )
        return writer.render({**self._pass_through(block, values, writer), **predictions})

    def _flatten(self, found: Mapping[str, Array]) -> dict[str, pa.Array]:
        """One column a value: SQL, spreadsheets and CSV know no lists."""
        result = {}
        for output in self._scorer.schema.outputs:
            values = found[output.name]
            classes = None if isinstance(output, Column) else output.classes
            width = None
            if values.ndim > 1:
                values = values.reshape(len(values), -1) if len(values) else values[:, :]
                width = values.shape[1]
            names = prediction_columns(output.name, classes, width)
            kind = output.type if isinstance(output, Column) else output.dtype
            for position, name in enumerate(names):
                cells = values if width is None else values[:, position]
                result[self._prefix + name] = encode(kind, cells)
        return result

    def _pass_through(
        self, block: Block, values: Mapping[str, Array], writer: Writer
    ) -> dict[str, pa.Array]:
        """The input's columns: as they came, or from text as the signature says."""
        reader, result = self._reader, {}
        typed = reader.format in PIPED and reader.format != writer.format
        for name in reader.names:
            column = self._columns.get(name)
            if typed and column is not None:
                result[name] = encode(column.type, values[name])
                continue
            try:
                text = Column(name, "string")
                result[name] = first_unsuitable(text, block.columns[name], reader.to_arrow)
            except UnsuitableCell as error:
                raise unsuitable_row(block, error) from error
        return result


def _cores() -> int:
    """Cores that this process may use, as far as the system says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _write(finished: tuple[int, Future[Any]], writer: Writer) -> int:
    rows, future = finished
    writer.write(future.result())
    return rows


@contextmanager
def _bar(reader: Reader) -> Iterator[Any]:
    """A function that shows how far it got, to those who watch."""
    if not is_watched():
        yield lambda rows: None
        return
    from tqdm import tqdm

    byte = reader.format in PIPED
    unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1024} if byte else {"unit": " rows"}
    with tqdm(total=reader.total, desc="predict", file=sys.stderr, **unit) as bar:

        def show(rows: int) -> None:
            bar.set_postfix_str(f"{rows:,} rows", refresh=False)
            bar.update(reader.position() - bar.n)

        yield show
