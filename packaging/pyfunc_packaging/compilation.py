"""Compile a model for its bundle: a graph that was proven equal, or why there is none."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from pyfunc_packaging.errors import InvalidArgument, MissingDependency, NotCompilable
from pyfunc_packaging.schema import Column, Schema
from pyfunc_packaging.scoring import method_of, predict_outputs

Compile = Literal["auto", "require", "off"]
_CHOICES = ("auto", "require", "off")

logger = logging.getLogger(__name__)

#: The graph within a bundle.
GRAPH_FILE = "data/model.onnx"


@dataclass(frozen=True)
class Compilation:
    """What came of compiling a model.

    Parameters
    ----------
    graph : bytes or None
        The ONNX model; None where the model is served by the pyfunc engine.
    facts : mapping
        For the manifest: ``file``, ``step`` and ``reason`` (why there is no graph), ``rows``,
        ``refused``, ``max_absolute``, ``max_relative``, ``tolerance`` and ``seconds``.
    """

    graph: bytes | None
    facts: Mapping[str, Any]


def check_choice(compile: str) -> None:  # noqa: A002 - package_model's argument has this name
    """Refuse what is no way to compile.

    Raises
    ------
    InvalidArgument
    """
    if compile not in _CHOICES:
        raise InvalidArgument(
            f"compile should be one of {', '.join(map(repr, _CHOICES))}; found {compile!r}"
        )


def compile_model(model: Any, schema: Schema, rows: pd.DataFrame, *, mode: Compile) -> Compilation:
    """Compile a fitted model to a graph and prove it, as `mode` says.

    Parameters
    ----------
    model : estimator
    schema : Schema
    rows : pandas.DataFrame of shape (n, m)
        Usual rows, which the proof starts from.
    mode : {"auto", "require", "off"}
        ``"auto"`` falls back to the pyfunc engine where a model cannot be compiled exactly,
        ``"require"`` raises.

    Returns
    -------
    Compilation

    Raises
    ------
    NotCompilable
        With ``mode="require"``, naming the step and the reason.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> from pyfunc_packaging.trial import make_schema
    >>> X = pd.DataFrame({"rooms": [2.0, 3.0, 5.0]})
    >>> model = LinearRegression().fit(X, [20.0, 30.0, 50.0])
    >>> compiled = compile_model(model, make_schema(model, X, None, None), X, mode="auto")
    >>> compiled.facts["reason"], compiled.facts["max_relative"] < 1e-9
    (None, True)
    """
    if mode == "off":
        return _fallback("", "compile='off'")
    try:
        return _compile(model, schema, rows)
    except NotCompilable as error:
        if mode == "require":
            raise
        return _fallback(error.step, error.reason)
    except ModuleNotFoundError as error:
        if mode == "require":
            raise MissingDependency(
                f"compiling needs the Python module {error.name!r}; install"
                f" mlserver-pyfunc[packaging]"
            ) from error
        return _fallback("", f"the Python module {error.name!r} is not installed")
    except Exception as error:
        if mode == "require":
            raise
        # our own fault, or a library's, must not keep a model from being packaged
        logger.exception("the model was not compiled, because of an unexpected error")
        first, *_ = str(error).splitlines() or [""]
        return _fallback(
            "", f"the compiler failed ({type(error).__name__}: {first:.200}); please report it"
        )


def _fallback(step: str, reason: str) -> Compilation:
    return Compilation(None, {"file": None, "step": step, "reason": reason})


def _compile(model: Any, schema: Schema, rows: pd.DataFrame) -> Compilation:
    from pyfunc_packaging.compile import build_graph
    from pyfunc_packaging.compile.proof import TOLERANCE, prove

    methods = {output.name: method_of(output) for output in schema.outputs}
    if list(methods.values()).count("predict") != 1:
        raise NotCompilable("", "the model has several targets, which no graph has yet")
    start = time.perf_counter()
    flat = isinstance(schema.outputs[0], Column)
    graph = build_graph(model, schema.columns, method=methods, flat=flat)
    built = time.perf_counter()
    try:
        proof = prove(
            lambda rows: predict_outputs(model, schema.outputs, rows), graph, schema, rows
        )
    except NotCompilable as error:
        raise NotCompilable(_blame(model, schema, rows), error.reason) from error
    facts = {
        "file": GRAPH_FILE,
        "step": None,
        "reason": None,
        "tolerance": TOLERANCE,
        **asdict(proof),
        "built_in": built - start,
        "proven_in": time.perf_counter() - built,
    }
    return Compilation(graph, facts)


def _blame(model: Any, schema: Schema, rows: pd.DataFrame) -> str:
    """The first step of a pipeline whose own graph is not equal to it."""
    from pyfunc_packaging.compile import build_graph
    from pyfunc_packaging.compile.proof import prove

    steps = getattr(model, "steps", [])
    for count in range(1, len(steps)):
        first = model[:count]
        try:
            graph = build_graph(first, schema.columns, method="transform")
        except NotCompilable:  # a table of text and numbers is no tensor; look further on
            continue
        try:
            prove(partial(_transform, first), graph, schema, rows)
        except NotCompilable as error:
            return " → ".join(filter(None, [steps[count - 1][0], error.step]))
    return str(steps[-1][0]) if steps else type(model).__name__


def _transform(steps: Any, rows: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    found = steps.transform(rows.copy())
    return {"prediction": found.toarray() if hasattr(found, "toarray") else np.asarray(found)}
