"""What to look at first: the few facts of a target and of the columns that stand out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pyfunc_packaging.report.evaluation import Target
from pyfunc_packaging.report.importance import Importances
from pyfunc_packaging.report.metrics import Group
from pyfunc_packaging.report.wording import number, share
from pyfunc_packaging.schema import Column

#: A group of fewer rows says nothing; so does one that is hardly worse than all rows.
_MIN_ROWS = 30
_MIN_TIMES = 1.2
#: Columns that are named; those that matter a tenth as much as the first are not.
_MAX_NAMED = 3
_MIN_SHARE = 0.1
#: Share of missing values that is worth a word.
_GAPPY = 0.2


def describe_target(
    target: Target,
    importances: Importances | None,
    deciles: Sequence[Group],
    categories: Mapping[str, Sequence[Group]],
) -> list[tuple[str, str]]:
    """What stands out, as a title and a sentence each.

    Parameters
    ----------
    target : Target
    importances : Importances or None
    deciles : sequence of Group
        Errors by tenth of the actual value, or by label.
    categories : mapping of str to sequence of Group
        Errors by category, by column.

    Returns
    -------
    list of (str, str)
    """
    found = []
    increases = importances.increases if importances else []
    best = increases[0][1] if increases else 0.0
    if best > 0:
        named = [name for name, value in increases if value >= _MIN_SHARE * best][:_MAX_NAMED]
        found.append(("Depends most on", ", ".join(named)))
    worst = _worst(target, deciles, categories)
    if worst is not None:
        found.append(("Least right", worst))
    mistaken = _mistaken(target)
    if mistaken is not None:
        found.append(("Mistaken most often", mistaken))
    return found


def _worst(
    target: Target, deciles: Sequence[Group], categories: Mapping[str, Sequence[Group]]
) -> str | None:
    kind = target.classes is None
    own = "actual value" if kind else "label"
    errors = np.abs(target.predicted - target.actual) if kind else target.predicted != target.actual
    overall = float(np.mean(errors))
    named = [(own, group) for group in deciles]
    named += [(column, group) for column, groups in categories.items() for group in groups]
    large = [(column, group) for column, group in named if group.rows >= _MIN_ROWS]
    if not large:
        return None
    column, worst = max(large, key=lambda pair: pair[1].error)
    if not worst.error > _MIN_TIMES * overall:
        return None
    where = f"{column} {worst.label}"
    if worst.bias is None:
        return f"{where}: {share(worst.error)} wrong, where it is {share(overall)} of all rows"
    way = "too low" if worst.bias < 0 else "too high"
    return (
        f"{where}: mean error {number(worst.error)}, {worst.error / overall:.1f} times that of all"
        f" rows; {number(abs(worst.bias))} {way} on average"
    )


def _mistaken(target: Target) -> str | None:
    if target.classes is None:
        return None
    wrong = target.actual != target.predicted
    if not wrong.any():
        return None
    size = len(target.classes)
    pairs = target.actual[wrong] * size + target.predicted[wrong]
    pair = int(np.bincount(pairs).argmax())
    actual, predicted = divmod(pair, size)
    count, rows = int((pairs == pair).sum()), int((target.actual == actual).sum())
    return (
        f"{target.classes[actual]} is taken for {target.classes[predicted]} in"
        f" {count:,} of its {rows:,} rows"
    )


def describe_gaps(
    columns: Sequence[Column], profile: Mapping[str, Mapping[str, Any]], rows: int
) -> list[tuple[str, str]]:
    """Columns that hold little, as a title and their names.

    Examples
    --------
    >>> columns = [Column("a", "double", True), Column("b", "string", True)]
    >>> describe_gaps(columns, {"a": {"missing": 4}, "b": {"missing": 1, "distinct": 1}}, 4)
    [('No value at all', 'a'), ('Always the same', 'b'), ('Often missing', 'b (25.0%)')]
    """
    empty, same, gappy = [], [], []
    for column in columns:
        facts = profile[column.name]
        missing = facts["missing"] / max(rows, 1)
        quantiles = facts.get("quantiles") or {}
        ends = (quantiles.get("0.0"), quantiles.get("1.0"))
        if missing == 1:
            empty.append(column.name)
            continue
        if facts.get("distinct") == 1 or (ends[0] is not None and ends[0] == ends[1]):
            same.append(column.name)
        if missing > _GAPPY:
            gappy.append(f"{column.name} ({share(missing)})")
    titled = (("No value at all", empty), ("Always the same", same), ("Often missing", gappy))
    return [(title, _list(names)) for title, names in titled if names]


def _list(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
