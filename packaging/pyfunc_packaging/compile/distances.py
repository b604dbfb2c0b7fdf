"""Distances to many rows of reference, in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.probabilities import row_sum

#: Cells of the largest matrix that a batch needs at once: 512 KiB, which fit into a cache.
CELLS = 2**16

FloatArray = npt.NDArray[np.float64]


def in_pieces(function: Callable[[Var], Var], x: Var, cells: int) -> Var:
    """Apply a function to a few rows at a time.

    Parameters
    ----------
    function : callable
        From rows of shape (m, features) to their results, of shape (m, width).
    x : Var of shape (n, features)
    cells : int
        Size of what the function computes on the way, for each row.

    Returns
    -------
    Var of shape (n, width)
    """
    most = max(1, CELLS // cells)
    count = op.shape(x, start=0, end=1)
    size = op.min([count, ints([most])])
    last = op.sub(count, ints([1]))
    turns = op.div(op.add(last, size), size)
    offsets = op.range(ints(0), op.squeeze(size), ints(1))

    def body(turn: Var, condition: Var) -> list[Var]:
        # all turns give as many rows, so the last one repeats the last row
        positions = op.min([op.add(op.mul(turn, size), offsets), last])
        return [condition, function(op.gather(x, positions, axis=0))]

    (stacked,) = op.loop(turns, op.const(np.array([True])), body=body)
    width = op.shape(stacked, start=2, end=3)
    flat = op.reshape(stacked, op.concat([ints([-1]), width], axis=0))
    return op.slice(flat, ints([0]), count, ints([0]))


def squared_distances(x: Var, reference: FloatArray) -> Var:
    """``((x[:, None] - reference[None]) ** 2).sum(axis=2)`` by a matrix product.

    Both are moved to the middle of the reference, so that little cancels out.
    """
    centre = reference.mean(axis=0)
    moved = reference - centre
    # whatever is that far away is infinitely far, and does not become NaN
    near = op.clip(op.sub(x, const(centre)), const(-1e100), const(1e100))
    squares = row_sum(op.mul(near, near))
    total = op.add(op.matmul(near, const(-2.0 * moved.T)), const((moved**2).sum(axis=1)))
    return op.max([op.add(total, squares), const(0.0)])
