"""A bundle logged to a real MLflow server is an ordinary logged model, file for file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import mlflow.pyfunc
import pandas as pd
import pytest
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import load_bundle, package_model
from pyfunc_packaging.errors import NotPortable


@pytest.fixture(scope="module")
def tracking(start_mlflow: Callable[..., Any]) -> Iterator[str]:
    """A real MLflow server that proxies artifacts, and this process's client pointed at it."""
    server = start_mlflow("proxied")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.url)
    yield server.url
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.DataFrame({"x": [1.0, 2.0, 4.0]})


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> LinearRegression:
    return LinearRegression().fit(rows, pd.Series([2.0, 4.0, 8.0], name="y"))


def test_registered_with_an_alias_from_a_run_of_its_own(
    tracking: str, model: LinearRegression, rows: pd.DataFrame, tmp_path: Path
) -> None:
    bundle = package_model(
        model,
        rows,
        path=tmp_path / "bundle",
        name="doubler",
        registered_model_name="Doubler",
        alias="production",
    )
    assert mlflow.active_run() is None
    version = MlflowClient().get_model_version_by_alias("Doubler", "production")
    assert version.tags["pyfunc.digest"] == bundle.digest
    model_id = version.source.removeprefix("models:/")
    logged = mlflow.get_logged_model(model_id)
    assert logged.status == "READY"
    assert logged.name == "doubler"
    assert logged.tags["pyfunc.digest"] == bundle.digest
    run = mlflow.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert [output.model_id for output in run.outputs.model_outputs] == [model_id]
    loaded = mlflow.pyfunc.load_model("models:/Doubler@production")
    assert loaded.metadata.model_id == model_id
    assert loaded.predict(rows).round(9).tolist() == [2.0, 4.0, 8.0]
    local = mlflow.artifacts.download_artifacts(f"models:/{model_id}", dst_path=str(tmp_path))
    assert load_bundle(local).digest == bundle.digest


def test_logged_within_the_active_run(
    tracking: str, model: LinearRegression, rows: pd.DataFrame, tmp_path: Path
) -> None:
    with mlflow.start_run() as run:
        bundle = package_model(model, rows, path=tmp_path / "bundle", name="doubler", log=True)
        assert mlflow.active_run().info.run_id == run.info.run_id
    outputs = mlflow.get_run(run.info.run_id).outputs.model_outputs
    assert len(outputs) == 1
    assert mlflow.get_logged_model(outputs[0].model_id).tags["pyfunc.digest"] == bundle.digest


def test_a_failure_leaves_a_failed_model_and_no_version(
    tracking: str, model: LinearRegression, rows: pd.DataFrame, tmp_path: Path
) -> None:
    with mlflow.start_run() as run, pytest.raises(NotPortable, match="no/such"):
        package_model(
            model,
            rows,
            path=tmp_path / "bundle",
            name="doubler",
            registered_model_name="Broken",
            code_paths=["no/such.py"],
        )
    outputs = mlflow.get_run(run.info.run_id).outputs.model_outputs
    assert mlflow.get_logged_model(outputs[0].model_id).status == "FAILED"
    assert MlflowClient().search_registered_models("name = 'Broken'") == []
    assert list(tmp_path.iterdir()) == []
