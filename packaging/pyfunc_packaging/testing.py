"""Helpers for tests of models and of compilers that you register yourself."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pyfunc_packaging.compile import build_graph
from pyfunc_packaging.compile.proof import Proof, prove
from pyfunc_packaging.infer import infer_columns, probe
from pyfunc_packaging.schema import Schema


def assert_compiles(estimator: Any, X: pd.DataFrame, *, method: str = "predict") -> Proof:
    """Check that a method of a fitted estimator compiles to a graph that is equal to it.

    Parameters
    ----------
    estimator : estimator
        Fitted on a DataFrame.
    X : pandas.DataFrame of shape (n, m)
        Usual rows. Unusual ones are made from them.
    method : str
        ``"predict"``, ``"predict_proba"``, ``"decision_function"`` or ``"transform"``.

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

    def call(rows: pd.DataFrame) -> Any:
        result = getattr(estimator, method)(rows)
        return result.toarray() if hasattr(result, "toarray") else result

    columns = probe(infer_columns(X), X, call)
    graph = build_graph(estimator, columns, method=method)
    return prove(call, graph, Schema(inputs=columns), X)
