"""Compilation as package_model does it: what is recorded, what falls back, what is required."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, RegressorMixin, TransformerMixin
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from pyfunc_packaging import package_model
from pyfunc_packaging.bundle import load_bundle
from pyfunc_packaging.errors import InvalidArgument, NotCompilable, UnsuitableData


class Doubled(TransformerMixin, BaseEstimator):
    """A transformer that no one has written a compiler for."""

    def fit(self, X: Any, y: Any = None) -> Doubled:
        self.fitted_ = True
        return self

    def transform(self, X: Any) -> Any:
        return X * 2


class BatchMean(RegressorMixin, BaseEstimator):
    """A regressor whose prediction depends on the other rows of the call."""

    def fit(self, X: Any, y: Any = None) -> BatchMean:
        self.fitted_ = True
        return self

    def predict(self, X: Any) -> Any:
        return np.asarray(X)[:, 0] - np.asarray(X)[:, 0].mean()


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})


def test_the_manifest_holds_the_proof(california: Any) -> None:
    _, X, bundle = california
    facts = bundle.compilation
    assert (bundle.engine, facts["file"]) == ("onnx", "data/model.onnx")
    assert facts["rows"] > len(X)  # given rows and adversarial ones
    assert facts["max_relative"] <= facts["tolerance"] == 1e-9
    assert set(facts["seconds"]) == {"one row", f"{len(X):,} rows"}
    assert facts["seconds"]["one row"]["onnx"] < facts["seconds"]["one row"]["pyfunc"]
    assert "onnxruntime==" in (bundle.path / "requirements.txt").read_text(encoding="utf-8")


def test_mlflow_predicts_with_the_graph(california: Any) -> None:
    pipeline, X, bundle = california
    expected = pipeline.predict(X)
    shuffled = X[X.columns[::-1]].assign(extra="ignored")
    narrow = shuffled.astype({"households": "int32", "median_income": "float64"})
    model = mlflow.pyfunc.load_model(str(bundle.path))
    np.testing.assert_allclose(model.predict(narrow), expected, rtol=1e-12)
    np.testing.assert_allclose(bundle.predict(shuffled), expected, rtol=1e-12)


def test_pyfunc_can_be_forced_everywhere(california: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline, X, bundle = california
    monkeypatch.setenv("PYFUNC_ENGINE", "pyfunc")
    model = mlflow.pyfunc.load_model(str(bundle.path))
    assert model.predict(X).tolist() == pipeline.predict(X).tolist()


@pytest.mark.usefixtures("unchecked")
def test_a_step_without_a_compiler_falls_back_and_is_named(
    rows: pd.DataFrame, tmp_path: Path
) -> None:
    model = make_pipeline(StandardScaler(), Doubled(), LinearRegression()).fit(rows, rows["a"])
    bundle = package_model(model, rows, path=tmp_path / "bundle", name="m")
    assert bundle.engine == "pyfunc"
    assert not (bundle.data_path / "model.onnx").exists()
    assert bundle.compilation["step"] == "Pipeline → doubled"
    assert "there is no compiler for" in bundle.compilation["reason"]
    assert "not compiled (step Pipeline → doubled: there is no compiler for" in repr(bundle)
    assert bundle.predict(rows).tolist() == model.predict(rows).tolist()
    with pytest.raises(NotCompilable, match=r"Pipeline → doubled: there is no compiler for .*"):
        package_model(model, rows, path=tmp_path / "other", name="m", compile="require")
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("unchecked")
def test_off_writes_no_graph(rows: pd.DataFrame, tmp_path: Path) -> None:
    model = LinearRegression().fit(rows, rows["a"])
    bundle = package_model(model, rows, path=tmp_path / "bundle", name="m", compile="off")
    assert (bundle.engine, bundle.compilation["reason"]) == ("pyfunc", "compile='off'")
    with pytest.raises(InvalidArgument, match=r"compile should be one of 'auto', 'require', 'off'"):
        package_model(model, rows, path=tmp_path / "c", name="m", compile="yes")  # type: ignore[arg-type]  # the mistake


@pytest.mark.usefixtures("unchecked")
def test_a_graph_that_is_not_equal_is_never_used(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A compiler with a bug: the proof notices, and names the step."""
    from pyfunc_packaging.compile import Table, register_compiler, registry, scaling

    def wrong(estimator: Any, table: Any, context: Any) -> Table:
        right = scaling._standard(estimator, table, context)
        factor = scaling.const(1 + 1e-8)
        return Table.of(scaling.op.mul(right.x, factor), right.width)

    monkeypatch.setattr(registry, "_COMPILERS", dict(registry._COMPILERS))
    register_compiler(StandardScaler, wrong)
    model = make_pipeline(StandardScaler(), LinearRegression()).fit(rows, rows["a"])
    bundle = package_model(model, rows, path=tmp_path / "bundle", name="m")
    assert bundle.engine == "pyfunc"
    assert bundle.compilation["step"] == "standardscaler"
    assert "differ by more than 1e-09; the pipeline predicts" in bundle.compilation["reason"]


