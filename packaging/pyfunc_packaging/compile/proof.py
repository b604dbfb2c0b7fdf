"""Prove a graph equal to the pipeline that it was compiled from, or say where it is not."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import threadpoolctl

from pyfunc_packaging.compile.adversarial import Case, make_cases
from pyfunc_packaging.errors import NotCompilable, UnsuitableData
from pyfunc_packaging.frame import from_frame, to_frame
from pyfunc_packaging.schema import Schema
from pyfunc_packaging.session import OnnxSession

Array = npt.NDArray[Any]
Values = Mapping[str, Array]

#: Largest relative difference at which two float64 predictions are taken for equal.
TOLERANCE = 1e-9
#: What a difference is relative to at least, as a part of the usual prediction: a sum that
#: happens to cancel out to nearly nothing is not known to nine digits by either engine.
FLOOR = 1e-6
#: Given rows that are compared.
MAX_ROWS = 20_000
BATCHES = (1, 2, 7)


@dataclass(frozen=True)
class Proof:
    """How equal graph and reference were found.

    Parameters
    ----------
    rows : int
        Rows compared: given ones and adversarial ones.
    refused : int
        Adversarial cases that both engines refuse.
    max_absolute, max_relative : float
        Largest differences between the predictions.
    seconds : mapping of str to mapping of str to float
        Median time of a call with one row and with ``MAX_ROWS`` or all given rows, by engine.
    """

    rows: int
    refused: int
    max_absolute: float
    max_relative: float
    seconds: Mapping[str, Mapping[str, float]]


class _Difference:
    """The largest differences seen so far."""

    def __init__(self, expected: Values) -> None:
        self.absolute = self.relative = 0.0
        self._floors = {name: FLOOR * _usual(array) for name, array in expected.items()}

    def add(self, expected: Values, found: Values, where: str) -> None:
        for name, array in expected.items():
            self._add(
                array,
                found[name],
                where if len(expected) == 1 else f"{name} of {where}",
                self._floors[name],
            )

    def _add(self, expected: Array, found: Array, where: str, floor: float) -> None:
        if expected.shape != found.shape:
            raise NotCompilable(
                "", f"{where}: expected predictions of shape {expected.shape}, got {found.shape}"
            )
        if expected.dtype.kind not in "f":
            there = ~(pd.isna(expected) | pd.isna(found))
            wrong = pd.isna(expected) != pd.isna(found)
            wrong[there] = expected.astype(object)[there] != found.astype(object)[there]
            if wrong.any():
                raise NotCompilable("", f"{where}: {int(wrong.sum())} prediction(s) differ")
            return
        expected, found = expected.astype(np.float64), found.astype(np.float64)
        same = (expected == found) | (np.isnan(expected) & np.isnan(found))
        with np.errstate(all="ignore"):
            absolute = np.where(same, 0.0, np.abs(expected - found))
            scale = np.maximum(np.abs(expected), floor)
            relative = np.where(same, 0.0, absolute / scale)
        bad = ~(relative <= TOLERANCE)
        if bad.any():
            worst = np.unravel_index(np.nanargmax(np.where(bad, absolute, -1.0)), bad.shape)
            raise NotCompilable(
                "",
                f"{where}: {int(bad.sum())} of {bad.size} predictions differ by more than"
                f" {TOLERANCE:g}; the pipeline predicts {expected[worst]!r}, the graph"
                f" {found[worst]!r}",
            )
        self.absolute = max(self.absolute, float(absolute.max(initial=0.0)))
        self.relative = max(self.relative, float(relative.max(initial=0.0)))


def _usual(array: Array) -> float:
    """How large a number among predictions is that is neither large nor small."""
    known = array[np.isfinite(array)] if array.dtype.kind == "f" else np.empty(0)
    return float(np.median(np.abs(known))) if known.size else 1.0


def _take(values: Values, start: int, stop: int) -> Values:
    return {name: cells[start:stop] for name, cells in values.items()}


def prove(
    predict: Callable[[pd.DataFrame], Values],
    graph: bytes,
    schema: Schema,
    rows: pd.DataFrame,
) -> Proof:
    """Compare a graph with its reference on given and on adversarial rows.

    Parameters
    ----------
    predict : callable
        The reference: from a DataFrame to arrays, by the names of the graph's outputs.
    graph : bytes
        From :func:`pyfunc_packaging.compile.build_graph`.
    schema : Schema
    rows : pandas.DataFrame
        Usual rows; at most `MAX_ROWS` of them are compared.

    Returns
    -------
    Proof

    Raises
    ------
    NotCompilable
        Where the two differ, naming the rows, or where only one of them refuses.
    """
    with threadpoolctl.threadpool_limits(1):  # as both engines are served, and timed
        try:
            return _prove(predict, graph, schema, rows)
        except NotCompilable as error:
            raise NotCompilable(error.step, error.reason + _hint(schema)) from error


def _hint(schema: Schema) -> str:
    """What is likely the cause of a difference: columns in which scikit-learn computes less."""
    names = [column.name for column in schema.columns if column.type == "float"]
    if not names:
        return ""
    wide = ", ".join(f'{name!r}: "float64"' for name in names)
    return (
        f"; the column(s) {', '.join(map(repr, names))} are float32, in which scikit-learn computes"
        f" where it can, while graphs compute in float64: try X.astype({{{wide}}}) before fit"
    )


def _prove(
    predict: Callable[[pd.DataFrame], Values], graph: bytes, schema: Schema, rows: pd.DataFrame
) -> Proof:
    columns = schema.columns
    compiled = OnnxSession(graph, columns).run
    given = from_frame(schema, _sample(rows))
    count = len(next(iter(given.values())))

    def reference(values: Values) -> Values:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # unusual rows may well warn
            return predict(to_frame(columns, values))

    begun = time.perf_counter()
    expected = reference(given)
    middle = time.perf_counter()
    found = compiled(given)
    first = {"pyfunc": middle - begun, "onnx": time.perf_counter() - middle}
    difference = _Difference(expected)
    difference.add(expected, found, "the given rows")
    for size in BATCHES:
        for start in range(0, min(count, 3 * size), size):
            part = _take(expected, start, start + size)
            found = compiled(_take(given, start, start + size))
            difference.add(part, found, f"batches of {size}")
    tried, refused = count, 0
    groups: dict[Any, list[tuple[Case, Values]]] = {}
    for case in make_cases(columns, given, graph):
        tried += _length(case)
        try:
            found = compiled(case.values)
        except UnsuitableData:
            refused += _compare_rows(reference, compiled, difference, case)
            continue
        kinds = tuple((type(cells), cells.dtype.str) for cells in case.values.values())
        groups.setdefault(kinds, []).append((case, found))
    for group in groups.values():
        refused += _compare(reference, compiled, difference, group)
    seconds = {
        "one row": _time(reference, compiled, given, 1, {}),
        f"{count:,} rows": _time(reference, compiled, given, count, first),
    }
    return Proof(tried, refused, difference.absolute, difference.relative, seconds)


def _sample(rows: pd.DataFrame) -> pd.DataFrame:
    if len(rows) <= MAX_ROWS:
        return rows
    return rows.iloc[np.linspace(0, len(rows) - 1, MAX_ROWS).astype(int)]


def _length(case: Case) -> int:
    return len(next(iter(case.values.values())))


def _compare(
    reference: Callable[[Values], Values],
    compiled: Callable[[Values], Values],
    difference: _Difference,
    group: Sequence[tuple[Case, Values]],
) -> int:
    """Compare cases that the graph predicts, all at once: a call of the reference is slow."""
    cases = [case for case, _ in group]
    values = {
        name: np.ma.concatenate(  # type: ignore[no-untyped-call]  # not typed by numpy
            [case.values[name] for case in cases]
        )
        if isinstance(cells, np.ma.MaskedArray)
        else np.concatenate([case.values[name] for case in cases])
        for name, cells in cases[0].values.items()
    }
    try:
        expected = reference(values)
    except Exception:  # noqa: BLE001 - whatever the reference raises, it refuses some of the rows
        return sum(_compare_rows(reference, compiled, difference, case) for case in cases)
    ends = np.cumsum([_length(case) for case in cases])
    for end, (case, found) in zip(ends, group, strict=True):
        part, where = _take(expected, end - _length(case), end), f"rows with {case.name}"
        try:
            difference.add(part, found, where)
        except NotCompilable:  # other rows may have given pandas other types, floats for integers
            difference.add(reference(case.values), found, where)
    return 0


def _compare_rows(
    reference: Callable[[Values], Values],
    compiled: Callable[[Values], Values],
    difference: _Difference,
    case: Case,
) -> bool:
    """Compare a case, row by row if need be: an engine refuses all rows for the sake of one."""
    where, values = f"rows with {case.name}", case.values
    try:
        answers = compiled(values)  # first, as it is the faster one to refuse
        difference.add(reference(values), answers, where)
    except NotCompilable:
        raise
    except Exception:  # noqa: BLE001, S110 - as above
        pass
    else:
        return False
    refused = False
    for row in range(_length(case)):
        one = _take(values, row, row + 1)
        try:
            expected = reference(one)
        except Exception:  # noqa: BLE001 - as above
            expected = None
        try:
            found = compiled(one)
        except UnsuitableData:
            found = None
        if expected is not None and found is not None:
            difference.add(expected, found, where)
        elif expected is not None or found is not None:
            who = ("pipeline", "graph") if found is None else ("graph", "pipeline")
            raise NotCompilable("", f"{where}: the {who[0]} predicts, the {who[1]} refuses")
        else:
            refused = True
    return refused


def _time(
    reference: Callable[[Values], Values],
    compiled: Callable[[Values], Values],
    given: Values,
    count: int,
    first: Mapping[str, float],
) -> dict[str, float]:
    part = _take(given, 0, count)
    result = {}
    for name, function in (("pyfunc", reference), ("onnx", compiled)):
        taken = [first[name]] if name in first else []
        while len(taken) < (5 if count > 1 else 20) and sum(taken) < 1.0:
            start = time.perf_counter()
            function(part)
            taken.append(time.perf_counter() - start)
        result[name] = float(np.median(taken))
    return result
