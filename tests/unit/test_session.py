"""ONNX Runtime as it is set up here: exact, and as strict as the reference."""

from __future__ import annotations

import numpy as np
import pytest
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, argument, build

from pyfunc_packaging.errors import MalformedBundle, UnsuitableData, ValuesRefused
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import MISSING_TEXT, REFUSED, OnnxSession

NUMBER = Column("x", "double", nullable=True)


def graph(**outputs):
    """A graph of one input, whose outputs are made by functions of it."""
    x = argument(Tensor(np.float64, ("n", 1)))
    return build({"x": x}, {name: make(x) for name, make in outputs.items()}).SerializeToString()


@pytest.mark.parametrize(
    ("operator", "constant"),
    [(op.mul, 1 + 1e-8), (op.div, 1 - 1e-9), (op.add, 1e-50), (op.sub, 1e-46)],
)
def test_no_operation_is_optimised_away(operator, constant):
    """ONNX Runtime leaves out what does nothing in float32, between two other operators."""
    content = graph(y=lambda x: op.neg(operator(op.abs(x), op.const(np.float64(constant)))))
    value = np.array([1e-50])
    found = OnnxSession(content, [NUMBER]).run({"x": value})["y"]
    numpy = {op.mul: np.multiply, op.div: np.divide, op.add: np.add, op.sub: np.subtract}
    assert found.ravel().tolist() == (-numpy[operator](value, constant)).tolist()


def test_what_the_graph_refuses_is_refused():
    content = graph(
        y=op.identity,
        **{REFUSED: lambda x: op.cast(op.reduce_max(op.abs(x), keepdims=False), to=np.bool_)},
    )
    session = OnnxSession(content, [NUMBER])
    assert session.run({"x": np.zeros(2)})["y"].tolist() == [[0.0], [0.0]]
    with pytest.raises(ValuesRefused, match="the model refuses these values"):
        session.run({"x": np.array([0.0, 1.0])})


def test_missing_texts_are_marked_and_the_mark_is_refused():
    text = argument(Tensor(np.str_, ("n", 1)))
    column = Column("t", "string", nullable=True)
    session = OnnxSession(
        build({"t": text}, {"y": op.identity(text)}).SerializeToString(), [column]
    )
    cells = np.array(["a", None], dtype=object)
    assert session.run({"t": cells})["y"].tolist() == [["a"], [MISSING_TEXT]]
    with pytest.raises(UnsuitableData, match=r"column 't': holds the text U\+FDD0"):
        session.run({"t": np.array([MISSING_TEXT], dtype=object)})


@pytest.mark.parametrize(
    ("column", "cells", "message"),
    [
        (Column("x", "integer", dtype="int8"), np.array([300]), "too large for int8"),
        (
            Column("x", "integer", dtype="UInt8", nullable=True),
            np.array([-1]),
            "too large for UInt8",
        ),
        (
            Column("x", "float", dtype="float16"),
            np.array([1e5], "float32"),
            "too large for float16",
        ),
        (
            Column("x", "long", dtype="Int64", nullable=True),
            np.ma.MaskedArray([2**53 + 1, 0], mask=[False, True]),
            r"an integer beyond 2\*\*53 next to missing values",
        ),
    ],
)
def test_numbers_that_the_column_could_not_hold_in_training(column, cells, message):
    session = OnnxSession(graph(y=op.identity), [column])
    with pytest.raises(UnsuitableData, match=rf"column 'x': .*{message}"):
        session.run({"x": cells})


def test_what_is_no_graph_says_so():
    with pytest.raises(MalformedBundle, match="the compiled graph does not load"):
        OnnxSession(b"\x08\x0a:nothing", [NUMBER])
