"""Decision trees and ensembles of them as one `TreeEnsemble` operator in float64."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import spox.opset.ai.onnx.ml.v5 as ml
import spox.opset.ai.onnx.v21 as op
from onnx import numpy_helper
from spox import Var

from pyfunc_packaging.compile.registry import Context

#: `TreeEnsemble`, ai.onnx.ml version 5: how a node decides, and how trees are put together.
BRANCH_LEQ, BRANCH_LT, BRANCH_MEMBER = 0, 1, 6
SUM = 1

#: What an inner node and a leaf take in the file, with numbers of nodes in the millions.
NODE_BYTES, LEAF_BYTES = 29, 10

#: Inner nodes in one operator, about.
MAX_NODES = 400_000

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
    """

    left: IntArray
    right: IntArray
    feature: IntArray
    threshold: FloatArray
    missing_left: npt.NDArray[np.bool_]
    value: FloatArray
    target: int = 0

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
        )


def tree_ensemble(
    x: Var,
    trees: Iterable[Tree],
    *,
    targets: int = 1,
    mode: int = BRANCH_LEQ,
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
    context : Context, optional
        Given for what may be large: it stops at trees that no graph should hold, and puts them
        into the graph when that is built, rather than to copy them with every step until then.

    Returns
    -------
    Var of the type of x, shape (n, targets)
        Summed in the order of the trees; only where millions of nodes make a single sum, it is
        put together from sums of parts, since ONNX Runtime loads these several times as fast.
    """
    parts = []
    for tree in trees:
        part = _Part.of(tree)
        if context is not None:
            context.reserve(part.nodes * NODE_BYTES + part.leaves * LEAF_BYTES)
        parts.append(part)
    dtype = x.unwrap_tensor().dtype
    sums = [
        _operator(x, targets, _attributes(group, mode, dtype), context)
        for group in _groups(parts, targets, dtype)
    ]
    return sums[0] if len(sums) == 1 else op.sum(sums)


def _groups(parts: Sequence[_Part], targets: int, dtype: Any) -> list[list[_Part]]:
    """Trees that share an operator: all of them, unless they are many."""
    before = np.cumsum([part.nodes for part in parts]) // MAX_NODES
    # float32 shows how a sum was rounded, and so does a tie between classes unless all votes count
    # the same
    if before[-1] == 0 or dtype != np.float64 or not (targets == 1 or _all_whole(parts)):
        return [list(parts)]
    return [
        [part for part, group in zip(parts, before, strict=True) if group == number]
        for number in np.unique(before)
    ]


def _all_whole(parts: Sequence[_Part]) -> bool:
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
        placeholder = _attributes([_Part.of(Tree.constant(0.0))], BRANCH_LEQ, dtype)
        attributes = {**placeholder, "tree_roots": np.array([-len(context.large)])}
    arguments: dict[str, Any] = {
        name: values if name in _TENSORS else values.tolist() for name, values in attributes.items()
    }
    result: Var = ml.tree_ensemble(
        x, aggregate_function=SUM, n_targets=targets, post_transform=0, **arguments
    )
    return result


def _attributes(parts: Sequence[_Part], mode: int, dtype: Any) -> dict[str, npt.NDArray[Any]]:
    """What the operator wants to know about its trees."""
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
        "nodes_missing_value_tracks_true": joined("missing_left", np.int64),
        "nodes_truenodeids": ids("left", "left_leaf"),
        "nodes_trueleafs": joined("left_leaf", np.int64),
        "nodes_falsenodeids": ids("right", "right_leaf"),
        "nodes_falseleafs": joined("right_leaf", np.int64),
        "leaf_targetids": np.concatenate(targets),
        "leaf_weights": joined("weights", dtype),
    }


@dataclass(frozen=True)
class _Part:
    """A tree as the operator wants it: inner nodes and leaves numbered apart."""

    feature: IntArray
    threshold: FloatArray
    missing_left: IntArray
    left: IntArray
    right: IntArray
    left_leaf: npt.NDArray[np.bool_]
    right_leaf: npt.NDArray[np.bool_]
    weights: FloatArray
    target: int

    @property
    def nodes(self) -> int:
        return len(self.feature)

    @property
    def leaves(self) -> int:
        return len(self.weights)

    @classmethod
    def of(cls, tree: Tree) -> _Part:
        leaf = np.asarray(tree.left) < 0
        if leaf[0]:  # the operator has no tree without a node: both branches lead to the one leaf
            zero, yes = np.zeros(1, dtype=np.int64), np.ones(1, dtype=bool)
            value = np.asarray(tree.value[:1])
            return cls(zero, np.zeros(1), zero, zero, zero, yes, yes, value, tree.target)
        number = np.where(leaf, np.cumsum(leaf) - 1, np.cumsum(~leaf) - 1)
        inner = np.flatnonzero(~leaf)
        left, right = tree.left[inner], tree.right[inner]
        return cls(
            feature=tree.feature[inner],
            threshold=tree.threshold[inner],
            missing_left=tree.missing_left[inner].astype(np.int64),
            left=number[left],
            right=number[right],
            left_leaf=leaf[left],
            right_leaf=leaf[right],
            weights=np.asarray(tree.value)[leaf],
            target=tree.target,
        )
