"""Compile naive Bayes classifiers: the logarithm of each class's joint likelihood."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn import naive_bayes
from spox import Var

from pyfunc_packaging.compile.arithmetic import const, ints, log1p
from pyfunc_packaging.compile.labels import most_likely
from pyfunc_packaging.compile.linear import product
from pyfunc_packaging.compile.probabilities import row_sum
from pyfunc_packaging.compile.registry import Compiler, Context, register_compiler, shared
from pyfunc_packaging.compile.table import Table

#: Columns up to which sums are taken in order, with a few operators for each.
FEW = 16

#: From model, table and context to a matrix of shape (n, classes).
Likelihood = Callable[[Any, Table, Context], Var]


@shared
def _gaussian(model: naive_bayes.GaussianNB, table: Table, context: Context) -> Var:
    x = context.finite(table).var
    volume = np.array([-0.5 * np.sum(np.log(2.0 * np.pi * row)) for row in model.var_])
    distances = _distances(model, x) if table.width > FEW else _distances_in_order(model, x)
    half = op.mul(const(0.5), distances)
    return op.add(const(np.log(model.class_prior_)), op.sub(const(volume), half))


def _distances(model: naive_bayes.GaussianNB, x: Var) -> Var:
    """Squared distances to the classes in units of their variance, of shape (n, classes)."""
    found = []
    for mean, variance in zip(model.theta_, model.var_, strict=True):
        centred = op.sub(x, const(mean))
        found.append(row_sum(op.div(op.mul(centred, centred), const(variance))))
    return op.concat(found, axis=1)


def _distances_in_order(model: naive_bayes.GaussianNB, x: Var) -> Var:
    """The same, with all digits: summed from the first column to the last as numpy does.

    One minus a probability near one has few digits left, so the last one counts.
    """
    total = None
    for number, (mean, variance) in enumerate(zip(model.theta_.T, model.var_.T, strict=True)):
        centred = op.sub(op.gather(x, ints([number]), axis=1), const(mean))
        each = op.div(op.mul(centred, centred), const(variance))
        total = each if total is None else op.add(total, each)
    if total is None:
        raise ValueError("expected at least one column")
    return total


@shared
def _multinomial(model: naive_bayes.MultinomialNB, table: Table, context: Context) -> Var:
    return product(context.finite(table).var, model.feature_log_prob_, model.class_log_prior_)


@shared
def _complement(model: naive_bayes.ComplementNB, table: Table, context: Context) -> Var:
    offset = model.class_log_prior_ if len(model.classes_) == 1 else 0.0
    return product(context.finite(table).var, model.feature_log_prob_, offset)


@shared
def _bernoulli(model: naive_bayes.BernoulliNB, table: Table, context: Context) -> Var:
    x = context.finite(table).var
    if model.binarize is not None:
        x = op.cast(op.greater(x, const(model.binarize)), to=np.float64)
    with np.errstate(invalid="ignore"):  # numbers beyond 1 count as more than certain
        absent = np.log(1 - np.exp(model.feature_log_prob_))
    offset = model.class_log_prior_ + absent.sum(axis=1)
    return product(x, model.feature_log_prob_ - absent, offset)


@shared
def _categorical(model: naive_bayes.CategoricalNB, table: Table, context: Context) -> Var:
    context.refuse_missing(table)
    total = None
    for block, known in zip(table.columns(), model.feature_log_prob_, strict=True):
        code = op.squeeze(block.to_float().var, ints([1]))
        # the reference cuts off what follows the point, and has no category beyond the known
        inside = op.and_(op.greater(code, const(-1.0)), op.less(code, const(float(known.shape[1]))))
        context.refuse(op.not_(inside))
        position = op.cast(op.where(inside, code, const(0.0)), to=np.int64)
        each = op.gather(const(known.T), position, axis=0)
        total = each if total is None else op.add(total, each)
    if total is None:
        raise context.error("no column is left")
    return op.add(total, const(model.class_log_prior_))


def _predict(likelihood: Likelihood) -> Compiler:
    def compile_predict(model: Any, table: Table, context: Context) -> Table:
        return most_likely(model.classes_, likelihood(model, table, context), context)

    return compile_predict


def _log_sum_exp(x: Var) -> Var:
    """``scipy.special.logsumexp`` of each row, of shape (n, 1): the largest apart."""
    zero = const(0.0)
    highest = op.reduce_max(x, ints([1]))
    is_highest = op.equal(x, highest)
    count = row_sum(op.cast(is_highest, to=np.float64))
    rest = row_sum(op.where(is_highest, zero, op.exp(op.sub(x, highest))))
    return op.add(op.add(log1p(op.div(rest, count)), op.log(count)), highest)


def _predict_proba(likelihood: Likelihood) -> Compiler:
    def compile_predict_proba(model: Any, table: Table, context: Context) -> Table:
        joint = likelihood(model, table, context)
        # not softmax: the reference rounds the logarithm of the sum, which is large, once more
        return Table.of(op.exp(op.sub(joint, _log_sum_exp(joint))), len(model.classes_))

    return compile_predict_proba


for _class, _likelihood in (
    (naive_bayes.BernoulliNB, _bernoulli),
    (naive_bayes.CategoricalNB, _categorical),
    (naive_bayes.ComplementNB, _complement),
    (naive_bayes.GaussianNB, _gaussian),
    (naive_bayes.MultinomialNB, _multinomial),
):
    register_compiler(_class, _predict(_likelihood), method="predict")
    register_compiler(_class, _predict_proba(_likelihood), method="predict_proba")
