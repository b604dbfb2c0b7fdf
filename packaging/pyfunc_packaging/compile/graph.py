"""From a fitted estimator on named columns to one ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, Var, argument, build

from pyfunc_packaging.compile.registry import MAX_BYTES, Context, any_of
from pyfunc_packaging.compile.table import Block, ForeignBlock, ForeignColumn, Kind, Table
from pyfunc_packaging.compile.trees import fill
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import REFUSED, input_dtype

#: MLflow's types that graphs have no input for.
FOREIGN = frozenset({"binary", "datetime"})


def build_graph(
    model: Any,
    columns: Sequence[Column],
    *,
    method: str | Mapping[str, str] = "predict",
    flat: bool | None = None,
) -> bytes:
    """Compile a fitted estimator to an ONNX model, which nothing has proven yet.

    Parameters
    ----------
    model : estimator
        Fitted, on a DataFrame with these columns.
    columns : sequence of Column
        The graph's inputs, each of shape (n, 1), in the order of the DataFrame.
    method : str or mapping of str to str
        What to compile, such as ``"predict"`` or ``"predict_proba"``; the output, of shape (n,) or
        (n, k), is called ``"prediction"``. Or several methods, by the name of their output; what
        they have in common is in the graph once.
    flat : bool, optional
        Whether what ``predict`` returns has shape (n,) and not (n, 1), where it is one value a
        row. By default as of a model that was fitted on a target of shape (n,).

    Returns
    -------
    bytes
        The ONNX model; operators of the domains ``ai.onnx`` and ``ai.onnx.ml`` alone.

    Raises
    ------
    NotCompilable
        Naming the step that cannot be compiled and the reason.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> X = pd.DataFrame({"rooms": [2.0, 3.0, 5.0]})
    >>> model = LinearRegression().fit(X, [20.0, 30.0, 50.0])
    >>> graph = build_graph(model, [Column("rooms", "double")])
    >>> from pyfunc_packaging.session import OnnxSession
    >>> session = OnnxSession(graph, [Column("rooms", "double")])
    >>> session.run({"rooms": np.array([4.0])})["prediction"].round(6)
    array([40.])
    """
    methods = {"prediction": method} if isinstance(method, str) else method
    _check_names(methods, columns)
    inputs = {
        column.name: argument(Tensor(input_dtype(column), ("n", 1)))
        for column in columns
        if column.type not in FOREIGN
    }
    table = Table(
        tuple(_block(column, inputs.get(column.name)) for column in columns),
        tuple(column.name for column in columns),
    )
    context = Context()
    outputs = {}
    for name, each in methods.items():
        one_a_row = each == "decision_function" or (each == "predict" and flat is not False)
        result = context.compile(model, table, method=each)
        outputs[name] = _tensor(result, flat=one_a_row)
    if context.refusals:
        outputs[REFUSED] = _together(context.refusals)
    proto = build(inputs, outputs, drop_unused_inputs=True)
    fill(proto, context.large)
    proto.producer_name = "mlserver-pyfunc"
    if proto.ByteSize() > MAX_BYTES:
        raise NotCompilable(
            "",
            f"the graph would have {proto.ByteSize() / 2**20:,.0f} MiB, expected at most"
            f" {MAX_BYTES // 2**20} MiB; train fewer or smaller trees",
        )
    onnx.checker.check_model(proto)
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _check_names(methods: Mapping[str, str], columns: Sequence[Column]) -> None:
    """Refuse names that a graph cannot hold beside each other."""
    for name in methods:
        if name == REFUSED or not name:
            raise NotCompilable("", f"a graph has no place for an output called {name!r}")
        if name in {column.name for column in columns}:
            raise NotCompilable("", f"the output {name!r} is called as a column is; rename one")
    for column in columns:
        if column.name in (REFUSED, ""):
            raise NotCompilable("", f"a graph has no place for a column called {column.name!r}")


def _together(conditions: Sequence[Var]) -> Var:
    """A single condition as it is, since whoever reads it is faster; several as one bool."""
    first, *others = conditions
    if not others:
        return first
    together = any_of(first)
    for condition in others:
        together = op.or_(together, any_of(condition))
    return together


def _block(column: Column, var: Var | None) -> Block:
    if var is None:
        return ForeignBlock(column)
    dtype = input_dtype(column)
    if dtype is np.float64:
        return Block(var, 1, "float", nan=column.nullable, inf=not column.finite, origin=column)
    if dtype is np.str_:
        return Block(var, 1, "text", nan=column.nullable, inf=False, origin=column)
    kind: Kind = "int" if dtype is np.int64 else "bool"
    return Block(var, 1, kind, nan=False, inf=False, origin=column)


def _tensor(table: Table, *, flat: bool) -> Var:
    """The result as scikit-learn shapes it: one value a row, or a matrix."""
    try:
        table.check_inputs()
    except ForeignColumn as error:
        raise NotCompilable("", f"the result holds a column as it is: {error}") from error
    if len({block.kind for block in table.blocks}) == 1:
        parts = [block.var for block in table.blocks]
        var = parts[0] if len(parts) == 1 else op.concat(parts, axis=1)
    elif table.text:
        raise NotCompilable("", "the result holds texts beside numbers, which no tensor can")
    else:
        var = table.x
    if flat and table.width == 1:
        return op.reshape(var, op.const(np.array([-1], dtype=np.int64)))
    return var
