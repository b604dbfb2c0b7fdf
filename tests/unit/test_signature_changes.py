"""What `pyfunc compare` calls breaking is what the server's own decoder refuses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mlserver_pyfunc.decode import Decoder
from pyfunc_packaging.errors import InvalidRequest
from pyfunc_packaging.schema import DATATYPES, Column, Schema, Tensor
from pyfunc_packaging.signature_changes import Change, compare_signatures

#: The values of each type that are hardest to take.
EXTREMES = {
    "boolean": [True, False],
    "integer": [-(2**31), 0, 2**31 - 1],
    "long": [-(2**53) + 1, 0, 2**53],  # beyond is what the page leaves out
    "float": [3.4028234663852886e38, 1e-45, 0.5],
    "double": [1.7976931348623157e308, 5e-324, 0.1],
    "string": ["", "a"],
    "binary": ["", "YQ=="],
    "datetime": ["2026-01-01T00:00:00Z", "1970-01-01T00:00:00Z"],
}


def changes(old: Column, new: Column, **texts: Any) -> tuple[Change, ...]:
    return compare_signatures(Schema((old,)), Schema((new,)), **texts)


def takes(new: Schema, old: Schema, cells: list[Any]) -> bool:
    """Whether a model takes the requests of those who call another one."""
    requests = [
        SimpleNamespace(
            name=field.name,
            shape=[len(cells)],
            datatype=field.datatype,
            data=cells,
            parameters=None,
        )
        for field in old.inputs
    ]
    try:
        Decoder(new).decode(requests)
    except InvalidRequest:
        return False
    return True


@pytest.mark.parametrize("old", DATATYPES)
@pytest.mark.parametrize("new", DATATYPES)
def test_types(old: str, new: str) -> None:
    before, after = Schema((Column("x", old),)), Schema((Column("x", new),))
    found = compare_signatures(before, after)
    assert takes(before, before, EXTREMES[old])
    if old == new:
        assert found == ()
        return
    (change,) = found
    assert (change.side, change.name, change.what) == ("input", "x", "type")
    assert (change.before, change.after) == (old, new)
    texts = {"string", "binary", "datetime"}
    if {old, new} <= texts:
        assert change.breaking  # all are BYTES, and other texts mean other things
    else:
        assert change.breaking is not takes(after, before, EXTREMES[old])


@pytest.mark.parametrize("nullable", [(False, True), (True, False)])
def test_missing_values(nullable: tuple[bool, bool]) -> None:
    old, new = (Column("x", "double", nullable=each) for each in nullable)
    (change,) = changes(old, new)
    assert change.what == "missing values"
    assert change.breaking is nullable[0]
    assert change.breaking is not takes(Schema((new,)), Schema((old,)), [1.0, None])


def test_columns_added_and_removed() -> None:
    one, two = Column("one", "double"), Column("two", "double", nullable=True)
    few, many = Schema((one,)), Schema((one, two))
    (added,) = compare_signatures(few, many)
    assert (added.name, added.what, added.breaking) == ("two", "added", True)
    assert not takes(many, few, [1.0])
    (removed,) = compare_signatures(many, few)
    assert (removed.name, removed.what, removed.breaking) == ("two", "removed", True)
    assert not takes(few, many, [1.0])


def test_order_means_nothing() -> None:
    one, two = Column("one", "double"), Column("two", "double")
    assert compare_signatures(Schema((one, two)), Schema((two, one))) == ()


def test_infinite_numbers_are_reported_only() -> None:
    open_, finite = Column("x", "double"), Column("x", "double", finite=True)
    for old, new, words in ((open_, finite, "refused now"), (finite, open_, "taken now")):
        (change,) = changes(old, new)
        assert (change.what, change.breaking) == ("infinite numbers", False)
        assert change.reason.endswith(words)


@pytest.mark.parametrize(
    ("closed", "texts", "breaking", "reason"),
    [
        ((False, True), (["a"], ["a"]), True, "texts that the new model was not trained on"),
        ((True, False), (["a"], ["a"]), False, "texts that the model was not trained on are taken"),
        ((True, True), (["a", "b"], ["a", "c"]), True, "refused: 'b'; new: 'c'"),
        ((True, True), (["a"], ["a", "c"]), False, "new: 'c'"),
        ((False, False), (["a", "b"], ["a"]), False, "unknown to the model: 'b'"),
        ((True, True), (list("abcdefgh"), []), True, "refused: 'a', 'b', 'c', 'd', 'e' and 3 more"),
    ],
)
def test_categories(
    closed: tuple[bool, bool], texts: tuple[list[str], list[str]], breaking: bool, reason: str
) -> None:
    old, new = (Column("x", "string", closed=each) for each in closed)
    (change,) = changes(old, new, old_texts={"x": texts[0]}, new_texts={"x": texts[1]})
    assert (change.what, change.breaking) == ("categories", breaking)
    assert change.reason.startswith(reason)


def test_categories_that_nobody_knows_are_passed_over() -> None:
    column = Column("x", "string", closed=True)
    assert changes(column, column, old_texts={"x": ["a"]}) == ()


PRICE = Column("price", "double")
CHANCES = Tensor("probability", "float64", (-1, 2), ("no", "yes"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([PRICE], [PRICE], []),
        ([PRICE], [PRICE, CHANCES], [("probability", "added", False)]),
        ([PRICE, CHANCES], [CHANCES], [("price", "removed", True)]),
        ([PRICE, CHANCES], [CHANCES, PRICE], []),
        (
            [PRICE],
            [replace(PRICE, name="value")],
            [("price", "removed", True), ("value", "added", False)],
        ),
        ([PRICE], [replace(PRICE, type="float")], [("price", "type", True)]),
        (
            [Tensor("y", "float64", (-1,))],
            [Tensor("y", "float64", (-1, 2))],
            [("y", "shape", True)],
        ),
        (
            [CHANCES],
            [replace(CHANCES, classes=("yes", "no"))],
            [("probability", "classes", True)],
        ),
        (
            [CHANCES],
            [replace(CHANCES, shape=(-1, 3), classes=("no", "yes", "maybe"))],
            [("probability", "shape", True), ("probability", "classes", True)],
        ),
    ],
)
def test_outputs(old: list[Any], new: list[Any], expected: list[tuple[str, str, bool]]) -> None:
    found = compare_signatures(Schema((), tuple(old)), Schema((), tuple(new)))
    assert {each.side for each in found} <= {"output"}
    assert [(each.name, each.what, each.breaking) for each in found] == expected


def test_tensors_as_inputs() -> None:
    old, new = Tensor("x", "float32", (-1, 4)), Tensor("x", "float32", (-1, 5))
    (change,) = compare_signatures(Schema((old,)), Schema((new,)))
    assert (change.what, change.breaking) == ("shape", True)
    (change,) = compare_signatures(Schema((old,)), Schema((Column("x", "float"),)))
    assert (change.before, change.after) == ("float32 [-1, 4]", "float")
