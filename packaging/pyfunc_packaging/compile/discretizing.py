"""Compile what turns numbers into bins: one binary search a column, then the bin's encoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn.preprocessing import Binarizer, KBinsDiscretizer
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table
from pyfunc_packaging.compile.tree_nodes import BRANCH_LT
from pyfunc_packaging.compile.trees import Tree, tree_ensemble


def search_sorted(x: Var, edges: Sequence[npt.ArrayLike]) -> Var:
    """How many of a column's edges each value reaches: ``np.searchsorted(..., side="right")``.

    Parameters
    ----------
    x : Var of float64, shape (n, k)
    edges : sequence of k array-likes
        Of each column, sorted, finite.

    Returns
    -------
    Var of float64, shape (n, k)
        Whole numbers from 0 to the number of a column's edges; NaN reaches them all.
    """
    trees = [
        _search_tree(np.asarray(column, dtype=np.float64), position)
        for position, column in enumerate(edges)
    ]
    return tree_ensemble(x, trees, targets=len(trees), mode=BRANCH_LT)


def _search_tree(edges: npt.NDArray[np.float64], position: int) -> Tree:
    """A balanced tree over one column, whose leaves hold the number of edges reached."""
    thresholds, first = np.unique(edges, return_index=True)
    reached = np.append(first, len(edges))  # by the number of distinct edges reached
    left: list[int] = []
    right: list[int] = []
    splits: list[float] = []
    value: list[float] = []

    def grow(low: int, high: int) -> int:
        """The node that tells apart which of the distinct edges from low to high are reached."""
        node = len(left)
        middle = (low + high) // 2
        left.append(-1)
        right.append(-1)
        splits.append(thresholds[middle] if low < high else 0.0)
        value.append(float(reached[low]) if low == high else 0.0)
        if low < high:
            left[node] = grow(low, middle)
            right[node] = grow(middle + 1, high)
        return node

    grow(0, len(thresholds))
    return Tree(
        left=np.array(left, dtype=np.int64),
        right=np.array(right, dtype=np.int64),
        feature=np.full(len(left), position, dtype=np.int64),
        threshold=np.array(splits, dtype=np.float64),
        missing_left=np.zeros(len(left), dtype=bool),
        value=np.array(value, dtype=np.float64),
        target=position,
    )


def _narrow(block: Block, context: Context) -> Block:
    """Values rounded to float32, refused where they do not fit."""
    var = op.cast(op.cast(block.var, to=np.float32), to=np.float64)
    context.refuse(op.isinf(var))
    return Block(var, block.width, nan=block.nan, inf=False)


def _k_bins(estimator: KBinsDiscretizer, table: Table, context: Context) -> Table:
    block = context.finite(table)
    if estimator.dtype is not None and np.dtype(estimator.dtype) == np.float32:
        block = _narrow(block, context)
    bins = search_sorted(block.var, [edges[1:-1] for edges in estimator.bin_edges_])
    width = block.width
    if estimator.encode != "ordinal":
        counts = [int(count) for count in estimator.n_bins_]
        columns = np.repeat(np.arange(width), counts)
        wanted = np.concatenate([np.arange(count) for count in counts])
        width = len(columns)
        chosen = op.gather(bins, ints(columns.tolist()), axis=1)
        bins = op.cast(op.equal(chosen, const(wanted)), to=np.float64)
    return Table((Block(bins, width, nan=False, inf=False),), output_names(estimator, table))


def _binarizer(estimator: Binarizer, table: Table, context: Context) -> Table:
    block = context.finite(table)
    above: Any = op.greater(block.var, const(estimator.threshold))
    ones = Block(op.cast(above, to=np.float64), block.width, nan=False, inf=False)
    return Table((ones,), output_names(estimator, table))


register_compiler(KBinsDiscretizer, _k_bins)
register_compiler(Binarizer, _binarizer)
