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
from pyfunc_packaging.blocks import Block, Reader
from pyfunc_packaging.bundle import Bundle, load_bundle
from pyfunc_packaging.compatibility import check_versions
from pyfunc_packaging.errors import (
    InvalidArgument,
    ModelFailure,
    PyFuncError,
    UnsuitableData,
)
from pyfunc_packaging.progress import is_watched
from pyfunc_packaging.replaced_file import check_free, replaced_file
from pyfunc_packaging.schema import Column
from pyfunc_packaging.scoring import Scorer, choose_engine
from pyfunc_packaging.table_readers import open_reader
from pyfunc_packaging.table_writers import (
    ENDINGS,
    FORMATS,
    Writer,
    make_writer,
    prediction_columns,
)
from pyfunc_packaging.trust import check_reference, read_trust, read_trusted_signature

_logger = logging.getLogger(__name__)

#: Cells that are decoded at a time, in at most so many rows: more are no faster (measured), and
#: what a graph computes in between grows with them.
_CELLS, _ROWS = 2**20, 8192

#: Formats that can be read and written piece by piece, and so through a pipe.
_PIPED = ("csv", "jsonl")


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
    kind = _choose_format(str(input_path), input_format, "--input-format")
    result_kind = _choose_format(str(output_path), output_format, "--output-format")
    if str(output_path) != "-":
        check_free(Path(output_path), overwrite=overwrite)
    engine = _load(Path(bundle))
    start = time.perf_counter()
    source = sys.stdin.buffer if str(input_path) == "-" else Path(input_path)
    with _naming(str(input_path)):
        reader = open_reader(source, kind, engine.schema.columns, missing)
        job = _Job(engine, reader, only_predictions=only_predictions, prefix=prefix)
        with _open_output(str(output_path), overwrite=overwrite) as file:
            rows = job.run(make_writer(file, result_kind))
    return Scored(rows, time.perf_counter() - start, engine.engine)


def _choose_format(path: str, said: str | None, option: str) -> str:
    kind = said or ENDINGS.get(Path(path).suffix.lower())
    if kind not in FORMATS:
        raise InvalidArgument(
            f"{path}: expected a name that ends in {', '.join(ENDINGS)}, or {option} with one of"
            f" {', '.join(FORMATS)}"
        )
    if path == "-" and kind not in _PIPED:
        raise InvalidArgument(
            f"-: {kind} cannot go through a pipe here; use {' or '.join(_PIPED)}, or a file"
        )
    return kind


@contextmanager
def _naming(path: str) -> Iterator[None]:
    """Say in which file something does not fit."""
    try:
        yield
    except (UnsuitableData, ModelFailure) as error:
        raise type(error)(f"{path}: {error}") from error


@contextmanager
def _open_output(path: str, *, overwrite: bool) -> Iterator[IO[bytes]]:
    if path == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
    else:
        with replaced_file(Path(path), overwrite=overwrite) as file:
            yield file


def _load(path: Path) -> Scorer:
    """Load a bundle as a server does: under the same trust, and with the same checks."""
    trust, signed = read_trust(), read_trusted_signature(path)
    if signed is not None:
        signed.check_files()
    bundle: Bundle = load_bundle(path, digests=None if signed is None else signed.files)
    engine = choose_engine(bundle)
    pickles = engine == "pyfunc" and check_reference(bundle, trust, verified=signed is not None)
    check_versions(bundle, engine=engine, logger=_logger)
    return Scorer(bundle, pickles=pickles)


class _Job:
    """One file's way through a model."""

    def __init__(
        self, scorer: Scorer, reader: Reader, *, only_predictions: bool, prefix: str
    ) -> None:
        self._scorer = scorer
        self._reader = reader
        self._columns = {column.name: column for column in scorer.schema.columns}
        self._only_predictions = only_predictions
        self._prefix = prefix

    def run(self, writer: Writer) -> int:
        """Predict all rows, in order; how many they were."""
        # scikit-learn models, and code of users in them, need not bear several threads
        workers = _cores() if self._scorer.engine == "onnx" else 1
        size = max(1, min(_ROWS, _CELLS // max(1, len(self._reader.names))))
        rows, blocks = 0, self._reader.blocks(size)
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
        values = {}
        for name, column in self._columns.items():
            try:
                values[name] = self._reader.decode(column, block.columns[name])
            except UnsuitableCell as error:
                raise _at_row(block, error) from error
        predictions = self._flatten(self._predict(values, block))
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

    def _predict(self, values: Mapping[str, Array], block: Block) -> dict[str, Array]:
        try:
            return self._scorer.predict_columns(values, block.length)
        except Exception as error:  # whatever the model's own code raises
            raise self._find_row(values, block, error) from error

    def _find_row(self, values: Mapping[str, Array], block: Block, error: Exception) -> PyFuncError:
        """Which row the model fails on, if it is the fault of one."""
        low, high, sure = 0, block.length, block.length == 1
        while high - low > 1 or not sure:
            middle = (low + high + 1) // 2
            part = {name: cells[low:middle] for name, cells in values.items()}
            try:
                self._scorer.predict_columns(part, middle - low)
            except Exception as narrower:  # noqa: BLE001 - as above
                high, error, sure = middle, narrower, middle - low == 1
            else:
                if middle == high:
                    break  # these rows fail only beside others
                low = middle
        last = block.first + high - 1
        where = f"row {last:,}" if sure else f"rows {block.first:,} to {last:,}"
        if isinstance(error, PyFuncError):
            return UnsuitableData(f"{where}: {error}")
        if self._scorer.engine == "onnx":  # a graph of ours should not raise anything else
            _logger.error("the compiled graph failed", exc_info=error)
        text = " ".join(str(error).split())[:300]
        return ModelFailure(f"{where}: the model raised {type(error).__name__}: {text}")

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
        typed = reader.format in _PIPED and reader.format != writer.format
        for name in reader.names:
            column = self._columns.get(name)
            if typed and column is not None:
                result[name] = encode(column.type, values[name])
                continue
            try:
                text = Column(name, "string")
                result[name] = first_unsuitable(text, block.columns[name], reader.to_arrow)
            except UnsuitableCell as error:
                raise _at_row(block, error) from error
        return result


def _cores() -> int:
    """Cores that this process may use, as far as the system says."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _at_row(block: Block, error: UnsuitableCell) -> UnsuitableData:
    return UnsuitableData(f"row {block.first + error.position:,}: {error}")


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

    byte = reader.format in _PIPED
    unit = {"unit": "B", "unit_scale": True, "unit_divisor": 1024} if byte else {"unit": " rows"}
    with tqdm(total=reader.total, desc="predict", file=sys.stderr, **unit) as bar:

        def show(rows: int) -> None:
            bar.set_postfix_str(f"{rows:,} rows", refresh=False)
            bar.update(reader.position() - bar.n)

        yield show
