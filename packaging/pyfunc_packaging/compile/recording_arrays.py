"""Recorded numpy arrays."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np

from pyfunc_packaging.compile.gappy import GappyInts
from pyfunc_packaging.compile.recording import Traced
from pyfunc_packaging.compile.recording_functions import astype, clip, reduction, rounded, where
from pyfunc_packaging.compile.table import Kind, Table


class TracedArray(Traced):
    """A recorded array of one or two dimensions."""

    _shared: list[weakref.ref[TracedArray]]

    def __getitem__(self, key: Any) -> Any:
        rows, columns = key if isinstance(key, tuple) and len(key) == 2 else (key, slice(None))
        whole = isinstance(rows, slice) and rows == slice(None)
        if not whole or (self.ndim == 1 and isinstance(key, tuple) and columns is not None):
            self._refuse("a selection of rows")
        if columns is None:
            return self.reshape(-1, 1) if self.ndim == 1 else self._refuse("a third dimension")
        if isinstance(columns, Traced):
            self._refuse("a selection of columns by the data")
        positions = np.arange(self._table.width)[columns]  # IndexError as numpy has it
        table = self._table.take(np.atleast_1d(positions).tolist())
        return self._view(self._wrap(table, self._sample[:, columns]))

    def _view(self, part: TracedArray) -> TracedArray:
        """Remember what may share its memory with this: what is written to one changes both."""
        shared = [*self.__dict__.get("_shared", []), weakref.ref(self)]
        for reference in shared:
            other = reference()
            if other is not None:
                other._shared = [*other.__dict__.get("_shared", []), weakref.ref(part)]
        part._shared = shared
        return part

    def __setitem__(self, key: Any, value: Any) -> None:
        """Whole columns, or cells where a condition holds."""
        if any(reference() is not None for reference in self.__dict__.get("_shared", [])):
            self._refuse("an assignment to an array that may share its memory with another")
        if isinstance(key, TracedArray) and key._sample.dtype == bool and key.ndim == self.ndim:
            self._check_type()
            changed = where(self, key, value, self)
            _set(self, changed, self._kinds(self._sample)[0])
            return
        two = isinstance(key, tuple) and len(key) == 2 and key[0] == slice(None)
        if not two or self.ndim != 2 or not isinstance(key[1], int | np.integer):
            self._refuse("an assignment to some rows")
        self._check_type()
        column = value if isinstance(value, TracedArray) else None
        if column is not None and column.ndim != 1:
            self._refuse("an assignment of several columns")
        position = range(self._table.width)[int(key[1])]
        table = column._table if column is not None else self._constant(value)
        if table.blocks[0].kind != self._kinds(self._sample)[0]:
            self._refuse("an assignment that changes the type of the values")
        parts = [self._table.take([i]) for i in range(self._table.width)]
        parts[position] = table
        sample = self._sample.copy()
        sample[:, position] = column._sample if column is not None else value
        self._table, self._sample = Table.beside(parts), sample

    def _check_type(self) -> None:
        """An array of integers takes whole numbers alone, and cuts off the rest of others."""
        if any(isinstance(block, GappyInts) for block in self._table.blocks):
            self._refuse("an assignment to an array whose type depends on the batch")

    @property
    def dtype(self) -> Any:
        """Type of the values."""
        if any(isinstance(block, GappyInts) for block in self._table.blocks):
            self._refuse(".dtype depends on the batch; use .astype(float) before")
        nullable = any(b.origin is not None and b.origin.nullable for b in self._table.blocks)
        if nullable and (self._sample.dtype != np.float64 or not _floats(self._table)):
            self._refuse(".dtype depends on whether a value is missing")
        return self._sample.dtype

    def reshape(self, *shape: Any) -> Any:
        """To a column, or back."""
        shape = shape[0] if len(shape) == 1 and isinstance(shape[0], tuple) else shape
        if shape == (-1, 1) and self._table.width == 1:
            return self._view(self._wrap(self._table, self._sample.reshape(-1, 1)))
        if shape in ((-1,), (-1, self._table.width)) and (
            self._table.width == 1 or (shape != (-1,) and self.ndim == 2)
        ):
            return self._view(self._wrap(self._table, self._sample.reshape(shape)))
        return self._refuse(f"a reshape to {shape}")

    def ravel(self) -> Any:
        """One column without its second dimension."""
        return self.reshape(-1)

    flatten = ravel

    def copy(self, order: str = "C") -> Any:
        """A copy."""
        return self._wrap(self._table, self._sample.copy())

    def astype(self, dtype: Any, copy: bool = True) -> Any:
        """Another type of values."""
        return astype(self, dtype)

    def clip(self, min: Any = None, max: Any = None) -> Any:  # noqa: A002 - numpy's names
        """Limits, as `np.clip`."""
        return clip(self, self, min, max)

    def round(self, decimals: int = 0) -> Any:
        """Rounding, half to even."""
        return rounded(self, decimals)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Sum of each row."""
        return reduction("sum")(self, self, axis, keepdims=keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Mean of each row."""
        return reduction("mean")(self, self, axis, keepdims=keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Smallest value of each row."""
        return reduction("min")(self, self, axis, keepdims=keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Largest value of each row."""
        return reduction("max")(self, self, axis, keepdims=keepdims)

    def prod(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Product of each row."""
        return reduction("prod")(self, self, axis, keepdims=keepdims)

    def any(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether any value of a row is true."""
        return reduction("any")(self, self, axis, keepdims=keepdims)

    def all(self, axis: Any = None, keepdims: bool = False) -> Any:
        """Whether all values of a row are true."""
        return reduction("all")(self, self, axis, keepdims=keepdims)


def _floats(table: Table) -> bool:
    return all(b.origin is None or b.origin.type == "double" for b in table.blocks)


def _set(target: TracedArray, changed: Traced, kind: Kind) -> None:
    if changed._sample.dtype != target._sample.dtype:
        target._refuse("an assignment that changes the type of the values")
    target._table, target._sample = changed._table, changed._sample


Traced.classes[np.ndarray] = TracedArray
