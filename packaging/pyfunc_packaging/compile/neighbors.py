"""Compile nearest neighbours: the distance to every row of training data, then the smallest.

A search tree finds the same neighbours as comparing all distances does, but where several rows are
equally far it takes those that it comes across first. A model is refused where that decides the
prediction of one of its own training rows. The proof finds more of it, since a row is equally far
from all others as soon as one of its numbers is so large that theirs are lost in rounding; scale
with ``MinMaxScaler(clip=True)`` where it does.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.distances import in_pieces
from pyfunc_packaging.compile.labels import most_likely
from pyfunc_packaging.compile.probabilities import row_sum
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table

#: Training rows whose neighbours are looked at for ties.
TRIED = 500
#: Neighbours beyond the last one that are looked at for ties.
BEYOND = 20


@dataclass(frozen=True)
class Neighbours:
    """The nearest rows of training data.

    Parameters
    ----------
    targets : Var of float64, shape (n, k, t)
        Their targets, or the positions of their classes.
    weights : Var of float64, shape (n, k, 1)
    """

    targets: Var
    weights: Var


def _reduced_distances(model: Any, x: Var, rows: npt.NDArray[np.float64]) -> Var:
    """Distances to rows, as scikit-learn compares them: without the root, in order of features."""
    metric = model.effective_metric_
    if metric == "euclidean" and model._tree is None:
        middle = op.matmul(x, const(-2.0 * rows.T))
        return op.add(op.add(row_sum(op.mul(x, x)), middle), const((rows * rows).sum(axis=1)))
    total: Var | None = None
    for number, column in enumerate(rows.T):
        difference = op.sub(op.gather(x, ints([number]), axis=1), const(column))
        if metric == "euclidean":
            each = op.mul(difference, difference)
        elif metric == "minkowski":
            each = op.pow(op.abs(difference), const(model.effective_metric_params_["p"]))
        else:
            each = op.abs(difference)
        if total is None:
            total = each
        else:
            total = op.max([total, each]) if metric == "chebyshev" else op.add(total, each)
    if total is None:
        raise ValueError("expected at least one column")
    return total


def _nearest(model: Any, x: Var) -> Neighbours:
    rows, targets = np.asarray(model._fit_X, dtype=np.float64), np.asarray(model._y)
    targets = targets.reshape(len(rows), -1).astype(np.float64)
    first = targets[:1]
    if model._tree is not None:
        # it looks at its rows in the order of its leaves
        order = np.asarray(model._tree.get_arrays()[1])
        rows, targets = rows[order], targets[order]
    distances, positions = op.top_k(
        _reduced_distances(model, x, rows), ints([model.n_neighbors]), axis=1, largest=0
    )
    last = ints([2])
    found = op.gather(const(targets), positions, axis=0)
    # rows infinitely far away are never taken up, and the reference is left with its first one
    far = op.unsqueeze(op.isinf(distances), last)
    found = op.where(far, const(first), found)
    if model.weights == "uniform":
        return Neighbours(found, const(np.ones((1, 1, 1))))
    if model.effective_metric_ == "euclidean":
        distances = op.sqrt(distances)
    elif model.effective_metric_ == "minkowski":
        distances = op.pow(distances, const(1.0 / model.effective_metric_params_["p"]))
    inverse = op.div(const(1.0), distances)
    same = op.cast(op.isinf(inverse), to=np.float64)
    # where there is the row itself, it alone counts
    hit = op.greater(op.reduce_max(same, ints([1])), const(0.0))
    return Neighbours(found, op.unsqueeze(op.where(hit, same, inverse), last))


def _check(model: Any, context: Context) -> None:
    metric, extra = model.effective_metric_, dict(model.effective_metric_params_ or {})
    if model.weights not in ("uniform", "distance"):
        raise context.error("weights by a function are not compiled")
    if metric not in ("chebyshev", "euclidean", "manhattan", "minkowski"):
        raise context.error(f"metric={metric!r} is not compiled")
    if extra.get("w") is not None:
        raise context.error("a metric with weights is not compiled")
    if model._tree is None:
        _check_brute_force(model, metric, context)
    _check_ties(model, context)


def _check_brute_force(model: Any, metric: str, context: Context) -> None:
    if not isinstance(model._fit_X, np.ndarray) or model._fit_X.dtype != np.float64:
        raise context.error(
            "searches by brute force over something else than dense float64; train with"
            " algorithm='kd_tree'"
        )
    if metric == "euclidean" and model.weights == "distance":
        raise context.error(
            "searches by brute force, which knows small distances by rounded products alone;"
            " train with algorithm='kd_tree'"
        )


def _check_ties(model: Any, context: Context) -> None:
    """Refuse a model whose predictions depend on which of equally distant rows it comes across."""
    rows, count = model._fit_X, model.n_neighbors
    tried = rows[np.unique(np.linspace(0, len(rows) - 1, TRIED).astype(int))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about names of columns, which these rows have none of
        distances, positions = model.kneighbors(tried, n_neighbors=min(len(rows), count + BEYOND))
    if distances.shape[1] == count:
        return
    border = distances[:, count - 1 : count]
    tied = np.abs(distances - border) <= 1e-12 * border
    doubtful = tied[:, count]
    targets = np.asarray(model._y).reshape(len(rows), -1)[positions]
    own = targets[:, count - 1 : count]
    differ = ((targets != own).any(axis=2) & tied).any(axis=1)
    if (doubtful & differ).any():
        raise context.error(
            f"{int((doubtful & differ).sum())} of {len(tried)} training rows have several rows"
            f" equally far as their neighbour number {count}; which one the search takes is chance"
        )


def _average(model: KNeighborsRegressor, table: Table, context: Context) -> Table:
    _check(model, context)

    def predict(x: Var) -> Var:
        near = _nearest(model, x)
        middle = ints([1])
        if model.weights == "uniform":
            total = op.reduce_sum(near.targets, middle, keepdims=False)
            return op.div(total, const(float(model.n_neighbors)))
        weighted = op.reduce_sum(op.mul(near.targets, near.weights), middle, keepdims=False)
        return op.div(weighted, op.reduce_sum(near.weights, middle, keepdims=False))

    width = 1 if model._y.ndim == 1 else model._y.shape[1]
    result = in_pieces(predict, context.finite(table).var, len(model._fit_X))
    return Table.of(result, width, nan=True)


@shared
def _votes(model: KNeighborsClassifier, table: Table, context: Context) -> Var:
    """The sum of the neighbours' weights for each class, of shape (n, classes)."""
    _check(model, context)
    if model.outputs_2d_:
        raise context.error("several targets are not compiled")
    classes = const(np.arange(len(model.classes_)))

    def vote(x: Var) -> Var:
        near = _nearest(model, x)
        chosen = op.cast(op.equal(near.targets, classes), to=np.float64)
        return op.reduce_sum(op.mul(chosen, near.weights), ints([1]), keepdims=False)

    votes = in_pieces(vote, context.finite(table).var, len(model._fit_X))
    # of rows so far from all others that no neighbour has any weight, nothing is known
    context.refuse(op.equal(op.reduce_max(votes, ints([1])), const(0.0)))
    return votes


def _classifier(model: KNeighborsClassifier, table: Table, context: Context) -> Table:
    return most_likely(model.classes_, _votes(model, table, context), context)


def _probabilities(model: KNeighborsClassifier, table: Table, context: Context) -> Table:
    votes = _votes(model, table, context)
    total = op.reduce_sum(votes, ints([1]))
    return Table.of(op.div(votes, total), len(model.classes_))


register_compiler(KNeighborsRegressor, _average, method="predict")
register_compiler(KNeighborsClassifier, _classifier, method="predict")
register_compiler(KNeighborsClassifier, _probabilities, method="predict_proba")
