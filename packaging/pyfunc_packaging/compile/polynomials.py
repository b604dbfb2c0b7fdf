"""Compile polynomials of features: products of them."""

from __future__ import annotations

from itertools import combinations, combinations_with_replacement

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.preprocessing import PolynomialFeatures

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table


def _polynomial(estimator: PolynomialFeatures, table: Table, context: Context) -> Table:
    block = context.finite(table)
    lowest, highest = estimator._min_degree, estimator._max_degree
    products = combinations if estimator.interaction_only else combinations_with_replacement
    features = range(block.width)
    parts = [block.var] if lowest <= 1 <= highest else []
    previous = block.var
    terms: dict[tuple[int, ...], int] = {(feature,): feature for feature in features}
    for degree in range(2, highest + 1):
        wanted = list(products(features, degree))
        if not wanted:
            break
        # as scikit-learn: a term of the degree below, times the feature that comes first
        rest = op.gather(previous, ints([terms[term[1:]] for term in wanted]), axis=1)
        first = op.gather(block.var, ints([term[0] for term in wanted]), axis=1)
        previous = op.mul(rest, first)
        terms = {term: position for position, term in enumerate(wanted)}
        if degree >= lowest:
            parts.append(previous)
    if not parts:  # nothing but the bias
        parts = [op.gather(block.var, op.const(np.zeros(0, dtype=np.int64)), axis=1)]
    var = op.concat(parts, axis=1) if len(parts) > 1 else parts[0]
    if estimator.include_bias:
        var = op.pad(var, ints([0, 1, 0, 0]), const(1.0))
    # beyond two factors an infinite product may meet a zero
    result = Block(var, int(estimator.n_output_features_), nan=highest > 2)
    return Table((result,), output_names(estimator, table))


register_compiler(PolynomialFeatures, _polynomial)
