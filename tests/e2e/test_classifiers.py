"""Classifiers as bundles: labels and probabilities, from every way to predict."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from lightgbm import LGBMClassifier
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import TunedThresholdClassifierCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from xgboost import XGBClassifier

from mlserver_pyfunc.engines import load_engine
from pyfunc_packaging import Bundle, package_model
from pyfunc_packaging.cli import main
from pyfunc_packaging.compile import register_compiler, registry
from pyfunc_packaging.compile.linear_classifiers import _logistic, _predict
from pyfunc_packaging.errors import NotCompilable
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.inspection import _type
from pyfunc_packaging.schema import Tensor

ROWS = 120


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(11)
    frame = pd.DataFrame(rng.normal(size=(ROWS, 3)), columns=["a", "b", "c"])
    frame.loc[::10, "c"] = np.nan
    return frame.assign(city=rng.choice(["Rome", "Bern"], size=ROWS))


def pipeline(last: Any) -> Any:
    front = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "c"]),
        (OneHotEncoder(handle_unknown="ignore"), ["city"]),
    )
    return make_pipeline(front, last)


def predict_served(bundle: Bundle, rows: pd.DataFrame) -> dict[str, Any]:
    values = from_frame(bundle.schema, rows)
    return load_engine(bundle.path).predict(values, rows=len(rows), params={})


LABELS: dict[str, Any] = {
    "integers": [3, 7],
    "text": ["no", "yes"],
    "booleans": [False, True],
    "floats": [-1.0, 2.0],
    "three": ["high", "low", "middle"],
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("kind", LABELS)
@pytest.mark.parametrize(
    "last",
    [
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        LogisticRegression(),
        RandomForestClassifier(n_estimators=5, random_state=0),
    ],
)
def test_both_engines_and_mlflow_agree_with_the_model(
    last: Any, kind: str, rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    classes = np.array(LABELS[kind])
    order = rows["a"].rank().to_numpy().astype(int) * len(classes) // (ROWS + 1)
    model = pipeline(last).fit(rows, classes[order])
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="require")
    labels, chances = model.predict(rows), model.predict_proba(rows)
    expected = bundle.schema.outputs[1]
    assert expected == Tensor("probability", "float64", (-1, len(classes)), tuple(LABELS[kind]))
    for engine in ("onnx", "pyfunc"):
        monkeypatch.setenv("PYFUNC_ENGINE", engine)
        flavor = mlflow.pyfunc.load_model(str(bundle.path))
        for found in (predict_served(bundle, rows), flavor.predict(rows)):
            assert list(found) == ["label", "probability"]
            assert found["label"].tolist() == labels.tolist()
            assert found["label"].dtype == (object if labels.dtype.kind == "U" else labels.dtype)
            assert found["probability"].dtype == np.float64
            np.testing.assert_allclose(found["probability"], chances, rtol=1e-9)
        empty = flavor.predict(rows.head(0))
        assert (empty["label"].shape, empty["probability"].shape) == ((0,), (0, len(classes)))
        assert empty["label"].dtype == found["label"].dtype


@pytest.mark.parametrize(
    "last",
    [
        XGBClassifier(n_estimators=5, random_state=0),
        LGBMClassifier(n_estimators=5, random_state=0, verbose=-1),
    ],
)
def test_boosting_libraries(last: Any, rows: pd.DataFrame, tmp_path: Path) -> None:
    """With the real check in a new process."""
    numbers = rows[["a", "b", "c"]]
    model = last.fit(numbers, (rows["a"] > 0).astype(int))
    bundle = package_model(model, numbers, path=tmp_path / "b", name="m", compile="require")
    found = bundle.predict(numbers)
    assert found["label"].tolist() == model.predict(numbers).tolist()
    np.testing.assert_allclose(found["probability"], model.predict_proba(numbers), rtol=1e-9)
    assert found["probability"].dtype == np.float64  # XGBoost returns float32


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("last", [LinearSVC(), RidgeClassifier()])
def test_labels_alone(last: Any, rows: pd.DataFrame, tmp_path: Path) -> None:
    model = pipeline(last).fit(rows, rows["a"] > 0)
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="require")
    assert [output.name for output in bundle.schema.outputs] == ["label"]
    assert bundle.predict(rows).tolist() == model.predict(rows).tolist()
    assert predict_served(bundle, rows)["label"].dtype == bool
    assert [spec.type.name for spec in bundle.signature.outputs] == ["boolean"]


@pytest.mark.usefixtures("unchecked")
def test_golden_rows_and_signature_hold_both(rows: pd.DataFrame, tmp_path: Path) -> None:
    model = pipeline(LogisticRegression()).fit(rows, np.where(rows["a"] > 0, "high", "low"))
    bundle = package_model(model, rows, path=tmp_path / "b", name="m")
    golden = bundle.golden()
    count = golden["request"]["inputs"][0]["shape"][0]
    label, probability = golden["response"]["outputs"]
    assert (label["datatype"], label["shape"]) == ("BYTES", [count])
    assert (probability["datatype"], probability["shape"]) == ("FP64", [count, 2])
    model_row = pd.DataFrame({t["name"]: t["data"][:1] for t in golden["request"]["inputs"]})
    np.testing.assert_allclose(
        probability["data"][:2], model.predict_proba(model_row.astype({"c": float}))[0], rtol=1e-9
    )
    outputs = bundle.signature.outputs
    assert outputs.input_names() == ["label", "probability"]
    assert [(spec.type, spec.shape) for spec in outputs] == [
        (np.dtype("str"), (-1,)),
        (np.dtype("float64"), (-1, 2)),
    ]


@pytest.mark.usefixtures("unchecked")
def test_inspect_shows_the_classes(rows: pd.DataFrame, tmp_path: Path) -> None:
    model = pipeline(LogisticRegression()).fit(rows, np.where(rows["a"] > 0, "high", "low"))
    path = str(package_model(model, rows, path=tmp_path / "b", name="m", compile="off").path)
    shown = CliRunner().invoke(main, ["inspect", path]).output
    assert "tensor, of 'high', 'low'" in shown
    facts = json.loads(CliRunner().invoke(main, ["inspect", "--json", path]).output)
    assert facts["outputs"][1] == {
        "name": "probability",
        "datatype": "FP64",
        "shape": [-1, 2],
        "classes": ["high", "low"],
    }


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("odd", "message"),
    [
        ("predict", r"label of the given rows: 60 prediction\(s\) differ"),
        ("predict_proba", "probability of the given rows: 240 of 240 predictions differ"),
    ],
)
def test_the_step_to_blame_is_named(
    odd: str, message: str, rows: pd.DataFrame, tmp_path: Path, only_labels: None
) -> None:
    """Here the last one, after transformers that return a sparse matrix."""
    front = make_column_transformer(
        (SimpleImputer(), ["a", "b", "c"]), (OneHotEncoder(), ["city"]), sparse_threshold=1.0
    )
    model = make_pipeline(front, OnlyLabels()).fit(rows, rows["a"] > rows["a"].median())
    register_compiler(OnlyLabels, _logistic, method="predict_proba")
    setattr(model[-1], odd, MoreOrLess(getattr(model[-1], odd)))
    bundle = package_model(model, rows, path=tmp_path / "b", name="m")
    registry._COMPILERS.pop((OnlyLabels, "predict_proba"))
    assert (bundle.engine, bundle.compilation["step"]) == ("pyfunc", "onlylabels")
    assert re.match(message, bundle.compilation["reason"])


class MoreOrLess:
    """A method that returns something else than the compiler has been told."""

    def __init__(self, method: Any) -> None:
        self.method = method

    def __call__(self, X: Any) -> Any:
        found = self.method(X)
        return found * 0.5 if found.dtype.kind == "f" else np.ones_like(found)


def test_inspect_shows_some_of_many_classes() -> None:
    shown = _type({"classes": list(range(20))})
    assert shown == "tensor, of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 8 more"


class OnlyLabels(LogisticRegression):  # type: ignore[misc]  # scikit-learn has no types
    """A classifier of one's own, of which the labels alone are compiled."""


