"""Helpers for tests of models and of compilers that you register yourself."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.compile.proof import Proof, prove
from pyfunc_packaging.infer import infer_columns, probe
from pyfunc_packaging.schema import Schema


def assert_compiles(
    estimator: Any, X: pd.DataFrame, *, method: str | Sequence[str] = "predict"
) -> Proof:
    """Check that a method of a fitted estimator compiles to a graph that is equal to it.

    Parameters
    ----------
    estimator : estimator
        Fitted on a DataFrame.
    X : pandas.DataFrame of shape (n, m)
        Usual rows. Unusual ones are made from them.
    method : str or sequence of str
        ``"predict"``, ``"predict_proba"``, ``"decision_function"`` or ``"transform"``. Of several
        methods, such as the first two, a single graph is made.

    Returns
    -------
    Proof
        How many rows were tried and how they differ.

    Raises
    ------
    NotCompilable
        Naming the step that cannot be compiled, or the rows on which the two differ.

    Examples
    --------
    >>> from sklearn.linear_model import LinearRegression
    >>> X = pd.DataFrame({"rooms": [2.0, 3.0, 5.0]})
    >>> assert_compiles(LinearRegression().fit(X, [20.0, 30.0, 50.0]), X).refused
    0
    """
    methods = {"prediction": method} if isinstance(method, str) else {name: name for name in method}

    def call(rows: pd.DataFrame) -> dict[str, Any]:
        # copies, since a step may write to what it is given
        found = {name: getattr(estimator, each)(rows.copy()) for name, each in methods.items()}
        return {
            name: array.toarray() if hasattr(array, "toarray") else np.asarray(array)
            for name, array in found.items()
        }

    columns = probe(infer_columns(X), X, lambda rows: list(call(rows).values())[-1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the proof does not mind warnings either
        found = call(X)
    flat = all(found[name].ndim == 1 for name, each in methods.items() if each == "predict")
    graph = build_graph(estimator, columns, method=methods, flat=flat)
    return prove(call, graph, Schema(inputs=columns), X)
