"""From raw scores to predictions: the link functions that boosted models share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import const
from pyfunc_packaging.compile.labels import labels, most_likely
from pyfunc_packaging.compile.probabilities import complement, expit, softmax
from pyfunc_packaging.compile.registry import Context
from pyfunc_packaging.compile.table import Table


def positive(classes: Sequence[Any], condition: Var, context: Context) -> Table:
    """The second of two labels where a condition holds, else the first."""
    return labels(classes, op.cast(condition, to=np.int64), context)


def inverse(loss: Any, raw: Table, context: Context) -> Table:
    """What a loss of scikit-learn makes of raw scores: predictions, or probabilities.

    Parameters
    ----------
    loss : sklearn._loss.BaseLoss
    raw : Table
        Raw scores, one column an output.
    context : Context
    """
    link = type(loss.link).__name__
    if link == "IdentityLink":
        return raw
    if link == "LogLink":
        return Table.of(op.exp(raw.x), raw.width)
    if link == "LogitLink":
        return Table.of(complement(expit(raw.x)), 2, inf=False)
    if link == "HalfLogitLink":
        return Table.of(complement(expit(op.mul(const(2.0), raw.x))), 2, inf=False)
    if link == "MultinomialLogit":
        return Table.of(softmax(raw.x), raw.width, inf=False)
    raise context.error(f"the link function {link} is not compiled")


def decided(classes: Sequence[Any], raw: Table, context: Context, *, ties: int) -> Table:
    """Labels from raw scores.

    Parameters
    ----------
    classes : sequence of labels
    raw : Table
        One column for two classes, else one a class.
    context : Context
    ties : {0, 1}
        Which of two classes a score of exactly zero means.
    """
    if raw.width > 1:
        return most_likely(classes, raw.x, context)
    compare = op.greater_or_equal if ties else op.greater
    return positive(classes, compare(raw.x, const(0.0)), context)
