"""Predict the rows of one block of a table, and say which row is to blame where that fails."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pyfunc_packaging.arrow_columns import Array, UnsuitableCell
from pyfunc_packaging.blocks import Block, Reader
from pyfunc_packaging.errors import ModelFailure, PyFuncError, UnsuitableData
from pyfunc_packaging.scoring import Scorer

_logger = logging.getLogger(__name__)

#: Cells that are decoded at a time, in at most so many rows: more are no faster (measured), and
#: what a graph computes in between grows with them.
_CELLS, _ROWS = 2**20, 8192


def choose_block_size(reader: Reader) -> int:
    """How many rows of a table are read at a time."""
    return max(1, min(_ROWS, _CELLS // max(1, len(reader.names))))


class BlockScorer:
    """Predicts rows of one table with one model; may be used by several threads.

    Parameters
    ----------
    scorer : Scorer
    reader : Reader
    """

    def __init__(self, scorer: Scorer, reader: Reader) -> None:
        self._scorer = scorer
        self._reader = reader

    def decode(self, block: Block) -> dict[str, Array]:
        """The columns that the model takes.

        Returns
        -------
        dict of str to ndarray of shape (n,)

        Raises
        ------
        UnsuitableData
            If a cell is not what the signature says; the message names the row.
        """
        values = {}
        for column in self._scorer.schema.columns:
            try:
                values[column.name] = self._reader.decode(column, block.columns[column.name])
            except UnsuitableCell as error:
                raise unsuitable_row(block, error) from error
        return values

    def predict(self, values: Mapping[str, Array], block: Block) -> dict[str, Array]:
        """Predict decoded columns.

        Returns
        -------
        dict of str to ndarray of shape (n, ...)

        Raises
        ------
        UnsuitableData
            If the model does not take a row; the message names it.
        ModelFailure
            If the model itself fails.
        """
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


def unsuitable_row(block: Block, error: UnsuitableCell) -> UnsuitableData:
    """Say in which row of the table a cell is not as it should be."""
    return UnsuitableData(f"row {block.first + error.position:,}: {error}")
