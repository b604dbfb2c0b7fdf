"""What package_model() says of mistakes, each of which leaves nothing behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from pyfunc_packaging import package_model
from pyfunc_packaging.errors import (
    InvalidArgument,
    NotPortable,
    UnsuitableData,
    UnsuitableModel,
)


class Locked(LinearRegression):
    """Holds a lock, which nothing can pickle."""

    def fit(self, X: Any, y: Any) -> Locked:
        super().fit(X, y)
        self.lock_ = threading.Lock()
        return self


class Dice(LinearRegression):
    """Never predicts the same twice."""

    def predict(self, X: Any) -> Any:
        return super().predict(X) + np.random.default_rng().normal(size=len(X))


class ReadsIndex(LinearRegression):
    """Predicts from what is no column."""

    def predict(self, X: Any) -> Any:
        return super().predict(X) + X.index.hour


MISTAKES = {
    "unfitted": (lambda X, y: (LinearRegression(), X, {}), UnsuitableModel, "not fitted"),
    "unfitted pipeline": (
        lambda X, y: (make_pipeline(LinearRegression()), X, {}),
        UnsuitableModel,
        "not fitted",
    ),
    "a class": (lambda X, y: (LinearRegression, X, {}), UnsuitableModel, "fitted scikit-learn"),
    "no model": (lambda X, y: (None, X, {}), UnsuitableModel, "found NoneType"),
    "fails on X": (
        lambda X, y: (
            make_pipeline(LinearRegression()).fit(X, y),
            X.assign(a="text"),
            {},
        ),
        UnsuitableModel,
        "fails on the first 40 rows of X: ValueError",
    ),
    "array": (
        lambda X, y: (LinearRegression().fit(X, y), X.to_numpy(), {}),
        UnsuitableData,
        "DataFrame",
    ),
    "column names no strings": (
        lambda X, y: (LinearRegression().fit(X.to_numpy(), y), pd.DataFrame(X.to_numpy()), {}),
        UnsuitableData,
        "should be strings, found 0",
    ),
    "repeated column": (
        lambda X, y: (LinearRegression().fit(X, y), X[["a", "a"]], {}),
        UnsuitableData,
        r"unique, found \['a'\]",
    ),
    "target in X": (
        lambda X, y: (LinearRegression().fit(X.assign(price=y), y), X.assign(price=y), {}),
        UnsuitableData,
        "target column 'price'",
    ),
    "column not fitted on": (
        lambda X, y: (LinearRegression().fit(X, y), X.assign(c=1.0), {}),
        UnsuitableData,
        "'c' that the model was not fitted on",
    ),
    "y of another length": (
        lambda X, y: (LinearRegression().fit(X, y), X.head(3), {}),
        UnsuitableData,
        "one value a row of X: 3, found 40",
    ),
    "y in another order": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"y": y.sort_values()}),
        UnsuitableData,
        r"another index than X, .* pass y.loc\[X.index\]",
    ),
    "y of other rows": (
        lambda X, y: (
            LinearRegression().fit(X, y),
            X.set_axis(range(100, 140)),
            {"y": y.set_axis(range(200, 240))},
        ),
        UnsuitableData,
        "nobody knows which value belongs to which row",
    ),
    "name": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"name": "a/b"}),
        InvalidArgument,
        "name",
    ),
    "alias alone": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"alias": "production"}),
        InvalidArgument,
        "registered_model_name",
    ),
    "unpicklable": (lambda X, y: (Locked().fit(X, y), X, {}), NotPortable, "lock"),
    "code_paths as text": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"code_paths": "steps.py"}),
        InvalidArgument,
        r"pass \['steps.py'\]",
    ),
    "requirement": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"extra_pip_requirements": ["a b"]}),
        InvalidArgument,
        "extra_pip_requirements",
    ),
    "random when it predicts": (
        lambda X, y: (Dice().fit(X, y), X, {}),
        UnsuitableModel,
        "the same rows twice",
    ),
    "reads the index": (
        lambda X, y: (
            ReadsIndex().fit(X, y),
            X.set_index(pd.date_range("2026-01-01", periods=len(X))),
            {},
        ),
        UnsuitableData,
        "no request can carry, such as the index",
    ),
    "a module named as one of Python's": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"code_paths": ["elsewhere/profile.py"]}),
        NotPortable,
        "a module of Python itself is called 'profile'",
    ),
    "code_paths": (
        lambda X, y: (LinearRegression().fit(X, y), X, {"code_paths": ["no/such.py"]}),
        NotPortable,
        "no/such.py",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_explained(
    mistake: str, numbers: pd.DataFrame, target: pd.Series, tmp_path: Path
) -> None:
    make, error, message = MISTAKES[mistake]
    model, rows, options = make(numbers, target)
    options = {"name": "m", "path": tmp_path / "bundle", "y": target, **options}
    before = psutil.Process().children()
    with pytest.raises(error, match=message):
        package_model(model, rows, **options)
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children() == before
