"""Compile the scaling of rows to unit norm."""

from __future__ import annotations

import numpy as np
import spox.opset.ai.onnx.v21 as op
from sklearn.preprocessing import Normalizer

from pyfunc_packaging.compile.arithmetic import const, ints
from pyfunc_packaging.compile.composition import output_names
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Block, Table

#: Norms that scikit-learn takes for zero, and then for one.
_SMALLEST = 10 * np.finfo(np.float64).eps


def _normalizer(estimator: Normalizer, table: Table, context: Context) -> Table:
    block = context.finite(table)
    columns = ints([1])
    if estimator.norm == "l1":
        norms = op.reduce_sum(op.abs(block.var), columns)
    elif estimator.norm == "l2":
        norms = op.sqrt(op.reduce_sum(op.mul(block.var, block.var), columns))
    else:
        norms = op.reduce_max(op.abs(block.var), columns)
    norms = op.where(op.less(norms, const(_SMALLEST)), const(1.0), norms)
    result = Block(op.div(block.var, norms), block.width, nan=False, inf=False)
    return Table((result,), output_names(estimator, table))


register_compiler(Normalizer, _normalizer)
