"""Class labels: from the position of a class to the label itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import spox.opset.ai.onnx.v21 as op
from spox import Var

from pyfunc_packaging.compile.arithmetic import ints
from pyfunc_packaging.compile.registry import Context
from pyfunc_packaging.compile.table import Block, Kind, Table


def labels(classes: Sequence[Any] | npt.NDArray[Any], position: Var, context: Context) -> Table:
    """One column of labels: ``classes[position]``.

    Parameters
    ----------
    classes : sequence of m labels
        All text, all integers, all booleans or all floats: an estimator's ``classes_``.
    position : Var of int64, shape (n,)
    context : Context

    Returns
    -------
    Table
    """
    values = np.asarray(classes)
    kinds: dict[str, tuple[Kind, Any]] = {
        "b": ("bool", np.bool_),
        "i": ("int", np.int64),
        "u": ("int", np.int64),
        "f": ("float", np.float64),
        "U": ("text", np.str_),
        "O": ("text", np.str_),
    }
    if values.dtype.kind not in kinds or (
        values.dtype.kind == "O" and not all(isinstance(label, str) for label in values)
    ):
        raise context.error("expected class labels that are all text or all numbers")
    kind, dtype = kinds[values.dtype.kind]
    chosen = op.gather(op.const(values.astype(dtype)), op.reshape(position, ints([-1, 1])), axis=0)
    return Table((Block(chosen, 1, kind, nan=False, inf=False),))


def most_likely(classes: Sequence[Any] | npt.NDArray[Any], scores: Var, context: Context) -> Table:
    """The label with the highest score of each row, the first of several: ``np.argmax``."""
    return labels(classes, op.arg_max(scores, axis=1, keepdims=False), context)
