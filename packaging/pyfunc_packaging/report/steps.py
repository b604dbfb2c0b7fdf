"""The parts of a pipeline, for people."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

#: Parameters that are shown are cut to so many characters, and lists of columns to so many names.
_MAX_TEXT = 400
_MAX_COLUMNS = 12
_MAX_DEPTH = 6


@dataclass(frozen=True)
class Step:
    """One estimator within another.

    Parameters
    ----------
    name : str
        What it is called there.
    kind : str
        Its class.
    settings : list of str
        Parameters that are not the default, as ``name=value``.
    columns : str
        The columns that it gets, where a ColumnTransformer deals them out.
    parts : list of Step
    """

    name: str
    kind: str
    settings: list[str]
    columns: str = ""
    parts: list[Step] = field(default_factory=list)


def describe_steps(model: Any, name: str = "", columns: str = "", depth: int = 0) -> Step:
    """Describe a fitted estimator and what it consists of.

    Examples
    --------
    >>> from sklearn.linear_model import Ridge
    >>> from sklearn.pipeline import make_pipeline
    >>> describe_steps(make_pipeline(Ridge(alpha=2.0))).parts[0].settings
    ['alpha=2.0']
    """
    parts = list(_parts(model)) if depth < _MAX_DEPTH else []
    inner = [describe_steps(part, key, dealt, depth + 1) for key, part, dealt in parts]
    kind = model if isinstance(model, str) else type(model).__name__
    return Step(name, kind, [] if parts else _settings(model), columns, inner)


def final_estimator(model: Any) -> str:
    """Class of what predicts at the end of a pipeline."""
    while getattr(model, "steps", None):
        model = model.steps[-1][1]
    return type(model).__name__


def _parts(model: Any) -> Iterator[tuple[str, Any, str]]:
    if getattr(model, "steps", None):
        yield from ((name, part, "") for name, part in model.steps)
    elif hasattr(model, "transformers_"):
        for name, part, columns in model.transformers_:
            if not isinstance(part, str) or part != "drop":
                yield name, part, _columns(columns)
    elif hasattr(model, "transformer_list"):
        yield from ((name, part, "") for name, part in model.transformer_list)
    else:
        for attribute in ("regressor_", "best_estimator_"):
            if hasattr(model, attribute):
                yield attribute.strip("_"), getattr(model, attribute), ""
                return


def _columns(columns: Any) -> str:
    if isinstance(columns, str) or not hasattr(columns, "__len__"):
        return str(columns)
    shown = ", ".join(map(str, list(columns)[:_MAX_COLUMNS]))
    more = len(columns) - _MAX_COLUMNS
    return shown + (f" and {more} more" if more > 0 else "")


def _settings(model: Any) -> list[str]:
    if not hasattr(model, "get_params"):
        return []
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(type(model)).parameters.items()
    }
    changed = []
    for name, value in model.get_params(deep=False).items():
        text, usual = repr(value), repr(defaults.get(name))
        if text != usual:
            short = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]}…"
            changed.append(f"{name}={short}")
    return changed
