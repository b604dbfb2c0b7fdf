"""What a new bundle changes beside an old one: signature, quality, speed, predictions."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.errors import InvalidArgument, ModelFailure, PyFuncError, UnsuitableData
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.manifest_facts import Quality, read_quality, read_seconds
from pyfunc_packaging.prediction_changes import (
    compare_outputs,
    golden_rows,
    score_file,
    taken_by_both,
    time_both,
)
from pyfunc_packaging.scoring import Scorer
from pyfunc_packaging.signature_changes import compare_signatures
from pyfunc_packaging.trusted_bundle import TrustedBundle

logger = logging.getLogger(__name__)

#: Figures of which a larger one is better; of the others a smaller one is.
_LARGER_IS_BETTER = ("r2", "accuracy", "balanced_accuracy", "roc_auc")


class _NotComparable(Exception):
    """Why no predictions are compared; for the facts."""


@dataclass(frozen=True)
class _Side:
    """One of the two."""

    letter: str
    trusted: TrustedBundle

    @property
    def bundle(self) -> Bundle:
        return self.trusted.bundle

    def load(self) -> Scorer:
        """The engine that serves the bundle, if it may and can be loaded here."""
        try:
            with warnings.catch_warnings():
                # scikit-learn's, on other versions of itself; what matters of it was just checked
                warnings.simplefilter("ignore")
                return self.trusted.load(logger)
        except PyFuncError as error:
            raise _NotComparable(f"{self.letter} is not loaded: {error}") from error


def compare_bundles(
    a: Path,
    b: Path,
    *,
    rows: Path | None = None,
    input_format: str | None = None,
    missing: Sequence[str] = (),
) -> dict[str, Any]:
    """Compare two bundles, for those who call the first one.

    They are loaded as a server loads them, with the same trust; see ``docs/threat-model.md``.

    Parameters
    ----------
    a, b : pathlib.Path
        The old bundle, and the new one.
    rows : pathlib.Path, optional
        A file with rows to predict: CSV, JSON lines, Parquet or Arrow. Default: the golden rows of
        both, those that both take.
    input_format : str, optional
        Of that file, where its ending does not say it.
    missing : sequence of str
        What stands in CSV for a missing value, beside an empty cell.

    Returns
    -------
    dict
        ``a``, ``b``, ``identical``, ``signature``, ``metrics``, ``speed``, ``predictions``; plain
        data, described in ``docs/cli.md``.

    Raises
    ------
    BundleError
        If a bundle cannot be read, or is not signed as ``PYFUNC_VERIFY_KEY`` asks for.
    InvalidArgument, UnsuitableData
        If the file cannot be read, or the old bundle does not take its rows.

    Examples
    --------
    >>> compare_bundles(Path("no/such/place"), Path("bundle"))
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.BundleNotFound: no/such/place: no such directory; ...
    """
    if rows is not None and (str(rows) == "-" or rows.is_fifo()):
        raise InvalidArgument(
            f"{rows}: expected a file, found a pipe; the rows are read twice, once for each model,"
            f" so save them first"
        )
    sides = _Side("A", TrustedBundle.read(a)), _Side("B", TrustedBundle.read(b))
    old, new = (side.bundle for side in sides)
    changes = compare_signatures(
        old.schema, new.schema, old_texts=_texts(old), new_texts=_texts(new)
    )
    predictions, measured = _predictions(sides, rows, input_format, missing)
    return {
        "a": _facts(old),
        "b": _facts(new),
        "identical": old.digest == new.digest,
        "signature": {
            "breaking": any(change.breaking for change in changes),
            "changes": [asdict(change) for change in changes],
        },
        "metrics": _metrics(read_quality(old), read_quality(new)),
        "speed": {
            "recorded": _recorded(read_seconds(old), read_seconds(new)),
            "measured": measured,
        },
        "predictions": predictions,
    }


def _facts(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "path": str(bundle.path),
        "digest": bundle.digest,
        "engine": bundle.engine,
        "bytes": sum((bundle.path / name).stat().st_size for name in bundle.manifest["files"]),
        "versions": bundle.versions,
    }


def _texts(bundle: Bundle) -> dict[str, Sequence[str]]:
    """The texts that each column had in training, where the bundle knows them all."""
    try:
        columns = json.loads((bundle.data_path / "profile.json").read_bytes())["columns"]
    except (OSError, ValueError, KeyError, TypeError):
        columns = {}  # a bundle need not have one
    found: dict[str, Sequence[str]] = {}
    for column in bundle.schema.columns:
        profile = columns.get(column.name) if isinstance(columns, dict) else None
        counted = profile.get("categories") if isinstance(profile, dict) else None
        if column.categories is not None:
            found[column.name] = column.categories
        elif isinstance(counted, dict):
            found[column.name] = sorted(counted)
    return found


def _metrics(old: Sequence[Quality], new: Sequence[Quality]) -> list[dict[str, Any]]:
    """Figures that both manifests have; of targets that were renamed, by their place."""
    found = []
    for before, after in zip(old, new, strict=False):
        for name, value in before.figures.items():
            other = after.figures.get(name)
            if other is None:
                continue
            gain = (other - value) * (1 if name in _LARGER_IS_BETTER else -1)
            found.append(
                {
                    "target": before.target,
                    "figure": name,
                    "a": value,
                    "b": other,
                    "difference": other - value,
                    "better": "b" if gain > 0 else "a" if gain < 0 else None,
                    "rows": {"a": before.rows, "b": after.rows},
                }
            )
    return found


def _recorded(
    old: Mapping[str, Mapping[str, float]], new: Mapping[str, Mapping[str, float]]
) -> list[dict[str, Any]]:
    """Seconds that packaging measured, by rows and engine; None where it did not."""
    return [
        {"rows": rows, "engine": engine, "a": times[0], "b": times[1]}
        for rows in dict.fromkeys([*old, *new])
        for engine in ("onnx", "pyfunc")
        for times in [[side.get(rows, {}).get(engine) for side in (old, new)]]
        if times != [None, None]
    ]


def _predictions(
    sides: Sequence[_Side], file: Path | None, input_format: str | None, missing: Sequence[str]
) -> tuple[dict[str, Any], list[dict[str, float]]]:
    """The facts on predictions, and how long they took; ``reason`` says why there are none."""
    facts: dict[str, Any] = {
        "source": "the golden rows that both take" if file is None else str(file),
        "engines": None,
        "rows": 0,
        "refused": 0,
        "reason": None,
        "outputs": [],
    }
    old, new = (side.bundle for side in sides)
    try:
        scorers = [side.load() for side in sides]
        facts["engines"] = {"a": scorers[0].engine, "b": scorers[1].engine}
        if file is None:
            taken, predictions, refusals = taken_by_both(
                scorers[0], scorers[1], golden_rows([old, new])
            )
            facts["refused"] = len(refusals)
            if not taken:
                raise _NotComparable("; ".join(["there is no row that both take", *refusals[:1]]))
            facts["rows"] = len(taken)
            first = [from_frame(scorer.schema, taken[0]) for scorer in scorers]
        else:
            scored = [score_file(scorers[0], file, input_format, missing)]
            try:
                scored.append(score_file(scorers[1], file, input_format, missing))
            except (UnsuitableData, ModelFailure) as error:
                raise _NotComparable(f"B refuses the rows: {error}") from error
            facts["rows"] = scored[0].rows
            predictions = [each.predictions for each in scored]
            first = [each.first for each in scored]
    except _NotComparable as error:
        facts["reason"] = str(error)
        return facts, []
    facts["outputs"] = compare_outputs(old.schema.outputs, new.schema.outputs, predictions)
    if not facts["outputs"]:
        facts["reason"] = "there is no output that both return"
    counts = {1, len(next(iter(first[0].values())))}
    return facts, [time_both(scorers, first, rows) for rows in sorted(counts)]


def differs(predictions: Mapping[str, Any]) -> bool:
    """Whether predictions differ beyond rounding, are refused, or could not be compared.

    Examples
    --------
    >>> differs({"reason": None, "refused": 0, "outputs": [{"differing": 0}]})
    False
    """
    differing = [output["differing"] for output in predictions["outputs"]]
    return predictions["reason"] is not None or predictions["refused"] > 0 or any(differing)
