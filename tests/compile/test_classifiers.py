"""Labels and probabilities in one graph, in which nothing is computed twice."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from lightgbm import LGBMClassifier
from sklearn.compose import make_column_transformer
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, SGDClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier
from xgboost import XGBClassifier

from pyfunc_packaging.compile import build_graph, register_compiler, registry
from pyfunc_packaging.compile.linear_classifiers import _logistic, _predict
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.testing import assert_compiles

BOTH = ("predict", "predict_proba")
FEW = {"n_estimators": 5, "random_state": 0}

CLASSIFIERS = [
    AdaBoostClassifier(**FEW),
    BaggingClassifier(**FEW),
    BaggingClassifier(LogisticRegression(), **FEW),
    DecisionTreeClassifier(max_depth=4, random_state=0),
    DummyClassifier(),
    GaussianNB(),
    GradientBoostingClassifier(**FEW),
    GridSearchCV(LogisticRegression(), {"C": [1.0]}, cv=2),
    HistGradientBoostingClassifier(max_iter=5, random_state=0),
    KNeighborsClassifier(weights="distance"),
    LGBMClassifier(verbose=-1, **FEW),
    LinearDiscriminantAnalysis(),
    LogisticRegression(),
    MLPClassifier((8,), max_iter=20, random_state=0),
    OneVsRestClassifier(GaussianNB()),
    OneVsRestClassifier(LogisticRegression()),
    QuadraticDiscriminantAnalysis(reg_param=0.1),
    RandomForestClassifier(**FEW),
    SGDClassifier(loss="log_loss", random_state=0),
    StackingClassifier(
        [("a", DecisionTreeClassifier(max_depth=2)), ("b", LogisticRegression())], cv=2
    ),
    VotingClassifier([("a", GaussianNB()), ("b", LogisticRegression())], voting="soft"),
    XGBClassifier(**FEW),
]


def fitted(model: Any, data: Any, target: Any) -> Any:
    model = make_pipeline(SimpleImputer(), StandardScaler(), model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few iterations make many a solver complain
        return model.fit(data, target)


def repeated(content: bytes) -> Counter[str]:
    """How often a graph does again what it has done, by operator."""
    nodes = Counter(
        (
            node.op_type,
            tuple(node.input),
            tuple(attribute.SerializeToString() for attribute in node.attribute),
        )
        for node in onnx.load_from_string(content).graph.node
        if node.op_type not in ("Constant", "Shape")  # which cost nothing
    )
    result: Counter[str] = Counter()
    for node, count in nodes.items():
        result[node[0]] += count - 1
    return +result


@pytest.mark.parametrize("kind", ["binary", "classes"])
@pytest.mark.parametrize("model", CLASSIFIERS)
def test_both_are_equal_to_the_reference_and_share_what_they_can(
    model: Any, kind: str, table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("gaps", 80, 3)
    pipeline = fitted(model, X, target(kind, X, 3))
    assert_compiles(pipeline, X, method=BOTH)
    columns = infer_columns(X)
    label, chance = (repeated(build_graph(pipeline, columns, method=name)) for name in BOTH)
    both = repeated(build_graph(pipeline, columns, method={name: name for name in BOTH}))
    assert not both - (label | chance)


def test_what_comes_first_is_compiled_once(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("gaps", 60, 0)
    model = fitted(HistGradientBoostingClassifier(max_iter=5), X, target("text classes", X, 0))
    columns = infer_columns(X)
    sizes = [
        len(onnx.load_from_string(build_graph(model, columns, method=method)).graph.node)
        for method in ("predict", "predict_proba", {name: name for name in BOTH})
    ]
    assert sizes[2] < max(sizes[:2]) + 8


def test_outputs_have_the_names_and_the_order_that_were_asked_for(
    table: Callable[..., Any], target: Callable[..., Any]
) -> None:
    X = table("numbers", 60, 0)
    model = fitted(LogisticRegression(), X, target("text classes", X, 0))
    columns = infer_columns(X)
    methods = {"chance": "predict_proba", "name": "predict"}
    session = OnnxSession(build_graph(model, columns, method=methods), columns)
    found = session.run({name: X[name].to_numpy() for name in X})
    assert list(found) == ["chance", "name"]
    assert found["name"].tolist() == model.predict(X).tolist()
    np.testing.assert_allclose(found["chance"], model.predict_proba(X), rtol=1e-9)


def test_a_difference_names_the_output() -> None:
    X = pd.DataFrame({"x": np.linspace(-1.0, 1.0, 40)})

    class Odd(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
        def predict_proba(self, X: Any) -> Any:
            return super().predict_proba(X) + 1e-6

    model = LogisticRegression().fit(X, X["x"] > 0)
    model.__class__ = Odd
    register_compiler(Odd, _predict, method="predict")
    register_compiler(Odd, _logistic, method="predict_proba")
    try:
        assert_compiles(model, X)
        with pytest.raises(NotCompilable, match="predict_proba of the given rows: 80 of 80"):
            assert_compiles(model, X, method=BOTH)
    finally:
        for method in BOTH:
            registry._COMPILERS.pop((Odd, method))


def test_there_is_no_half_graph() -> None:
    X = pd.DataFrame({"x": np.linspace(-1.0, 1.0, 40)})
    model = SVC().fit(X, X["x"] > 0)
    columns = infer_columns(X)
    assert build_graph(model, columns)
    with pytest.raises(NotCompilable, match="libsvm iterates probabilities to a tolerance"):
        build_graph(model, columns, method={"label": "predict", "probability": "predict_proba"})


@pytest.mark.parametrize(
    ("name", "method", "message"),
    [
        ("label", {"label": "predict"}, "the output 'label' is called as a column is"),
        ("prediction", "predict", "the output 'prediction' is called as a column is"),
        ("x", {"refused": "predict"}, "no place for an output called 'refused'"),
        ("x", {"": "predict"}, "no place for an output called ''"),
        ("refused", "predict", "no place for a column called 'refused'"),
    ],
)
def test_names_that_a_graph_cannot_hold(name: str, method: Any, message: str) -> None:
    model = LinearRegression().fit(pd.DataFrame({name: [1.0, 2.0, 3.0]}), [1.0, 2.0, 4.0])
    with pytest.raises(NotCompilable, match=message):
        build_graph(model, [Column(name, "double")], method=method)


def test_a_column_transformer_is_traced_once(table: Callable[..., Any]) -> None:
    calls = []

    def double(frame: Any) -> Any:
        calls.append(frame)
        return frame * 2

    X = table("numbers", 60, 0)
    front = make_column_transformer((FunctionTransformer(double), list(X)))
    model = make_pipeline(front, StandardScaler(), LogisticRegression())
    model.fit(X, X["small"] > 0)
    counts = []
    for method in ("predict", {name: name for name in BOTH}):
        calls.clear()
        build_graph(model, infer_columns(X), method=method)
        counts.append(len(calls))
    assert counts[0] == counts[1] > 0
