"""Compile linear classifiers and discriminant analysis: a score for every class."""

from __future__ import annotations

from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn import linear_model, svm
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.labels import most_likely
from pyfunc_packaging.compile.linear import decision
from pyfunc_packaging.compile.links import decided
from pyfunc_packaging.compile.probabilities import (
    complement,
    expit,
    normalized,
    one_against_rest,
    row_sum,
    softmax,
)
from pyfunc_packaging.compile.registry import Context, register_compiler, shared
from pyfunc_packaging.compile.table import Block, Table

#: Classifiers with a linear decision function: for two classes one score, that of the second.
CLASSIFIERS = (
    LinearDiscriminantAnalysis,
    linear_model.LogisticRegression,
    linear_model.LogisticRegressionCV,
    linear_model.Perceptron,
    linear_model.RidgeClassifier,
    linear_model.RidgeClassifierCV,
    linear_model.SGDClassifier,
    svm.LinearSVC,
)
#: A classifier that scikit-learn 1.10 will no longer have.
DEPRECATED = "PassiveAggressiveClassifier"
LOGISTIC = (linear_model.LogisticRegression, linear_model.LogisticRegressionCV)
RIDGE = (linear_model.RidgeClassifier, linear_model.RidgeClassifierCV)


def _predict(model: Any, table: Table, context: Context) -> Table:
    return decided(model.classes_, decision(model, table, context), context, ties=0)


def _ridge_predict(model: Any, table: Table, context: Context) -> Table:
    if not model._label_binarizer.y_type_.startswith("multilabel"):
        return _predict(model, table, context)
    scores = decision(model, table, context)
    chosen = op.cast(op.greater(scores.x, const(0.0)), to=np.int64)
    return Table((Block(chosen, scores.width, "int", nan=False, inf=False),))


def _logistic(model: Any, table: Table, context: Context) -> Table:
    scores, count = decision(model, table, context), len(model.classes_)
    if count == 2:
        return Table.of(one_against_rest(scores.x, count), count)
    return Table.of(softmax(scores.x), count)


def _stochastic(model: linear_model.SGDClassifier, table: Table, context: Context) -> Table:
    scores, count = decision(model, table, context), len(model.classes_)
    if model.loss == "log_loss":
        return Table.of(one_against_rest(scores.x, count), count)
    if model.loss != "modified_huber":
        raise context.error(f"loss={model.loss!r} has no probabilities")
    clipped = op.clip(scores.x, const(-1.0), const(1.0))
    each = op.div(op.add(clipped, const(1.0)), const(2.0))
    return Table.of(complement(each) if count == 2 else normalized(each, count), count)


# --- discriminant analysis --------------------------------------------------------------------


def _discriminant(model: LinearDiscriminantAnalysis, table: Table, context: Context) -> Table:
    scores, count = decision(model, table, context).x, len(model.classes_)
    return Table.of(complement(expit(scores)) if count == 2 else softmax(scores), count)


def _projection(model: LinearDiscriminantAnalysis, table: Table, context: Context) -> Table:
    if model.solver == "lsqr":
        raise context.error("solver='lsqr' has no transform")
    x = context.finite(table).var
    if model.solver == "svd":
        x = op.sub(x, const(model.xbar_))
    directions = np.asarray(model.scalings_)[:, : model._max_components]
    width = directions.shape[1]
    result = Block(op.matmul(x, const(directions)), width, nan=False)
    return Table((result,), output_names(model, table))


@shared
def _log_posterior(model: QuadraticDiscriminantAnalysis, table: Table, context: Context) -> Var:
    x = context.finite(table).var
    distances = []
    for rotation, scaling, mean in zip(
        model.rotations_, model.scalings_, model.means_, strict=True
    ):
        centred = op.sub(x, const(mean))
        turned = op.matmul(centred, const(rotation * (scaling ** (-0.5))))
        distances.append(row_sum(op.mul(turned, turned)))
    volume = np.asarray([np.sum(np.log(scaling)) for scaling in model.scalings_])
    total = op.mul(const(-0.5), op.add(op.concat(distances, axis=1), const(volume)))
    return op.add(total, const(np.log(model.priors_)))


def _quadratic_predict(
    model: QuadraticDiscriminantAnalysis, table: Table, context: Context
) -> Table:
    return most_likely(model.classes_, _log_posterior(model, table, context), context)


def _quadratic_proba(model: QuadraticDiscriminantAnalysis, table: Table, context: Context) -> Table:
    return Table.of(softmax(_log_posterior(model, table, context)), len(model.classes_))


def _quadratic_decision(
    model: QuadraticDiscriminantAnalysis, table: Table, context: Context
) -> Table:
    scores, count = _log_posterior(model, table, context), len(model.classes_)
    if count > 2:
        return Table.of(scores, count)
    first, second = op.split(scores, axis=1, num_outputs=2)
    return Table.of(op.sub(second, first), 1)


_classifiers = [*CLASSIFIERS]
if hasattr(linear_model, DEPRECATED):
    _classifiers.append(getattr(linear_model, DEPRECATED))
for _class in _classifiers:
    register_compiler(_class, decision, method="decision_function")
    register_compiler(_class, _predict, method="predict")
for _class in RIDGE:
    register_compiler(_class, _ridge_predict, method="predict")
for _class in LOGISTIC:
    register_compiler(_class, _logistic, method="predict_proba")
register_compiler(linear_model.SGDClassifier, _stochastic, method="predict_proba")
register_compiler(LinearDiscriminantAnalysis, _discriminant, method="predict_proba")
register_compiler(LinearDiscriminantAnalysis, _projection, method="transform")
register_compiler(QuadraticDiscriminantAnalysis, _quadratic_predict, method="predict")
register_compiler(QuadraticDiscriminantAnalysis, _quadratic_proba, method="predict_proba")
register_compiler(QuadraticDiscriminantAnalysis, _quadratic_decision, method="decision_function")
