"""Graphs that could keep a server busy for ever."""

from __future__ import annotations

import numpy as np
import pytest
import spox.opset.ai.onnx.v21 as op
from onnx import TensorProto, helper
from spox import Tensor, argument, build

from pyfunc_packaging.compile.distances import in_pieces
from pyfunc_packaging.errors import MalformedBundle
from pyfunc_packaging.graph_check import find_control_flow, find_operators
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import OnnxSession

X = argument(Tensor(np.float64, ("n", 1)))


def content(result):
    return build({"x": X}, {"y": result}).SerializeToString()


def loop(turns, body=op.abs):
    return op.loop(turns, op.const(np.array([True])), body=lambda _, go: [go, body(X)])[0]


def ints(*values):
    return op.const(np.array(values, dtype=np.int64))


def test_a_loop_over_rows_as_we_compile_it():
    assert find_control_flow(content(in_pieces(op.abs, X, 1000))) is None
    assert find_control_flow(content(op.abs(X))) is None


COUNT = op.shape(X, start=0, end=1)
SIZE = op.min([COUNT, ints(100)])
ASKED = op.reshape(op.cast(op.reduce_max(X, keepdims=False), to=np.int64), ints(1))


@pytest.mark.parametrize(
    "turns",
    [
        ASKED,
        ints(10**18),
        op.mul(COUNT, ints(10**18)),
        op.div(op.add(op.sub(COUNT, ints(-(10**18))), SIZE), SIZE),
        op.div(op.add(op.sub(ASKED, ints(1)), SIZE), SIZE),
        op.div(op.add(op.sub(COUNT, ints(1)), ASKED), SIZE),
        op.div(op.add(op.sub(COUNT, ints(1)), SIZE), op.min([ASKED, COUNT])),
    ],
)
def test_other_loops(turns):
    assert find_control_flow(content(loop(turns))) == "the operator 'Loop' around another graph"


def test_a_loop_within_a_loop_and_branches():
    nested = in_pieces(lambda rows: in_pieces(op.abs, rows, 10), X, 10)
    assert "'Loop'" in find_control_flow(content(nested))
    positive = op.greater(op.reduce_max(X, keepdims=False), op.const(0.0))
    (branched,) = op.if_(positive, then_branch=lambda: [op.abs(X)], else_branch=lambda: [X])
    assert "'If'" in find_control_flow(content(branched))


def test_operators_are_found_within_loops_too():
    in_loop = find_operators(content(in_pieces(op.exp, X, 1000)))
    assert {"Loop", "Exp"} <= in_loop
    assert find_operators(content(op.abs(X))) == {"Abs", "Identity"}
    with pytest.raises(ValueError, match="no ONNX model"):
        find_operators(b"\x0a\xff")


def test_functions_of_its_own():
    node = helper.make_node("Twice", ["x"], ["y"], domain="own")
    number = helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, 1])
    result = helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])
    twice = helper.make_function(
        "own",
        "Twice",
        ["a"],
        ["b"],
        [helper.make_node("Add", ["a", "a"], ["b"])],
        [helper.make_opsetid("", 21)],
    )
    model = helper.make_model(helper.make_graph([node], "g", [number], [result]), functions=[twice])
    assert find_control_flow(model.SerializeToString()) == "functions of its own"


def test_a_bundle_with_such_a_graph_is_not_loaded(tmp_path):
    file = tmp_path / "model.onnx"
    file.write_bytes(content(loop(ASKED)))
    with pytest.raises(MalformedBundle, match="holds the operator 'Loop' around another graph"):
        OnnxSession(file, [Column("x", "double")])
    with pytest.raises(MalformedBundle, match=r"to end in \.onnx"):
        OnnxSession(file.rename(tmp_path / "model.ort"), [Column("x", "double")])
