"""What tracing refuses, with the line of the function: the one that a comment ``# here`` marks."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.features import ColumnFeatures
from pyfunc_packaging.testing import assert_compiles

CALLS = [0]


def table() -> pd.DataFrame:
    random = np.random.default_rng(0)
    place = pd.Series(random.choice(["inland", "bay"], 30), dtype="str")
    return pd.DataFrame(
        {"x": random.normal(size=30), "y": random.normal(size=30) + 5, "place": place}
    ).assign(x=lambda t: t.x.mask(t.x > 1))


def branch(X: Any) -> Any:
    if X.x.max() > 3:  # here
        return X * 2
    return X


def branch_on_a_value(X: Any) -> Any:
    return X if (X.x > 3) else X * 2  # here


def length(X: Any) -> Any:
    return X.assign(n=len(X))  # here


def rows_of_shape(X: Any) -> Any:
    return X.assign(n=np.zeros(X.shape[0]))  # here


def as_float(X: Any) -> Any:
    return X.assign(n=float(X.y))  # here


def mean_of_the_batch(X: Any) -> Any:
    centre = X.y.mean()  # here
    return X.assign(n=X.y - centre)


def mean_of_the_table(X: Any) -> Any:
    return X[["x", "y"]] - X[["x", "y"]].mean()  # here


def shifted(X: Any) -> Any:
    return X.assign(n=X.y.shift(1))  # here


def ranked(X: Any) -> Any:
    return X.assign(n=X.y.rank())  # here


def grouped(X: Any) -> Any:
    return X.assign(n=X.groupby("place").y.transform("mean"))  # here


def loop(X: Any) -> Any:
    return X.assign(n=[value * 2 for value in X.y])  # here


def each_value(X: Any) -> Any:
    return X.assign(n=X.y.apply(lambda value: value * 2))  # here


def each_row(X: Any) -> Any:
    return X.apply(lambda row: row * 2, axis=1)  # here


def filtered(X: Any) -> Any:
    return X[X.y > 5]  # here


def head(X: Any) -> Any:
    return X.head(3)  # here


def deviation_of_each_row(X: Any) -> Any:
    return X.assign(n=X[["x", "y"]].std(axis=1))  # here


def difference_in_each_row(X: Any) -> Any:
    return X[["x", "y"]].diff(axis=1)  # here


def unknown_code(X: Any) -> Any:
    return X.assign(n=pd.isna(X.y))  # here


def datetimes(X: Any) -> Any:
    return X.assign(n=pd.to_datetime(X.place))  # here


def joined(X: Any) -> Any:
    return pd.concat([X, X[["x"]]], axis=1)  # here


def lower_case(X: Any) -> Any:
    return X.assign(n=X.place.str.lower() == "bay")  # here


def pattern(X: Any) -> Any:
    return X.assign(n=X.place.str.contains("b.y"))  # here


def narrow(X: Any) -> Any:
    return X.assign(n=X.y.astype("float32") * 2)  # here


def unknown_function(X: Any) -> Any:
    return X.assign(n=np.spacing(X.y))  # here


def unknown_numpy(X: Any) -> Any:
    return X.assign(n=np.unwrap(X.y))  # here


def in_list(X: Any) -> Any:
    return X.assign(n=1.0 if 3.0 in X.y else 0.0)  # here


def text(X: Any) -> Any:
    return X.assign(**{f"n{X.y}": 1})  # here


def missing_column(X: Any) -> Any:
    return X.assign(n=X["x"], m=X["z"])  # here


def caught(X: Any) -> Any:
    try:
        return X.assign(n=X.y - X.y.mean())  # here
    except Exception:  # noqa: BLE001 - as a careless function does
        return X


def one_row(X: Any) -> Any:
    return X.assign(n=X.y.iloc[0])  # here


def inner(column: Any) -> Any:
    return column / column.std()  # here


def calls_another(X: Any) -> Any:
    return X.assign(n=inner(X.y))


REFUSED: list[tuple[Callable[[Any], Any], str]] = [
    (branch, ".max() of all rows"),
    (branch_on_a_value, "a branch on the data"),
    (length, "number of rows"),
    (rows_of_shape, "number of rows"),
    (as_float, "float() of the data"),
    (mean_of_the_batch, ".mean() of all rows"),
    (mean_of_the_table, "mean over the rows"),
    (shifted, ".shift() of all rows"),
    (ranked, ".rank() of all rows"),
    (grouped, ".groupby() of all rows"),
    (loop, "a loop over the rows"),
    (each_value, "apply() calls a Python function for each value"),
    (each_row, "apply() calls a Python function for each row"),
    (filtered, "a selection of rows"),
    (head, ".head() of all rows"),
    (deviation_of_each_row, ".std is not compiled"),
    (difference_in_each_row, ".diff is not compiled"),
    (unknown_code, "code that is not recorded"),
    (datetimes, "rows"),
    (joined, "cannot concatenate"),
    (lower_case, ".str.lower is not compiled"),
    (pattern, "with a pattern"),
    (narrow, "float32"),
    (unknown_function, "spacing is not compiled"),
    (unknown_numpy, "np.unwrap is not compiled"),
    (in_list, "`in` looks for a value"),
    (text, "the data in a text"),
    (missing_column, "KeyError: 'z'"),
    (caught, ".mean() of all rows"),
    (one_row, ".iloc is not compiled"),
    (calls_another, ".std() of all rows"),
]


def refusal(function: Any, X: pd.DataFrame) -> NotCompilable:
    """What compiling says; fitting never looks at the rows."""
    model = make_pipeline(FunctionTransformer(function)).fit(X)
    with pytest.raises(NotCompilable) as caught:
        compile_only(model, X)
    return caught.value


def compile_only(model: Any, X: pd.DataFrame) -> None:
    from pyfunc_packaging.compile import build_graph
    from pyfunc_packaging.infer import infer_columns

    build_graph(model, infer_columns(X), method="transform")


@pytest.mark.parametrize(("function", "reason"), REFUSED)
def test_the_line_and_the_operation_are_named(function: Any, reason: str) -> None:
    error = refusal(function, table().fillna(0.0))
    marked = inner if function is calls_another else function
    lines, first = inspect.getsourcelines(marked)
    line = first + next(n for n, text in enumerate(lines) if "# here" in text)
    assert reason in error.reason
    assert f"{__file__}, line {line}, in " in error.reason
    assert error.step == "Pipeline → functiontransformer"


def test_a_lambda_and_a_notebook_cell_are_named() -> None:
    assert f"{__file__}, line " in refusal(lambda X: X.y.mean(), table()).reason
    scope: dict[str, Any] = {}
    exec(compile("def f(X):\n    return X * X.y.mean()", "<ipython-input-7>", "exec"), scope)
    assert refusal(scope["f"], table()).reason.startswith(
        "<ipython-input-7>, line 2, in f: .mean()"
    )


def counted(X: Any) -> Any:
    CALLS[0] += 1
    return X[["y"]] * CALLS[0]


def random_factor(X: Any) -> Any:
    return X[["y"]] * np.random.default_rng().normal()


def by_class(X: Any) -> Any:
    return X[["y"]] * (2 if type(X) is pd.DataFrame else 3)


def constant_table(X: Any) -> Any:
    return pd.DataFrame({"a": [1.0, 2.0]})


def one_dimension(X: Any) -> Any:
    return X.y * 2


def frame_and_column(X: Any) -> Any:
    return X[["x", "y"]] * X.y


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (counted, "differs from the function in column 'y'"),
        (random_factor, "differs from the function in column 'y'"),
        (by_class, "differs from the function in column 'y'"),
        (constant_table, "does not come from its argument"),
        (one_dimension, "returns one dimension"),
        (frame_and_column, "a table and a column in one operation"),
    ],
)
def test_what_cannot_be_trusted_is_refused(function: Any, reason: str) -> None:
    assert reason in refusal(function, table()).reason


def test_a_row_on_which_they_differ_is_shown() -> None:
    X = table()[["y"]]
    found = refusal(by_class, X).reason
    assert re.search(
        r"column 'y': of \{'y': (.*)\} the function makes (.*), the graph (.*)$", found
    )
    given, made, wrong = map(float, re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", found.split(" of ")[1]))
    assert (made, wrong) == (given * 2, given * 3)


def test_arrays_that_share_memory_are_not_written_to() -> None:
    def through_a_view(X: Any) -> Any:
        column = X[:, 0]
        column[column < -1e200] = 0.0
        return X

    def under_a_view(X: Any) -> Any:
        X = X.copy()
        column = X[:, 0]
        X[:, 0] = 1.0
        return np.column_stack([X, column])

    X = table()[["x", "y"]].fillna(0.0)
    for function in (through_a_view, under_a_view):
        with pytest.raises(NotCompilable, match="share its memory"):
            compile_only(FunctionTransformer(function, validate=True).fit(X), X)


def test_a_feature_is_named() -> None:
    X = table()[["x", "y"]]
    model = ColumnFeatures({"n": lambda t: t.y - t.y.mean()}).fit(X)
    with pytest.raises(NotCompilable, match=r"feature 'n': .*test_tracing_refusals.py, line \d+"):
        assert_compiles(model, X, method="transform")
    model = ColumnFeatures({"n": lambda t: t[["x"]]}).fit(X)
    with pytest.raises(NotCompilable, match="feature 'n': the function returns several columns"):
        compile_only(model, X)


def test_numbers_of_other_types_are_refused() -> None:
    X = pd.DataFrame(
        {"x": np.array([1.0, 2.0], dtype=np.float32), "n": pd.array([1, 2], dtype="Int64")}
    )
    assert "float32" in refusal(lambda X: X[["x"]] * 2, X).reason
    assert "Int64" in refusal(lambda X: X[["n"]] * 2, X).reason
    compile_only(FunctionTransformer(lambda X: X.astype(float) * 2).fit(X), X)


def test_options_of_check_array_are_refused() -> None:
    from functools import partial

    from sklearn.utils import check_array

    error = refusal(partial(check_array, ensure_min_samples=2), table()[["x", "y"]].fillna(0.0))
    assert "check_array with ['ensure_min_samples']" in error.reason
