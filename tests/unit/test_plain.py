"""The short way to read a request gives what the decoder gives, or nothing."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_pyfunc.decode import Decoder
from mlserver_pyfunc.plain import Decoded, PlainReader
from pyfunc_packaging.schema import Column, Schema, Tensor

SCHEMA = Schema(
    (
        Column("price", "double", nullable=True),
        Column("area", "double", finite=True),
        Column("rooms", "long"),
        Column("city", "string", nullable=True),
        Column("street", "string"),
    )
)
DATATYPES = {column.name: column.datatype for column in SCHEMA.columns}


class Never(PlainReader):
    """Finds nothing plain, so that the decoder has to read it."""

    def read(self, *parts: Any) -> None:
        return None


def read(reader: PlainReader, tensors: Any, data: Any) -> Decoded | None:
    names, datatypes, shapes = zip(*tensors, strict=True) if tensors else ((), (), ())
    return reader.read(names, datatypes, shapes, tuple(data))


def heads(shape: Any, names: Any = tuple(DATATYPES)) -> list[tuple[Any, Any, Any]]:
    return [(name, DATATYPES[name], shape) for name in names]


def test_one_row_in_any_order() -> None:
    reader = PlainReader(SCHEMA)
    names = ("city", "rooms", "price", "street", "area")
    for _ in range(2):  # the second time it knows the order
        found = read(reader, heads([1], names), [["Bern"], [3], [0.5], [""], [2.5]])
        assert found is not None
        assert found.rows == 1
        assert {name: cells.tolist() for name, cells in found.values.items()} == {
            "price": [0.5],
            "area": [2.5],
            "rooms": [3],
            "city": ["Bern"],
            "street": [""],
        }


def test_integers_among_floats() -> None:
    data = [[1], [2**53 - 1], [1], ["a"], ["b"]]
    found = read(PlainReader(SCHEMA), heads([1]), data)
    assert found is not None
    assert found.values["price"].dtype == np.float64
    assert int(found.values["area"][0]) == 2**53 - 1


@pytest.mark.parametrize("cells", [[1.5, True], [0.0, False], [2.5, 2**53], [None, -(2**63)]])
def test_several_rows_that_are_not_plain(cells: Any) -> None:
    data = [cells, [0.5, 0.5], [1, -1], ["a", "b"], ["c", "d"]]
    assert read(PlainReader(SCHEMA), heads([2]), data) is None


def test_several_rows() -> None:
    data = [[1.5, None], [0, 1.0], [1, 0], ["a", "b"], ["c", "d"]]
    found = read(PlainReader(SCHEMA), heads([2, 1]), data)
    assert found is not None
    assert found.rows == 2
    assert np.isnan(found.values["price"][1])
    assert found.values["rooms"].dtype == np.int64


ROW: list[Any] = [[1.5], [0.5], [1], ["a"], ["b"]]


@pytest.mark.parametrize(
    ("which", "cells"),
    [
        (0, [2**53]),
        (0, [True]),
        (0, [10**400]),
        (0, [1e300]),
        (0, ["1"]),
        (0, "1"),
        (0, (1.5,)),
        (0, []),
        (0, [1.5, 2.5]),
        (1, [None]),
        (2, [1.0]),
        (2, [2**63]),
        (2, [True]),
        (3, [5]),
        (3, "a"),
        (4, [None]),
        (4, {"a": 1}),
    ],
)
def test_not_plain(which: int, cells: Any) -> None:
    data = [*ROW[:which], cells, *ROW[which + 1 :]]
    assert read(PlainReader(SCHEMA), heads([1]), data) is None


@pytest.mark.parametrize("shape", [[], [2], [1, 2], [1, 1, 1], [-1], [True], [1.0], "1", None])
def test_shape_that_is_not_plain(shape: Any) -> None:
    assert read(PlainReader(SCHEMA), heads(shape), ROW) is None


def test_inputs_that_are_not_plain() -> None:
    reader = PlainReader(SCHEMA)
    usual = heads([1])
    assert read(reader, [], []) is None
    assert read(reader, usual[1:], ROW[1:]) is None
    assert read(reader, [*usual, usual[0]], [*ROW, ROW[0]]) is None
    assert read(reader, [*usual[1:], usual[1]], ROW) is None
    assert read(reader, [([], "FP64", [1]), *usual[1:]], ROW) is None
    assert read(reader, [("price", "FP32", [1]), *usual[1:]], ROW) is None
    assert read(reader, [("price", "FP64", [2]), *usual[1:]], ROW) is None


def test_a_model_of_other_types_reads_nothing() -> None:
    for field in (Column("x", "float"), Column("x", "datetime"), Tensor("x", "float64", (-1, 2))):
        reader = PlainReader(Schema((field,)))
        assert read(reader, [("x", field.datatype, [1])], [[1.0]]) is None


def test_a_client_of_many_orders_does_not_fill_the_memory() -> None:
    names = [f"x{position}" for position in range(5)]
    reader = PlainReader(Schema(tuple(Column(name, "double") for name in names)))
    generator = np.random.default_rng(0)
    for _ in range(200):
        order = generator.permutation(names).tolist()
        found = read(reader, [(name, "FP64", [1]) for name in order], [[1.0]] * 5)
        assert found is not None
        assert len(reader._layouts) <= 16


numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
cells = {
    "FP64": st.floats(-1e3, 1e3) | st.integers(-1, 2) | numbers | st.booleans(),
    "INT64": st.integers(-(2**63), 2**63 - 1) | numbers,
    "BYTES": st.text(max_size=3) | st.none(),
}


@st.composite
def requests(draw: st.DrawFn) -> Any:
    names = draw(st.permutations(list(DATATYPES)))
    rows = draw(st.integers(0, 3))
    shape = draw(st.sampled_from([[rows], [rows, 1]]))
    data = [draw(st.lists(cells[DATATYPES[name]], min_size=rows, max_size=rows)) for name in names]
    return heads(shape, names), data


@given(requests())
def test_reads_what_the_decoder_reads(request: Any) -> None:
    found = read(PlainReader(SCHEMA), *request)
    if found is None:
        return
    expected = Decoder(SCHEMA, Never(SCHEMA)).decode(
        [
            SimpleNamespace(name=name, datatype=datatype, shape=shape, data=data, parameters=None)
            for (name, datatype, shape), data in zip(*request, strict=True)
        ]
    )
    assert isinstance(found, Decoded)
    assert found.rows == expected.rows
    assert found.values.keys() == expected.values.keys()
    for name, values in found.values.items():
        assert values.dtype == expected.values[name].dtype
        np.testing.assert_array_equal(values, expected.values[name])