@pytest.mark.usefixtures("unchecked")
def test_a_prediction_that_depends_on_the_batch_is_never_compiled(
    rows: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where somebody registers a compiler for it."""
    from pyfunc_packaging.compile import register_compiler, registry

    monkeypatch.setattr(registry, "_COMPILERS", dict(registry._COMPILERS))
    register_compiler(BatchMean, lambda estimator, table, context: table.take([0]))
    model = BatchMean().fit(rows)
    bundle = package_model(model, rows, path=tmp_path / "bundle", name="m")
    assert bundle.engine == "pyfunc"


def test_inspect_shows_the_proof(california: Any) -> None:
    from click.testing import CliRunner

    from pyfunc_packaging.cli import main

    path = str(california[2].path)
    shown = CliRunner().invoke(main, ["inspect", path]).output
    assert "equal to the pipeline on" in shown
    facts = json.loads(CliRunner().invoke(main, ["inspect", "--json", path]).output)
    assert facts["compilation"]["max_relative"] < 1e-9


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("columns", [1, 2])
def test_a_target_of_one_or_two_columns(columns: int, rows: pd.DataFrame, tmp_path: Path) -> None:
    """scikit-learn predicts (n, 1) for a model that was fitted on a table of one column."""
    model = LinearRegression().fit(rows, rows[["a", "b"][:columns]].to_numpy())
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="require")
    np.testing.assert_allclose(bundle.predict(rows), model.predict(rows), rtol=1e-9)
    assert bundle.predict(rows).shape == (len(rows), columns)


def test_a_fault_of_the_compiler_does_not_keep_a_model_from_being_packaged(
    rows: pd.DataFrame,
    tmp_path: Path,
    unchecked: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: Any, **options: Any) -> bytes:
        raise KeyError("what nobody thought of")

    monkeypatch.setattr("pyfunc_packaging.compile.build_graph", fail)
    model = LinearRegression().fit(rows, rows["a"])
    bundle = package_model(model, rows, path=tmp_path / "b", name="m")
    assert bundle.engine == "pyfunc"
    assert bundle.compilation["reason"] == (
        "the compiler failed (KeyError: 'what nobody thought of'); please report it"
    )
    assert caplog.records[-1].exc_info is not None  # the log has the traceback
    with pytest.raises(KeyError, match="what nobody thought of"):
        package_model(model, rows, path=tmp_path / "c", name="m", compile="require")


def test_a_column_without_a_name(rows: pd.DataFrame, tmp_path: Path, unchecked: None) -> None:
    rows = rows.set_axis(["", "b"], axis=1)
    model = LinearRegression().fit(rows, rows["b"])
    bundle = package_model(model, rows, path=tmp_path / "b", name="m")
    assert bundle.compilation["reason"] == "a graph has no place for a column called ''"
    assert bundle.engine == "pyfunc"


def test_half_of_a_surrogate_pair(tmp_path: Path, unchecked: None) -> None:
    rows = pd.DataFrame({"c": pd.Series(["x", "y"] * 20, dtype=object)})
    model = make_pipeline(OneHotEncoder(handle_unknown="ignore"), LinearRegression())
    model.fit(rows, (rows["c"] == "x") * 1.0)
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="require")
    with pytest.raises(UnsuitableData, match="half of a surrogate pair"):
        bundle.predict(pd.DataFrame({"c": pd.Series(["\ud800"], dtype=object)}))


def test_a_model_that_writes_to_its_rows(
    rows: pd.DataFrame, tmp_path: Path, unchecked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def double(X: pd.DataFrame) -> pd.DataFrame:
        X["a"] = X["a"] * 2
        X.insert(0, "c", X["a"] + X["b"])
        return X

    model = make_pipeline(FunctionTransformer(double), LogisticRegression())
    model.fit(rows.copy(), rows["a"] > 0)
    before = rows.copy()
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="require")
    pd.testing.assert_frame_equal(rows, before)
    expected = model.predict_proba(rows.copy())
    for engine in ("onnx", "pyfunc"):
        monkeypatch.setenv("PYFUNC_ENGINE", engine)
        found = load_bundle(bundle.path).predict(rows)["probability"]
        np.testing.assert_allclose(found, expected, rtol=1e-9)
