"""Rows that are likely to tell a graph from the pipeline it was compiled from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from pyfunc_packaging.infer import missing_like
from pyfunc_packaging.ranges import limits
from pyfunc_packaging.schema import NUMPY_TYPES, Column
from pyfunc_packaging.session import OnnxSession

Array = npt.NDArray[Any]
Values = Mapping[str, Array]

#: Given rows that are changed in one column at a time.
BASES = 4
#: Split thresholds of a column that are tried, with one step to either side.
MAX_THRESHOLDS = 2000
#: The same times the number of trees: large forests take their time.
MAX_VISITS = 40_000

_NUMBERS: Mapping[str, float] = {
    "zero": 0.0,
    "minus zero": -0.0,
    "one": 1.0,
    "minus one": -1.0,
    "tiny": 1e-30,
    "subnormal": 5e-324,
    "large": 1e9,
    "large and negative": -1e9,
    "beyond 2**53": 2.0**53 + 2,
    "very large": 1e30,
    "beyond float32": 1e39,
    "enormous": 1e300,
    "enormous and negative": -1e300,
}
_TEXTS: Mapping[str, str] = {
    "empty": "",
    "unseen": "a text that nobody has seen in training",
    "a space": " ",
    "not ASCII": "Straße 🏠",
    "very long": "x" * 5000,
}


@dataclass(frozen=True)
class Case:
    """Rows that are unusual in one way.

    Parameters
    ----------
    name : str
        What is unusual, for messages.
    values : mapping of str to ndarray of shape (n,)
        All columns, decoded.
    """

    name: str
    values: Values


def make_cases(columns: Sequence[Column], values: Values, graph: bytes) -> Iterator[Case]:
    """Unusual rows that the signature allows.

    Parameters
    ----------
    columns : sequence of Column
    values : mapping of str to ndarray of shape (n,)
        Usual rows, to start from.
    graph : bytes
        The compiled graph, for its split thresholds.

    Yields
    ------
    Case
    """
    rows = len(next(iter(values.values())))
    positions = np.unique(np.linspace(0, rows - 1, BASES).astype(int))
    bases = {name: cells[positions] for name, cells in values.items()}
    for column in columns:
        for name, changed in _changes(column, bases[column.name]):
            yield Case(f"{name} in {column.name!r}", {**bases, column.name: changed})
    optional = [column for column in columns if column.nullable]
    if optional:
        absent = {column.name: missing_like(bases[column.name]) for column in optional}
        yield Case("everything missing that may be", {**bases, **absent})
    texts = [column for column in columns if column.type == "string" and not column.closed]
    if texts:
        unseen = {column.name: _same(bases[column.name], _TEXTS["unseen"]) for column in texts}
        yield Case("every text unseen", {**bases, **unseen})
    numbers = [column for column in columns if column.type in ("double", "float", "long")]
    if numbers:
        for name in ("zero", "one", "minus one"):
            same = {
                column.name: np.full(len(positions), _NUMBERS[name], NUMPY_TYPES[column.type])
                for column in numbers
            }
            yield Case(f"{name} in every number", {**bases, **same})
    for name, thresholds in _thresholds(columns, values, graph).items():
        cells = _beside(thresholds, values[name])
        row = {other: np.repeat(array[:1], len(cells)) for other, array in bases.items()}
        yield Case(f"split thresholds of {name!r}", {**row, name: cells})


def _same(values: Array, text: str) -> Array:
    return np.full(len(values), text, dtype=object)


def _changes(column: Column, base: Array) -> Iterator[tuple[str, Array]]:
    if column.nullable:
        yield "a missing value", missing_like(base)
    if column.type in ("double", "float"):
        limit = float(np.finfo(NUMPY_TYPES[column.type]).max)
        for name, number in _NUMBERS.items():
            if abs(number) <= limit:
                yield name, np.full_like(base, number)
        usual = np.abs(base[np.isfinite(base)])
        yield "a million times the usual", np.full_like(base, 1e6 * usual.max(initial=1.0))
        yield "the sign changed", -base
        if not column.finite:
            yield "infinity", np.full_like(base, np.inf)
            yield "minus infinity", np.full_like(base, -np.inf)
    elif column.type in ("integer", "long"):
        lowest, highest = int(np.iinfo(base.dtype).min), int(np.iinfo(base.dtype).max)
        low, high = limits(column.dtype) or (lowest, highest)
        low, high = max(int(low), lowest), min(int(high), highest)
        for number in (0, 1, -1, 7, 1000, high, low):
            if low <= number <= high:
                yield f"the integer {number}", np.full(len(base), number, base.dtype)
    elif column.type == "boolean":
        yield "true", np.ones(len(base), dtype=bool)
        yield "false", np.zeros(len(base), dtype=bool)
    elif column.type == "datetime":  # no graph depends on these two, so no answer may
        for day in ("1970-01-01", "2100-01-01"):
            yield f"the date {day}", np.full_like(base, np.datetime64(day))
    elif column.type == "binary":
        yield "no bytes", np.full_like(base, b"")
    elif column.type == "string":
        for name, text in _TEXTS.items():
            yield f"{name} text", _same(base, text)
        yield (
            "another case",
            np.array([None if t is None else t.swapcase() for t in base], dtype=object),
        )


# --- split thresholds -------------------------------------------------------------------------


def _thresholds(columns: Sequence[Column], values: Values, graph: bytes) -> dict[str, Array]:
    """Split thresholds of the graph's trees, by the column that they are compared with."""
    proto = onnx.load_from_string(graph)
    ensembles = [node for node in proto.graph.node if node.op_type == "TreeEnsemble"]
    numeric = [column for column in columns if column.type in ("double", "float")]
    if not ensembles or not numeric:
        return {}
    inputs = _intermediate(proto, [node.input[0] for node in ensembles], columns, values)
    found: dict[str, list[Array]] = {}
    roots = 0
    for node, features in zip(ensembles, inputs, strict=True):
        attributes = {attribute.name: attribute for attribute in node.attribute}
        ids = np.array(attributes["nodes_featureids"].ints)
        roots += len(attributes["tree_roots"].ints)
        splits = numpy_helper.to_array(attributes["nodes_splits"].t).astype(np.float64)
        for column in numeric:
            cells = values[column.name][: len(features)]
            same = _equal_columns(features, cells)
            found.setdefault(column.name, []).append(splits[np.isin(ids, same)])
    limit = min(MAX_THRESHOLDS, MAX_VISITS // roots + 1)
    result = {}
    for name, parts in found.items():
        thresholds = np.unique(np.concatenate(parts))
        # a split of missing values from all others is at infinity
        thresholds = thresholds[np.isfinite(thresholds)]
        if len(thresholds) > limit:
            chosen = np.linspace(0, len(thresholds) - 1, limit).astype(int)
            thresholds = thresholds[chosen]
        if len(thresholds):
            result[name] = thresholds
    return result


def _intermediate(
    proto: Any, tensors: Sequence[str], columns: Sequence[Column], values: Values
) -> list[Array]:
    """What flows inside a graph, on some rows."""
    _drop_all_but(proto, tensors)
    del proto.graph.output[:]
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name)  # of a type that follows from the graph
        for name in dict.fromkeys(tensors)
    )
    session = OnnxSession(proto.SerializeToString(), columns)
    results = session.run({name: cells[:100] for name, cells in values.items()})
    return [results[name] for name in tensors]


