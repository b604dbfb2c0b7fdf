"""Splits by category: columns that say for every row on which side of a split it is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints


class Memberships:
    """Columns beside a matrix of features, for trees that ask whether a code is in a set.

    A tree splits such a column at 0.5: it is 0 where a row goes left and 1 where it goes right.

    Parameters
    ----------
    width : int
        Number of features.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._columns: dict[tuple[int, tuple[int, ...], bool], int] = {}

    def column(self, feature: int, codes: Iterable[int], *, missing_left: bool) -> int:
        """Number of the column for one split.

        Parameters
        ----------
        feature : int
            Whose whole part is a code.
        codes : iterable of int
            Codes, none of them negative, that go left; all others go right.
        missing_left : bool
            Whether a missing value goes left.
        """
        key = (feature, tuple(sorted(codes)), missing_left)
        return self._width + self._columns.setdefault(key, len(self._columns))

    def beside(self, x: Var) -> Var:
        """The features, and after them the columns."""
        by_feature: dict[int, list[tuple[tuple[int, ...], bool, int]]] = {}
        for (feature, codes, missing_left), position in self._columns.items():
            by_feature.setdefault(feature, []).append((codes, missing_left, position))
        parts, order = [], []
        for feature, splits in by_feature.items():
            # rows of codes, then one for every other code and one for what is missing
            other = 1 + max(code for codes, _, _ in splits for code in codes)
            goes_right = np.ones((other + 2, len(splits)))
            for column, (codes, missing_left, position) in enumerate(splits):
                goes_right[list(codes), column] = 0.0
                goes_right[-1, column] = 0.0 if missing_left else 1.0
                order.append(position)
            value = op.gather(x, op.const(np.int64(feature)), axis=1)
            # -1 is the other code as well, until it is cast: what lies between it and 0 is a 0
            code = op.cast(op.clip(value, const(-1.0), const(float(other))), to=np.int64)
            code = op.where(op.less(code, ints(0)), ints(other), code)
            row = op.where(op.isnan(value), ints(other + 1), code)
            parts.append(op.gather(const(goes_right), row, axis=0))
        if not parts:
            return x
        joined = op.concat(parts, axis=1) if len(parts) > 1 else parts[0]
        positions = np.argsort(order)
        if not np.array_equal(positions, np.arange(len(order))):
            joined = op.gather(joined, op.const(positions.astype(np.int64)), axis=1)
        return op.concat([x, joined], axis=1)
