"""How far the predictions of two bundles differ on the same rows, and how long each takes."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc_packaging.block_scoring import BlockScorer, choose_block_size
from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.errors import MalformedBundle, ModelFailure, PyFuncError, UnsuitableData
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import TOLERANCES, request_frame
from pyfunc_packaging.schema import Column, Tensor
from pyfunc_packaging.scoring import Scorer
from pyfunc_packaging.table_formats import choose_format, naming
from pyfunc_packaging.table_readers import open_reader

Array = npt.NDArray[Any]
Predictions = dict[str, Array]

#: Pairs of labels that are listed, the most frequent ones.
MAX_PAIRS = 10
#: Seconds spent on timing each number of rows, and calls at least.
_BUDGET = 0.4
_CALLS = 5


def score(scorer: Scorer, rows: pd.DataFrame) -> Predictions:
    """Predict rows; columns that the bundle does not know are left out.

    Raises
    ------
    UnsuitableData
        If the bundle does not take them.
    ModelFailure
        If the model itself fails on them.
    """
    columns = from_frame(scorer.schema, rows)
    try:
        return scorer.predict_columns(columns, len(rows))
    except PyFuncError:
        raise
    except Exception as error:  # a model may raise anything
        first, *_ = str(error).splitlines() or [""]
        raise ModelFailure(f"the model failed ({type(error).__name__}: {first:.200})") from error


@dataclass(frozen=True)
class Scored:
    """The rows of a file, as one bundle predicts them.

    Parameters
    ----------
    rows : int
    predictions : dict of str to ndarray of shape (rows, ...)
    first : dict of str to ndarray
        Decoded columns of the first rows, some thousands.
    """

    rows: int
    predictions: Predictions
    first: dict[str, Array]


def score_file(
    scorer: Scorer, path: Path, input_format: str | None = None, missing: Sequence[str] = ()
) -> Scored:
    """Predict the rows of a file, of which no more than some thousands are held at a time.

    Parameters
    ----------
    scorer : Scorer
    path : pathlib.Path
        CSV, JSON lines, Parquet or Arrow. Columns that the bundle does not know are left out.
    input_format : str, optional
        Where the ending does not say it.
    missing : sequence of str
        What stands in CSV for a missing value, beside an empty cell.

    Raises
    ------
    InvalidArgument
        If there is no such file, or its ending is another one.
    UnsuitableData
        If it does not hold what its ending says, no rows, or rows that the bundle does not take.
    ModelFailure
        If the model itself fails on them.
    """
    kind = choose_format(str(path), input_format, "--input-format")
    found: list[Predictions] = []
    first: dict[str, Array] = {}
    with naming(str(path)):
        reader = open_reader(path, kind, scorer.schema.columns, missing)
        rows = BlockScorer(scorer, reader)
        with closing(reader.blocks(choose_block_size(reader))) as blocks:
            for block in blocks:
                if block.length:
                    columns = rows.decode(block)
                    first = first or columns
                    found.append(rows.predict(columns, block))
        if not found:
            raise UnsuitableData("expected rows, found none")
    predictions = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    return Scored(len(next(iter(predictions.values()))), predictions, first)


def golden_rows(bundles: Sequence[Bundle]) -> list[pd.DataFrame]:
    """The golden rows of bundles, each a DataFrame of one row; what two have alike, once.

    Raises
    ------
    MalformedBundle
        If a bundle's rows do not fit its signature.
    """
    found: dict[str, pd.DataFrame] = {}
    for bundle in bundles:
        try:
            rows = request_frame(bundle.schema, bundle.golden()["request"])
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise MalformedBundle(
                f"{bundle.data_path / 'golden.json'}: the golden rows do not fit the signature"
                f" ({error!r}); fetch the bundle again"
            ) from error
        for position in range(len(rows)):
            row = rows.iloc[position : position + 1]
            cells = [(name, repr(row[name].iloc[0])) for name in sorted(row)]
            found.setdefault(repr(cells), row)
    return list(found.values())


def taken_by_both(
    old: Scorer, new: Scorer, rows: Sequence[pd.DataFrame]
) -> tuple[list[pd.DataFrame], list[Predictions], list[str]]:
    """Predict rows one by one with two models; those that the old one refuses are passed over.

    Parameters
    ----------
    old, new : Scorer
    rows : sequence of pandas.DataFrame of shape (1, m)

    Returns
    -------
    taken : list of pandas.DataFrame
        The rows that both take.
    predictions : list of dict
        What each model predicts for those; empty where there are none.
    refusals : list of str
        Why the new one refused a row that the old one takes, for each such row.
    """
    taken: list[pd.DataFrame] = []
    found: list[tuple[Predictions, Predictions]] = []
    refusals = []
    for row in rows:
        try:
            before = score(old, row)
        except PyFuncError:  # nobody who calls the old model sends it
            continue
        try:
            found.append((before, score(new, row)))
        except PyFuncError as error:
            refusals.append(str(error))
        else:
            taken.append(row)
    together = [
        {name: np.concatenate([pair[side][name] for pair in found]) for name in found[0][side]}
        for side in range(2 if found else 0)
    ]
    return taken, together, refusals


def compare_outputs(
    old: Sequence[Column | Tensor],
    new: Sequence[Column | Tensor],
    predictions: Sequence[Predictions],
) -> list[dict[str, Any]]:
    """Compare two models' predictions of the same rows, output by output.

    Parameters
    ----------
    old, new : sequence of Column or Tensor
        What each returns.
    predictions : sequence of dict of str to ndarray of shape (n, ...)
        Of each.

    Returns
    -------
    list of dict
        For outputs that both have: ``name``, ``kind``, ``rows``, ``differing`` (rows), and for
        numbers ``largest`` and ``mean`` difference, ``relative`` (the largest one) and ``row``
        (where it is; the first is row 1); for labels ``changes``, a list of ``from``, ``to`` and
        ``rows``.
        Where each has a single output, those are compared, whatever their names.

    Examples
    --------
    >>> price = [Column("price", "double")]
    >>> one, two = {"price": np.array([1.0, 2.0])}, {"price": np.array([1.0, 2.5])}
    >>> (facts,) = compare_outputs(price, price, [one, two])
    >>> facts["differing"], facts["largest"], facts["mean"], facts["row"]
    (1, 0.5, 0.25, 2)
    """
    pairs = [(each, other) for each in old for other in new if each.name == other.name]
    if not pairs and len(old) == len(new) == 1:
        pairs = [(old[0], new[0])]
    return [_compare(one, other, predictions) for one, other in pairs]


def _compare(
    old: Column | Tensor, new: Column | Tensor, predictions: Sequence[Predictions]
) -> dict[str, Any]:
    before, after = predictions[0][old.name], predictions[1][new.name]
    facts: dict[str, Any] = {"name": old.name, "kind": "number", "rows": len(before)}
    classes = _common_classes(old, new)
    if classes is not None:
        facts |= {"kind": "probability", "classes": [label for label, _, _ in classes]}
        before = before[:, [place for _, place, _ in classes]]
        after = after[:, [place for _, _, place in classes]]
    # integers in a column are a classifier's labels: a regressor's predictions have a fraction
    kinds = "f" if isinstance(old, Column) else "iuf"
    if before.dtype.kind in kinds and after.dtype.kind in kinds and before.shape == after.shape:
        return facts | _numbers(before, after, TOLERANCES.get(old.datatype, 0.0))
    if before.ndim == after.ndim == 1:
        return facts | {"kind": "label"} | _labels(before, after)
    # another shape: there is nothing to subtract
    return facts | {"kind": "shape", "differing": len(before)}


def _common_classes(
    old: Column | Tensor, new: Column | Tensor
) -> list[tuple[Any, int, int]] | None:
    """The labels whose probabilities both return, and the column of each."""
    if not (isinstance(old, Tensor) and isinstance(new, Tensor) and old.classes and new.classes):
        return None
    columns = list(new.classes)
    return [
        (label, place, columns.index(label))
        for place, label in enumerate(old.classes)
        if label in columns
    ]


def _numbers(before: Array, after: Array, tolerance: float) -> dict[str, Any]:
    one, other = (each.astype(np.float64).reshape(len(each), -1) for each in (before, after))
    finite = np.isfinite(one)
    # as golden rows are compared: relative to the largest prediction, which rounding grows with
    allowed = tolerance * (np.abs(one[finite]).max() if finite.any() else 0.0)
    with np.errstate(invalid="ignore"):  # infinite less infinite
        gaps = np.where(
            (one == other) | (np.isnan(one) & np.isnan(other)), 0.0, np.abs(one - other)
        )
    differing = ~(gaps <= allowed).all(axis=1)  # NaN on one side only is no number, and differs
    known = np.isfinite(gaps)
    facts: dict[str, Any] = {"differing": int(differing.sum())}
    if not known.any():
        return facts | {"largest": None, "mean": None, "relative": None, "row": None}
    largest = np.where(known, gaps, -1.0)
    place = np.unravel_index(int(largest.argmax()), largest.shape)
    scale = np.maximum(np.abs(one), np.abs(other))
    with np.errstate(invalid="ignore", divide="ignore"):
        relative = np.where(known & (gaps > 0), gaps / scale, 0.0)
    return facts | {
        "largest": float(gaps[place]),
        "mean": float(gaps[known].mean()),
        "relative": float(relative.max()),
        "row": int(place[0]) + 1,
    }


def _labels(before: Array, after: Array) -> dict[str, Any]:
    pairs = Counter(
        (one, other)
        for one, other in zip(before.tolist(), after.tolist(), strict=True)
        if type(one) is not type(other) or one != other
    )
    changes = [
        {"from": one, "to": other, "rows": count}
        for (one, other), count in pairs.most_common(MAX_PAIRS)
    ]
    return {"differing": pairs.total(), "changes": changes}


def time_both(
    scorers: Sequence[Scorer],
    columns: Sequence[Mapping[str, Array]],
    rows: int,
    *,
    budget: float = _BUDGET,
) -> dict[str, float]:
    """Seconds that each engine takes for the same rows: the median of alternate calls.

    Parameters
    ----------
    scorers : sequence of Scorer
    columns : sequence of dict of str to ndarray of shape (n,)
        Decoded for each of them, as a server's lanes do on their own account.
    rows : int
        How many of them, from the first one on.

    Returns
    -------
    dict
        ``rows``, ``a`` and ``b``.
    """
    calls = [
        _call(scorer, {name: cells[:rows] for name, cells in given.items()}, rows)
        for scorer, given in zip(scorers, columns, strict=True)
    ]
    taken: list[list[float]] = [[], []]
    end = time.perf_counter() + budget
    while len(taken[1]) < _CALLS or time.perf_counter() < end:
        for call, times in zip(calls, taken, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return {"rows": rows, "a": statistics.median(taken[0]), "b": statistics.median(taken[1])}


def _call(scorer: Scorer, columns: Mapping[str, Array], rows: int) -> Callable[[], Predictions]:
    return lambda: scorer.predict_columns(columns, rows)
