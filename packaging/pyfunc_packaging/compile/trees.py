"""Decision trees and ensembles of them as one `TreeEnsemble` operator in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as op
from onnx import numpy_helper
from spox import Var

from pyfunc_packaging.compile.registry import Context
from pyfunc_packaging.compile.tree_nodes import BRANCH_LEQ, TreeNodes, join_attributes

#: `TreeEnsemble`, ai.onnx.ml version 5: how trees are put together.
SUM = 1

#: What an inner node and a leaf take in the file, with numbers of nodes in the millions.
NODE_BYTES, LEAF_BYTES = 29, 10

#: Inner nodes in one operator, about: ONNX Runtime takes row by row through all its trees, which
#: therefore should fit into a processor's cache (32 bytes a node and a leaf).
MAX_NODES = 100_000

#: Inner nodes for each of several targets from which on it pays to have an operator for each.
TARGET_NODES = 1000

#: Inner nodes for each feature from which on it pays to have the features twice.
MANY_NODES = 20

_TENSORS = ("nodes_splits", "nodes_modes", "leaf_weights")

Attributes = Mapping[str, npt.NDArray[Any]]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Tree:
    """One tree in arrays with one entry a node; node 0 is the root.

    Parameters
    ----------
    left, right : ndarray of int, shape (nodes,)
        Children; -1 at leaves. A row goes left where its feature is at most the threshold.
    feature : ndarray of int, shape (nodes,)
    threshold : ndarray of float64, shape (nodes,)
    missing_left : ndarray of bool, shape (nodes,)
        Whether a missing value goes left.
    value : ndarray of float64, shape (nodes,)
        What a leaf contributes to its target.
    target : int
        Which output the tree contributes to.
    rows : ndarray, shape (nodes,), optional
        How many rows reached each node in training, as far as known; decides nothing but speed.
    """

    left: IntArray
    right: IntArray
    feature: IntArray
    threshold: FloatArray
    missing_left: npt.NDArray[np.bool_]
    value: FloatArray
    target: int = 0
    rows: npt.NDArray[Any] | None = None

    @classmethod
    def constant(cls, value: float, *, target: int = 0) -> Tree:
        """A tree that is one leaf."""
        none = np.array([-1])
        return cls(
            left=none,
            right=none,
            feature=none,
            threshold=np.zeros(1),
            missing_left=np.zeros(1, dtype=bool),
            value=np.array([value], dtype=np.float64),
            target=target,
        )

    def pruned(self) -> Tree:
        """The same tree without branches whose leaves all hold the same value."""
        left, right, value = self.left.copy(), self.right.copy(), self.value.copy()
        while True:
            inner = np.flatnonzero(left >= 0)
            a, b = left[inner], right[inner]
            same = (left[a] < 0) & (left[b] < 0) & (value[a] == value[b])
            if not same.any():
                break
            value[inner[same]] = value[a[same]]
            left[inner[same]] = right[inner[same]] = -1
        keep = np.zeros(len(left), dtype=bool)
        level = np.zeros(1, dtype=np.int64)
        while level.size:
            keep[level] = True
            inner = level[left[level] >= 0]
            level = np.concatenate([left[inner], right[inner]])
        number = np.cumsum(keep) - 1
        left, right = left[keep], right[keep]
        return Tree(
            left=np.where(left < 0, -1, number[left]),
            right=np.where(right < 0, -1, number[right]),
            feature=self.feature[keep],
            threshold=self.threshold[keep],
            missing_left=self.missing_left[keep],
            value=value[keep],
            target=self.target,
            rows=None if self.rows is None else self.rows[keep],
        )


def tree_ensemble(
    x: Var,
    trees: Iterable[Tree],
    *,
    targets: int = 1,
    mode: int = BRANCH_LEQ,
    nan: bool = True,
    context: Context | None = None,
) -> Var:
    """The sum of trees.

    Parameters
    ----------
    x : Var of float64 or float32, shape (n, features)
    trees : iterable of Tree
        At least one.
    targets : int
        Number of outputs.
    mode : int
        `BRANCH_LEQ`, or `BRANCH_LT` where a row goes left only below the threshold.
    nan : bool
        Whether a feature may be missing. False is a promise.
    context : Context, optional
        Given for what may be large: it stops at trees that no graph should hold, and puts them
        into the graph when that is built, rather than to copy them with every step until then.

    Returns
    -------
    Var of the type of x, shape (n, targets)
        Summed in the order of the trees; only where very many nodes make a single sum, it is
        put together from sums of parts, which ONNX Runtime computes several times as fast.
    """
    parts = []
    for tree in trees:
        part = TreeNodes.of(tree)
        if context is not None:
            context.reserve(part.nodes * NODE_BYTES + part.leaves * LEAF_BYTES)
        parts.append(part)
    dtype = x.unwrap_tensor().dtype
    width = _width(x)
    nodes = sum(part.nodes for part in parts)
    if width is not None and nodes >= MANY_NODES * width:
        turned = [part.likely_right(mode, width, dtype) for part in parts]
        if turned != parts:
            parts, x = turned, op.concat([x, op.neg(x)], axis=1)
    by_target = _by_target(parts, targets)
    # float32 shows how a sum was rounded, and so does a tie between classes unless all votes count
    # the same
    free = dtype == np.float64 and (targets == 1 or _all_whole(parts))
    sums = []
    for trees_of_one in by_target:
        groups = _groups(trees_of_one) if free else [trees_of_one]
        count = targets if len(by_target) == 1 else 1
        found = [
            _operator(x, count, join_attributes(each, mode, dtype, nan=nan), context)
            for each in groups
        ]
        sums.append(found[0] if len(found) == 1 else op.sum(found))
    return sums[0] if len(sums) == 1 else op.concat(sums, axis=1)


def _width(x: Var) -> int | None:
    """Number of features, where the graph says it."""
    shape = x.unwrap_tensor().shape
    width = shape[1] if shape is not None and len(shape) == 2 else None
    return width if isinstance(width, int) else None


def _by_target(parts: Sequence[TreeNodes], targets: int) -> list[list[TreeNodes]]:
    """The trees of each target, for an operator of its own, where they have nodes enough for it."""
    nodes = np.bincount([part.target for part in parts], [part.nodes for part in parts], targets)
    if targets == 1 or min(nodes) < TARGET_NODES:
        return [list(parts)]
    return [
        [replace(part, target=0) for part in parts if part.target == target]
        for target in range(targets)
    ]


def _groups(parts: Sequence[TreeNodes]) -> list[list[TreeNodes]]:
    """Trees that share an operator: all of them, unless they are many."""
    before = np.cumsum([part.nodes for part in parts]) // MAX_NODES
    return [
        [part for part, group in zip(parts, before, strict=True) if group == number]
        for number in np.unique(before)
    ]


def _all_whole(parts: Sequence[TreeNodes]) -> bool:
    return all(np.array_equal(part.weights, np.rint(part.weights)) for part in parts)


def fill(proto: onnx.ModelProto, large: Sequence[Attributes]) -> None:
    """Put the trees of a model into its graph.

    Parameters
    ----------
    proto : onnx.ModelProto
    large : sequence of mapping of str to ndarray
        `Context.large`.
    """
    for node in proto.graph.node:
        if node.op_type != "TreeEnsemble":
            continue
        placeholder = {attribute.name: attribute for attribute in node.attribute}
        root = placeholder["tree_roots"].ints[0]
        if root >= 0:
            continue
        attributes = large[-1 - root]
        kept = [placeholder[name] for name in placeholder if name not in attributes]
        del node.attribute[:]
        node.attribute.extend(kept)
        for name, values in attributes.items():
            attribute = node.attribute.add(name=name)
            if name in _TENSORS:
                attribute.type = onnx.AttributeProto.TENSOR
                attribute.t.CopyFrom(numpy_helper.from_array(values))
            else:
                attribute.type = onnx.AttributeProto.INTS
                attribute.ints.extend(values.tolist())


def _operator(x: Var, targets: int, attributes: Attributes, context: Context | None) -> Var:
    if context is not None:
        # a root that no tree has says where the real attributes are kept
        context.large.append(attributes)
        dtype = x.unwrap_tensor().dtype
        leaf = TreeNodes.of(Tree.constant(0.0))
        placeholder = join_attributes([leaf], BRANCH_LEQ, dtype)
        attributes = {**placeholder, "tree_roots": np.array([-len(context.large)])}
    arguments: dict[str, Any] = {
        name: values if name in _TENSORS else values.tolist() for name, values in attributes.items()
    }
    result: Var = ml.tree_ensemble(
        x, aggregate_function=SUM, n_targets=targets, post_transform=0, **arguments
    )
    return result
