"""Nodes of trees as the operator `TreeEnsemble` wants them, and in the order that it is fastest in.

ONNX Runtime keeps a node's right child beside it in memory and takes the left one from elsewhere,
and processors guess that a branch goes on as it did. Where most rows go left, a node is turned:
``x <= t`` goes left becomes ``-x < -t`` goes left, with the children exchanged. That halves the
time of a random forest (ONNX Runtime 1.32, `ProcessTreeNodeLeave` in
``tree_ensemble_common.h``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pyfunc_packaging.compile.trees import Tree

#: `TreeEnsemble`, ai.onnx.ml version 5: how a node decides.
BRANCH_LEQ, BRANCH_LT = 0, 1

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TreeNodes:
    """One tree, with inner nodes and leaves numbered apart.

    Parameters
    ----------
    feature, threshold, missing_left : ndarray of shape (nodes,)
        Of the inner nodes, as :class:`pyfunc_packaging.compile.trees.Tree` has them.
    left, right : ndarray of int, shape (nodes,)
        Children: numbers of nodes, or of leaves.
    left_leaf, right_leaf : ndarray of bool, shape (nodes,)
        Which of the two.
    weights : ndarray of float64, shape (leaves,)
    target : int
    likely_left : ndarray of bool, shape (nodes,)
        Whether more rows go left than right.
    """

    feature: IntArray
    threshold: npt.NDArray[Any]
    missing_left: BoolArray
    left: IntArray
    right: IntArray
    left_leaf: BoolArray
    right_leaf: BoolArray
    weights: FloatArray
    target: int
    likely_left: BoolArray

    @property
    def nodes(self) -> int:
        """How many inner nodes there are."""
        return len(self.feature)

    @property
    def leaves(self) -> int:
        """How many leaves."""
        return len(self.weights)

    @classmethod
    def of(cls, tree: Tree) -> TreeNodes:
        """Number the nodes of a tree."""
        leaf = np.asarray(tree.left) < 0
        if leaf[0]:  # the operator has no tree without a node: both branches lead to the one leaf
            zero, yes = np.zeros(1, dtype=np.int64), np.ones(1, dtype=bool)
            value = np.asarray(tree.value[:1])
            return cls(zero, np.zeros(1), ~yes, zero, zero, yes, yes, value, tree.target, ~yes)
        number = np.where(leaf, np.cumsum(leaf) - 1, np.cumsum(~leaf) - 1)
        inner = np.flatnonzero(~leaf)
        left, right = tree.left[inner], tree.right[inner]
        rows = np.zeros(len(leaf)) if tree.rows is None else tree.rows
        return cls(
            feature=tree.feature[inner],
            threshold=tree.threshold[inner],
            missing_left=tree.missing_left[inner],
            left=number[left],
            right=number[right],
            left_leaf=leaf[left],
            right_leaf=leaf[right],
            weights=np.asarray(tree.value)[leaf],
            target=tree.target,
            likely_left=rows[left] > rows[right],
        )

    def likely_right(self, mode: int, width: int, dtype: Any) -> TreeNodes:
        """The same tree for the features and, behind them, the negative of each.

        Parameters
        ----------
        mode : int
            `BRANCH_LEQ` or `BRANCH_LT`.
        width : int
            Number of features.
        dtype : dtype
            Of features and thresholds.

        Returns
        -------
        TreeNodes
            Itself if no node has to be turned.
        """
        threshold = self.threshold.astype(dtype)
        # next to zero are subnormal numbers, which a thread may be told to take for zero
        usual = np.isfinite(threshold) & (np.abs(threshold) >= np.finfo(dtype).tiny)
        turn = self.likely_left & usual
        if not turn.any():
            return self
        # x > t where -x is at most the next number below -t, and x >= t where -x is below the next
        # one above it
        beyond = np.dtype(dtype).type(-np.inf if mode == BRANCH_LEQ else np.inf)
        with np.errstate(over="ignore", under="ignore"):  # next to the largest number is infinity
            negative = np.nextafter(-threshold, beyond)
        return replace(
            self,
            feature=np.where(turn, self.feature + width, self.feature),
            threshold=np.where(turn, negative, threshold),
            missing_left=self.missing_left ^ turn,
            left=np.where(turn, self.right, self.left),
            right=np.where(turn, self.left, self.right),
            left_leaf=np.where(turn, self.right_leaf, self.left_leaf),
            right_leaf=np.where(turn, self.left_leaf, self.right_leaf),
            likely_left=self.likely_left & ~turn,
        )


def join_attributes(
    parts: Sequence[TreeNodes], mode: int, dtype: Any, *, nan: bool = True
) -> dict[str, npt.NDArray[Any]]:
    """What the operator wants to know about its trees.

    Parameters
    ----------
    parts : sequence of TreeNodes
        At least one.
    mode : int
    dtype : dtype
        Of features, thresholds and leaves.
    nan : bool
        Whether a feature may be missing: where no node expects that, none is asked for it.
    """
    nodes = np.cumsum([0, *(part.nodes for part in parts)])
    leaves = np.cumsum([0, *(part.leaves for part in parts)])

    def joined(name: str, dtype: Any) -> npt.NDArray[Any]:
        return np.concatenate([getattr(part, name) for part in parts]).astype(dtype)

    def ids(name: str, is_leaf: str) -> IntArray:
        # children are numbered within their tree: leaves among leaves, nodes among nodes
        shifted = [
            getattr(part, name) + np.where(getattr(part, is_leaf), leaf, node)
            for part, node, leaf in zip(parts, nodes, leaves, strict=False)
        ]
        return np.concatenate(shifted)

    targets = [np.full(part.leaves, part.target) for part in parts]
    return {
        "tree_roots": nodes[:-1],
        "nodes_featureids": joined("feature", np.int64),
        "nodes_splits": joined("threshold", dtype),
        "nodes_modes": np.full(nodes[-1], mode, dtype=np.uint8),
        "nodes_missing_value_tracks_true": joined("missing_left", np.int64) * nan,
        "nodes_truenodeids": ids("left", "left_leaf"),
        "nodes_trueleafs": joined("left_leaf", np.int64),
        "nodes_falsenodeids": ids("right", "right_leaf"),
        "nodes_falseleafs": joined("right_leaf", np.int64),
        "leaf_targetids": np.concatenate(targets),
        "leaf_weights": joined("weights", dtype),
    }