@pytest.fixture
def only_labels() -> Iterator[None]:
    register_compiler(OnlyLabels, _predict, method="predict")
    yield
    registry._COMPILERS.pop((OnlyLabels, "predict"))


@pytest.mark.usefixtures("unchecked", "only_labels")
def test_no_half_graph(rows: pd.DataFrame, tmp_path: Path) -> None:
    """Where probabilities do not compile, labels are not served by a graph either."""
    model = pipeline(OnlyLabels()).fit(rows, rows["a"] > 0)
    bundle = package_model(model, rows, path=tmp_path / "b", name="m")
    assert bundle.engine == "pyfunc"
    assert bundle.compilation["step"] == "Pipeline → onlylabels"
    assert bundle.compilation["reason"].endswith("OnlyLabels.predict_proba")
    found = bundle.predict(rows)
    np.testing.assert_array_equal(found["probability"], model.predict_proba(rows))
    with pytest.raises(NotCompilable, match="Pipeline → onlylabels"):
        package_model(model, rows, path=tmp_path / "c", name="m", compile="require")


@pytest.mark.usefixtures("unchecked")
def test_a_tuned_threshold(rows: pd.DataFrame, tmp_path: Path) -> None:
    y = np.where(rows["a"] + rows["b"] > 1, "rare", "usual")
    tuned = TunedThresholdClassifierCV(LogisticRegression(), scoring="balanced_accuracy")
    model = pipeline(tuned).fit(rows, y)
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="require")
    found = bundle.predict(rows)
    assert found["label"].tolist() == model.predict(rows).tolist()
    np.testing.assert_allclose(found["probability"], model.predict_proba(rows), rtol=1e-9)
    likeliest = np.array(["rare", "usual"])[found["probability"].argmax(axis=1)]
    assert found["label"].tolist() != likeliest.tolist()


@pytest.mark.usefixtures("unchecked")
def test_several_targets_are_served_as_before(rows: pd.DataFrame, tmp_path: Path) -> None:
    targets = pd.DataFrame({"low": rows["a"] > 0, "high": rows["b"] > 0})
    model = pipeline(MultiOutputClassifier(LogisticRegression())).fit(rows, targets)
    bundle = package_model(model, rows, y=targets, path=tmp_path / "b", name="m")
    found = bundle.predict(rows)
    assert list(found.columns) == ["low", "high"]
    np.testing.assert_array_equal(found.to_numpy(), model.predict(rows))


@pytest.mark.usefixtures("unchecked")
def test_a_column_called_as_an_output_is_served_by_the_pipeline(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    named = rows[["a", "b"]].rename(columns={"a": "label"})
    model = LogisticRegression().fit(named, rows["a"] > 0)
    bundle = package_model(model, named, path=tmp_path / "b", name="m")
    assert bundle.engine == "pyfunc"
    assert "the output 'label' is called as a column is" in bundle.compilation["reason"]
    assert bundle.predict(named)["label"].tolist() == model.predict(named).tolist()
    other = package_model(
        model, named, path=tmp_path / "c", name="m", output_name="positive", compile="require"
    )
    assert list(other.predict(named)) == ["positive", "probability"]
