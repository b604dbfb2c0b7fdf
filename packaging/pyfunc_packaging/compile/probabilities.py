"""From scores to probabilities, as scikit-learn and scipy compute them."""

from __future__ import annotations

import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints


def expit(x: Var) -> Var:
    """``scipy.special.expit``: ``1 / (1 + exp(-x))``.

    Not the operator `Sigmoid`, which ONNX Runtime computes as one minus a number for negative x:
    of a probability of 1e-12, that leaves four digits.
    """
    one = const(1.0)
    return op.div(one, op.add(one, op.exp(op.neg(x))))


def softmax(scores: Var) -> Var:
    """``sklearn.utils.extmath.softmax`` over the columns of a matrix."""
    return op.softmax(scores, axis=1)


def row_sum(x: Var) -> Var:
    """The sum of each row, of shape (n, 1)."""
    return op.reduce_sum(x, ints([1]))


def complement(positive: Var) -> Var:
    """Probabilities of two classes, from those of the second, of shape (n, 1)."""
    return op.concat([op.sub(const(1.0), positive), positive], axis=1)


def normalized(values: Var, count: int) -> Var:
    """Divide each row by its sum; all alike in a row of zeros.

    Parameters
    ----------
    values : Var of float64, shape (n, count)
    count : int
    """
    total = row_sum(values)
    nothing = op.equal(total, const(0.0))
    even = op.where(nothing, const(1.0), values)
    return op.div(even, op.where(nothing, const(float(count)), total))


def one_against_rest(scores: Var, count: int) -> Var:
    """Probabilities by the logistic function of each class's score on its own.

    Parameters
    ----------
    scores : Var of float64, shape (n, 1) for two classes, else (n, count)
    count : int
        Number of classes.
    """
    each = expit(scores)
    return complement(each) if count == 2 else normalized(each, count)
