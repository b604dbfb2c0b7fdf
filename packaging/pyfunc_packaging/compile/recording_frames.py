"""Recorded tables: pandas' DataFrame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from pyfunc_packaging.compile.gappy import GappyInts
from pyfunc_packaging.compile.recording import Traced, kind_of, sampled
from pyfunc_packaging.compile.recording_arrays import TracedArray
from pyfunc_packaging.compile.recording_series import TracedColumns, TracedSeries
from pyfunc_packaging.compile.reductions import reduce_row
from pyfunc_packaging.compile.table import Table

_ALL = slice(None)


def _is_all(rows: Any) -> bool:
    return isinstance(rows, slice) and rows == _ALL


class TracedFrame(TracedColumns):
    """A recorded table. Column names are known, rows are not."""

    @property
    def columns(self) -> Any:
        """Names of the columns."""
        return self._sample.columns

    def keys(self) -> Any:
        """Names of the columns."""
        return self._sample.columns

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sample.columns)

    def __contains__(self, name: Any) -> bool:
        return name in self._sample.columns

    def items(self) -> Iterator[tuple[Any, Any]]:
        """Names and columns."""
        return ((name, self[name]) for name in list(self._sample.columns))

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("_") and name in self._sample.columns:
            return self[name]
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("_") and name in self._sample.columns:
            self[name] = value
        elif name == "columns":
            sample = self._sample.copy()
            sample.columns = value
            self._sample = sample
        else:
            super().__setattr__(name, value)

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Traced):
            if isinstance(key, TracedFrame):
                return self.where(key)
            self._refuse("a selection of rows")
        if isinstance(key, slice):
            self._refuse("a selection of rows")
        if isinstance(key, list | pd.Index | np.ndarray) and np.asarray(key).dtype == bool:
            self._refuse("a selection of rows")
        return self._pick(self._sample[key], key)

    def _pick(self, sample: Any, key: Any) -> Any:
        """Columns as pandas selected them from the sample."""
        names = self._sample.columns
        if not names.is_unique:
            self._refuse("a selection from columns that share a name")
        if isinstance(sample, pd.Series):
            return self._wrap(self._table.take([names.get_loc(key)]), sample)
        return self._wrap(
            self._table.take([names.get_loc(name) for name in sample.columns]), sample
        )

    def get(self, key: Any, default: Any = None) -> Any:
        """A column, or something else where there is none."""
        return self[key] if key in self._sample.columns else default

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(key, Traced):
            if not isinstance(key, TracedFrame) or isinstance(value, Traced):
                self._refuse("an assignment to some rows")
            self._operand(key, (self, key))
            for name in self._sample.columns:
                self[name] = self[name]._assigned(key[name], value)
            return
        if isinstance(key, list):
            self._assign_several(key, value)
            return
        if isinstance(key, slice):
            self._refuse("an assignment to some rows")
        if isinstance(value, TracedFrame) or (isinstance(value, TracedArray) and value.ndim != 1):
            self._refuse("an assignment of several columns to one")
        names = self._sample.columns
        if not names.is_unique:
            self._refuse("an assignment to columns that share a name")
        sample = self._sample.copy()
        if isinstance(value, Traced):
            table = value._table
            sample[key] = value._sample
            if isinstance(value, TracedArray):  # pandas may choose another type, of text
                self._kinds(sample[[key]])
        else:
            if value is None or np.ndim(value):
                self._refuse("an assignment of something that is neither data nor one value")
            table = self._constant(value)
            sample[key] = value
        parts = [self._table.take([position]) for position in range(len(names))]
        if key in names:
            parts[names.get_loc(key)] = table
        else:
            parts.append(table)
        self._table, self._sample = Table.beside(parts), sample

    def _assign_several(self, names: list[Any], value: Any) -> None:
        if isinstance(value, TracedFrame):
            values = [value[name] for name in value.columns]
        elif isinstance(value, TracedArray) and value.ndim == 2:
            values = [value[:, position] for position in range(value._table.width)]
        elif np.ndim(value) == 0 and not isinstance(value, Traced):
            values = [value] * len(names)
        else:
            self._refuse("an assignment of something else to several columns")
        if len(values) != len(names):
            raise ValueError("Columns must be same length as key")  # as pandas says
        for name, one in zip(names, values, strict=True):
            self[name] = one

    def __delitem__(self, key: Any) -> None:
        left = self.drop(columns=[key])
        self._table, self._sample = left._table, left._sample

    def pop(self, item: Any) -> Any:
        """A column, which is taken out."""
        column = self[item]
        del self[item]
        return column

    def insert(self, loc: int, column: Any, value: Any) -> None:
        """A new column at some position."""
        if column in self._sample.columns:
            raise ValueError(f"cannot insert {column}, already exists")  # as pandas says
        self[column] = value
        names = list(self._sample.columns)
        names.insert(loc, names.pop())
        ordered = self[names]
        self._table, self._sample = ordered._table, ordered._sample

    def assign(self, **columns: Any) -> Any:
        """A copy with other columns."""
        result = self.copy()
        for name, value in columns.items():
            result[name] = value(result) if callable(value) else value
        return result

    def drop(
        self, labels: Any = None, *, axis: Any = 0, columns: Any = None, errors: str = "raise"
    ) -> Any:
        """Without some columns."""
        if columns is None and axis in (1, "columns"):
            columns = labels
        elif columns is None or labels is not None:
            self._refuse("drop() of rows")
        left = sampled(lambda x: x.drop(columns=columns, errors=errors), self)
        return self._pick(left, None)

    def rename(self, mapper: Any = None, *, columns: Any = None, axis: Any = 0) -> Any:
        """Other names."""
        if columns is None and axis in (1, "columns"):
            columns = mapper
        if columns is None:
            self._refuse("rename() of rows")
        return self._wrap(self._table, self._sample.rename(columns=columns))

    def set_axis(self, labels: Any, *, axis: Any = 0) -> Any:
        """Other names."""
        if axis not in (1, "columns"):
            self._refuse("set_axis() of rows")
        return self._wrap(self._table, self._sample.set_axis(labels, axis=1))

    def add_prefix(self, prefix: str) -> Any:
        """Names with something before them."""
        return self._wrap(self._table, self._sample.add_prefix(prefix))

    def add_suffix(self, suffix: str) -> Any:
        """Names with something after them."""
        return self._wrap(self._table, self._sample.add_suffix(suffix))

    def filter(
        self, items: Any = None, like: Any = None, regex: Any = None, axis: Any = None
    ) -> Any:
        """Columns by their names."""
        if axis not in (None, 1, "columns"):
            self._refuse("filter() of rows")
        chosen = self._sample.filter(items=items, like=like, regex=regex)
        return self._pick(chosen, None)

    reindex: Any = property(lambda self: self._refuse(".reindex is not compiled"))

    def select_dtypes(self, include: Any = None, exclude: Any = None) -> Any:
        """Columns by their types."""
        for block in self._table.blocks:
            if (
                block.origin is not None
                and block.origin.nullable
                and block.origin.type == "boolean"
            ):
                self._refuse("select_dtypes() depends on whether a value is missing")
        chosen = self._sample.select_dtypes(include, exclude)
        pairs = zip(self._sample.columns, self._table.columns(), strict=True)
        other = {name: np.int64 for name, block in pairs if isinstance(block, GappyInts)}
        whole = self._sample.iloc[:0].astype(other).select_dtypes(include, exclude)
        if not whole.columns.equals(chosen.columns):
            self._refuse("select_dtypes() depends on the batch; use .astype(float) before")
        return self._pick(chosen, None)

    @property
    def dtypes(self) -> Any:
        """Types of the columns."""
        return pd.Series({name: self[name].dtype for name in self._sample.columns}, dtype=object)

    @property
    def loc(self) -> Any:
        """Columns by name, or values where a condition holds."""
        return _Location(self, by_name=True)

    @property
    def iloc(self) -> Any:
        """Columns by position."""
        return _Location(self, by_name=False)

    def apply(self, func: Any, axis: Any = 0) -> Any:
        """A function of each column."""
        if axis not in (0, "index"):
            self._refuse("apply() calls a Python function for each row")
        if isinstance(func, np.ufunc):
            return func(self)
        if not callable(func):
            self._refuse("apply() with the name of a function")
        return self._gathered({name: func(self[name]) for name in self._sample.columns})

    def _gathered(self, columns: dict[Any, Any]) -> Any:
        if not columns or not all(isinstance(c, TracedSeries) for c in columns.values()):
            self._refuse("apply() with a function that does not return a column for each")
        sample = pd.DataFrame({name: column._sample for name, column in columns.items()})
        return self._wrap(Table.beside(column._table for column in columns.values()), sample)

    def replace(self, to_replace: Any, value: Any = None) -> Any:
        """Other values for some, in every column."""
        columns = {name: self[name].replace(to_replace, value) for name in self._sample.columns}
        return self._gathered(columns)

    def _reduced(self, name: str, axis: Any, options: dict[str, Any]) -> Any:
        if axis not in (1, "columns"):
            self._refuse(f"{name} over the rows, which depends on the batch")
        if options:
            self._refuse(f"{name}() with {sorted(options)}")
        sample = sampled(lambda x: getattr(x, name)(axis=1), self)
        with self._explained():
            block = reduce_row(name, self._table, kind_of(sample), skip_missing=True)
        return self._wrap(Table((block,)), sample)

    def sum(self, axis: Any = 0, **options: Any) -> Any:
        """Sum of each row, without what is missing."""
        return self._reduced("sum", axis, options)

    def mean(self, axis: Any = 0, **options: Any) -> Any:
        """Mean of each row, without what is missing."""
        return self._reduced("mean", axis, options)

    def min(self, axis: Any = 0, **options: Any) -> Any:
        """Smallest value of each row."""
        return self._reduced("min", axis, options)

    def max(self, axis: Any = 0, **options: Any) -> Any:
        """Largest value of each row."""
        return self._reduced("max", axis, options)

    def prod(self, axis: Any = 0, **options: Any) -> Any:
        """Product of each row, without what is missing."""
        return self._reduced("prod", axis, options)

    product = prod

    def any(self, axis: Any = 0, **options: Any) -> Any:
        """Whether any value of a row is true."""
        return self._reduced("any", axis, options)

    def all(self, axis: Any = 0, **options: Any) -> Any:
        """Whether all values of a row are true."""
        return self._reduced("all", axis, options)


def _with_axis(name: str) -> Any:
    """A method such as ``DataFrame.div`` that takes a column for every column."""
    plain = getattr(TracedColumns, name)

    def method(self: TracedFrame, other: Any, axis: Any = "columns") -> Any:
        if isinstance(other, TracedSeries):
            if axis not in (0, "index"):
                self._refuse("a table and a column in one operation are not recorded")
            columns = {
                column: getattr(self[column], name)(other) for column in self._sample.columns
            }
            return self._gathered(columns)
        return plain(self, other)

    method.__name__ = name
    return method


for _name in ("add", "sub", "subtract", "mul", "multiply", "div", "divide", "truediv"):
    setattr(TracedFrame, _name, _with_axis(_name))


class _Location:
    """``DataFrame.loc`` and ``.iloc`` with all rows."""

    def __init__(self, frame: TracedFrame, *, by_name: bool) -> None:
        self._frame, self._by_name = frame, by_name

    def _split(self, key: Any) -> tuple[Any, Any]:
        if isinstance(key, tuple) and len(key) == 2:
            return key
        return key, _ALL

    def __getitem__(self, key: Any) -> Any:
        rows, columns = self._split(key)
        if not _is_all(rows) or isinstance(columns, Traced):
            self._refuse("a selection of rows")
        sample = self._frame._sample
        if self._by_name:
            return self._frame._pick(sample.loc[:, columns], columns)
        chosen = sample.iloc[:, columns]
        return self._frame._pick(chosen, chosen.name if chosen.ndim == 1 else None)

    def __setitem__(self, key: Any, value: Any) -> None:
        rows, column = self._split(key)
        frame = self._frame
        names = frame._sample.columns
        if not self._by_name or np.ndim(column) or isinstance(column, slice | Traced):
            self._refuse("an assignment to anything but one column by name")
        if _is_all(rows):
            # keeps the column's type where it can, unlike an assignment to the column
            self._refuse(".loc[:, name] = …, whose type depends on the values; use df[name] = …")
        if not isinstance(rows, TracedSeries) or rows._sample.dtype != bool or column not in names:
            self._refuse("an assignment to some rows")
        frame[column] = frame[column]._assigned(rows, value)

    def _refuse(self, reason: str) -> NoReturn:
        self._frame._refuse(reason)


Traced.classes[pd.DataFrame] = TracedFrame