def _drop_all_but(proto: Any, tensors: Sequence[str]) -> None:
    """Drop the nodes that no tensor depends on: trees, mostly, which take long to load."""
    needed = set(tensors)
    for position in reversed(range(len(proto.graph.node))):
        node = proto.graph.node[position]
        if needed.isdisjoint(node.output):
            del proto.graph.node[position]
        else:
            needed.update(node.input)


def _equal_columns(features: Array, cells: Array) -> list[int]:
    """Which columns of a matrix hold a column's values as they are, or as float32."""
    known = ~np.isnan(cells)
    with np.errstate(over="ignore"):
        narrow = cells.astype(np.float32).astype(np.float64)
    return [
        position
        for position, column in enumerate(features.T)
        if known.any()
        and (
            np.array_equal(column[known], cells[known])
            or np.array_equal(column[known], narrow[known])
        )
    ]


def _beside(thresholds: Array, like: Array) -> Array:
    """Values on thresholds and one step beside them, in float64 and in float32."""
    with np.errstate(over="ignore"):  # a step beyond the largest number is infinite
        near = thresholds.astype(np.float32)
        narrow = [np.nextafter(near, np.float32(side)) for side in (-np.inf, np.inf)]
        if like.dtype == np.float32:
            cells = np.concatenate([near, *narrow])
        else:
            steps = [np.nextafter(thresholds, side) for side in (-np.inf, np.inf)]
            halves = [(part.astype(np.float64) + near.astype(np.float64)) / 2 for part in narrow]
            cells = np.concatenate([thresholds, *steps, near, *narrow, *halves])
    return np.unique(cells[np.isfinite(cells)].astype(like.dtype))
