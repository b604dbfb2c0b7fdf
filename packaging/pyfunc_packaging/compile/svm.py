"""Compile support vector machines: a kernel, and a weighted sum over the support vectors."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.svm import SVC, SVR, NuSVC, NuSVR
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.distances import in_pieces, squared_distances
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.linear import dense, product
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Table

#: Largest relative error of a kernel that distances by matrix product may cause.
ERROR = 1e-11


def kernel(model: Any, x: Var, vectors: Any, context: Context) -> Var:
    """The kernel between rows and support vectors, of shape (n, vectors)."""
    if model.kernel == "rbf":
        return op.exp(op.mul(const(-model._gamma), squared_distances(x, vectors)))
    inner = op.matmul(x, const(vectors.T))
    scaled = op.add(op.mul(const(model._gamma), inner), const(model.coef0))
    if model.kernel == "poly":
        return op.pow(scaled, const(float(model.degree)))
    return op.tanh(scaled)


def _check(model: Any, vectors: Any, context: Context) -> None:
    if model.kernel == "rbf":
        spread = ((vectors - vectors.mean(axis=0)) ** 2).sum(axis=1).max(initial=0.0)
        if model._gamma * spread * np.finfo(np.float64).eps > ERROR:
            raise context.error(
                f"gamma={model._gamma:.3g} is so large for columns of this scale that rounding"
                f" decides; scale the columns first"
            )


def _weigh(model: Any, x: Var, context: Context) -> Var:
    """What libsvm calls decision values, of shape (n, 1) or (n, pairs of classes)."""
    if model.kernel not in ("linear", "poly", "rbf", "sigmoid"):
        raise context.error(f"kernel={model.kernel!r} is not compiled")
    vectors, weights = dense(model.support_vectors_), dense(model._dual_coef_)
    if not len(vectors):  # a constant
        vectors, weights = np.zeros((1, model.n_features_in_)), np.zeros((1, 1))
    _check(model, vectors, context)
    counts = np.asarray(model._n_support) if isinstance(model, SVC | NuSVC) else [len(vectors)]
    ends = np.cumsum(counts)
    parts = [slice(end - count, end) for end, count in zip(ends, counts, strict=True)]
    pairs = list(combinations(range(len(counts)), 2))
    if model.kernel == "linear":
        if len(parts) == 1:
            return product(x, weights @ vectors, model._intercept_)
        rows = [
            weights[j - 1, parts[i]] @ vectors[parts[i]] + weights[i, parts[j]] @ vectors[parts[j]]
            for i, j in pairs
        ]
        return product(x, np.array(rows), model._intercept_)

    def weighted(rows: Var) -> Var:
        kernels = kernel(model, rows, vectors, context)
        if len(weights) == 1:
            return product(kernels, weights, model._intercept_)
        # class by class, since vectors of other classes may have an infinite kernel
        sums = [
            op.matmul(
                op.slice(kernels, ints([part.start]), ints([part.stop]), ints([1])),
                const(weights[:, part].T),
            )
            for part in parts
        ]
        joined = op.concat(sums, axis=1)
        width = len(weights)
        first = op.gather(joined, ints([i * width + j - 1 for i, j in pairs]), axis=1)
        second = op.gather(joined, ints([j * width + i for i, j in pairs]), axis=1)
        return op.add(op.add(first, second), const(model._intercept_))

    return in_pieces(weighted, x, len(vectors))


def _regressor(model: SVR | NuSVR, table: Table, context: Context) -> Table:
    return Table.of(_weigh(model, context.finite(table).var, context), 1)


# --- classes ----------------------------------------------------------------------------------


def _of_class(values: Var, count: int) -> Var:
    """Columns of pairs, gathered for each class: of shape (n, classes, classes - 1)."""
    pairs = list(combinations(range(count), 2))
    mine = [[number for number, pair in enumerate(pairs) if c in pair] for c in range(count)]
    return op.gather(values, op.const(np.array(mine, dtype=np.int64)), axis=1)


def _is_second(count: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Whether each class is the second of its pairs: of shape (classes, classes - 1)."""
    return np.array([[other < c for other in range(count) if other != c] for c in range(count)])


def _votes(for_second: Var, count: int) -> Var:
    """How many of its pairs each class wins: int32 of shape (n, classes)."""
    won = op.equal(_of_class(for_second, count), op.const(_is_second(count)))
    return op.reduce_sum(op.cast(won, to=np.int32), ints([2]), keepdims=False)


def _one_against_rest(values: Var, count: int) -> Var:
    """Votes, and between equal votes how clear they were."""
    sign = np.where(_is_second(count), -1.0, 1.0)
    clear = op.reduce_sum(op.mul(_of_class(values, count), const(sign)), ints([2]), keepdims=False)
    bounded = op.div(clear, op.mul(const(3.0), op.add(op.abs(clear), const(1.0))))
    votes = op.cast(_votes(op.less(values, const(0.0)), count), to=np.float64)
    return op.add(votes, bounded)


def _decision(model: SVC | NuSVC, table: Table, context: Context) -> Table:
    values, count = _weigh(model, context.finite(table).var, context), len(model.classes_)
    if count == 2:
        return Table.of(op.neg(values), 1)
    if model.decision_function_shape == "ovr":
        return Table.of(_one_against_rest(values, count), count)
    return Table.of(values, count * (count - 1) // 2)


def _classifier(model: SVC | NuSVC, table: Table, context: Context) -> Table:
    values, count = _weigh(model, context.finite(table).var, context), len(model.classes_)
    second = op.not_(op.greater(values, const(0.0)))
    if count == 2:
        return labels(model.classes_, op.cast(second, to=np.int64), context)
    if model.break_ties:
        if model.decision_function_shape == "ovo":
            raise context.error("break_ties=True needs decision_function_shape='ovr'")
        return most_likely(model.classes_, _one_against_rest(values, count), context)
    return most_likely(model.classes_, _votes(second, count), context)


def _probabilities(model: SVC | NuSVC, table: Table, context: Context) -> Table:
    raise context.error(
        "libsvm iterates probabilities to a tolerance; wrap it in CalibratedClassifierCV instead"
    )


for _class in (SVR, NuSVR):
    register_compiler(_class, _regressor, method="predict")
for _class in (SVC, NuSVC):
    register_compiler(_class, _classifier, method="predict")
    register_compiler(_class, _decision, method="decision_function")
    register_compiler(_class, _probabilities, method="predict_proba")
