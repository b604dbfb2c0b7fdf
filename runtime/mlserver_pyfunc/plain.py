"""The request that nearly every client sends, read in as few steps as Python allows.

Plain: every column once, numbers and texts in the datatype of the metadata, as flat lists of one
shape, [n] or [n, 1]. Whatever is not plain gives None and is left to the decoder, which takes more
and says what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import countOf, itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from mlserver_pyfunc.elements import EXACT, read_block, read_plain
from pyfunc_packaging.schema import NUMPY_TYPES, Column, Schema

Array = npt.NDArray[Any]

#: Types of columns that can be plain, and the Python type of their cells.
_CELLS: dict[str, type] = {"double": float, "long": int, "string": str}

_FLOAT = np.dtype("float64")

#: Orders of the columns that are remembered; a client keeps to one.
_MAX_LAYOUTS = 16


@dataclass(slots=True)
class Decoded:
    """The inputs of one request.

    Parameters
    ----------
    values : dict of str to ndarray
        A column of shape (n,), or a tensor, by input name; missing values as
        :mod:`pyfunc_packaging.frame` says.
    rows : int
        n, the same for all inputs.
    """

    values: dict[str, Array]
    rows: int


class PlainReader:
    """Reads the plain requests of one model.

    Parameters
    ----------
    schema : Schema

    Examples
    --------
    >>> reader = PlainReader(Schema((Column("age", "long"), Column("city", "string"))))
    >>> reader.read(("city", "age"), ("BYTES", "INT64"), ([1], [1]), (["Bern"], [52]))
    Decoded(values={'age': array([52]), 'city': array(['Bern'], dtype=object)}, rows=1)
    """

    def __init__(self, schema: Schema) -> None:
        columns = {column.name: column for column in schema.columns if column.type in _CELLS}
        self._columns = columns if len(columns) == len(schema.inputs) else {}
        self._layouts: dict[tuple[Any, ...], _Layout] = {}

    def read(
        self,
        names: tuple[Any, ...],
        datatypes: tuple[Any, ...],
        shapes: tuple[Any, ...],
        data: tuple[Any, ...],
    ) -> Decoded | None:
        """Read a request's inputs, or leave them to the decoder.

        Parameters
        ----------
        names, datatypes, shapes, data : tuple
            What each input says, which may be anything.

        Returns
        -------
        Decoded or None
        """
        layout = self._find_layout(names)
        if layout is None or datatypes != layout.datatypes:
            return None
        shape = shapes[0]
        if (
            type(shape) is not list
            or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1))
            or type(shape[0]) is not int
            # true and 1.0 are 1 here, as they are for pydantic
            or shapes.count(shape) != len(shapes)
            or set(map(type, data)) != _LIST
            or set(map(len, data)) != {shape[0]}
        ):
            return None
        return layout.read_row(data) if shape[0] == 1 else layout.read_rows(data, shape[0])

    def _find_layout(self, order: tuple[Any, ...]) -> _Layout | None:
        try:
            layout = self._layouts.get(order)
        except TypeError:  # a name that is no text
            return None
        if layout is None and self._columns and len(order) == len(self._columns):
            if self._columns.keys() != set(order):
                return None
            if len(self._layouts) == _MAX_LAYOUTS:
                self._layouts.clear()
            layout = _Layout([self._columns[name] for name in order])
            self._layouts[order] = layout
        return layout


_LIST = {list}


class _Layout:
    """The columns in the order in which a client sends them."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._nullable = {column.name: column.nullable for column in columns}
        self.datatypes = tuple(column.datatype for column in columns)
        self._cells = [_CELLS[column.type] for column in columns]
        self._groups = [
            (dtype, [columns[position].name for position in positions], _pick(positions))
            for dtype in (_FLOAT, np.dtype("int64"), np.dtype("object"))
            if (positions := [i for i, c in enumerate(columns) if NUMPY_TYPES[c.type] == dtype])
        ]

    def read_row(self, data: Sequence[list[Any]]) -> Decoded | None:
        """One row: the numbers of a dtype become one array, and its columns parts of that."""
        row = [cells[0] for cells in data]
        if list(map(type, row)) != self._cells:
            return self.read_rows(data, 1)  # something is missing, or not plain
        values: dict[str, Array] = {}
        for dtype, names, pick in self._groups:
            cells = pick(row)
            # what is infinite or no number makes the sum so; one that is too large does no harm
            if dtype is _FLOAT and not sum(map(abs, cells)) < EXACT:
                return self.read_rows(data, 1)
            try:
                values.update(zip(names, np.array(cells, dtype).reshape(-1, 1), strict=True))
            except OverflowError:  # an integer beyond 64 bits
                return None
        return Decoded(values, 1)

    def read_rows(self, data: Sequence[list[Any]], rows: int) -> Decoded | None:
        """Any number of rows: all numbers of a dtype at once, or else column by column."""
        values: dict[str, Array] = {}
        for dtype, names, pick in self._groups:
            columns = pick(data)
            read: Iterable[Array | None] | None
            if dtype.kind == "O":
                read = [_read_texts(cells, rows) for cells in columns]
            else:
                read = read_block(columns, dtype.name)
            if read is None:
                read = [
                    read_plain(cells, dtype.name, nullable=self._nullable[name])
                    for name, cells in zip(names, columns, strict=True)
                ]
            for name, found in zip(names, read, strict=True):
                if found is None:
                    return None
                values[name] = found
        return Decoded(values, rows)


def _read_texts(cells: list[Any], rows: int) -> Array | None:
    return np.array(cells, dtype=object) if countOf(map(type, cells), str) == rows else None


def _pick(positions: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Elements at these positions; ``itemgetter`` itself returns a bare one for a single one."""
    if len(positions) == 1:
        return itemgetter(slice(positions[0], positions[0] + 1))
    return itemgetter(*positions)
