"""The whole story, from a notebook to an answer, with every part real.

``make image-test`` sets PYFUNC_IMAGES and the image serves; otherwise ``pyfunc serve`` does.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import yaml

from pyfunc_packaging import load_bundle, package_model

ROOT = Path(__file__).resolve().parents[2]
MODEL = "models:/CaliforniaHousingRegressor@production"
SERVICE = "california-housing-regressor"
REQUEST = ROOT / "models" / "california_housing" / "request.json"
CURL = f"curl -sS --fail-with-body -H 'Content-Type: application/json' -d @{REQUEST}"


def container_environment() -> dict[str, str]:
    """What the ClusterServingRuntime sets, with the name filled in as KServe does."""
    file = ROOT / "docker" / "kserve" / "cluster-serving-runtime.yaml"
    full, _ = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    variables = full["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"].replace("{{.Name}}", SERVICE) for each in variables}


@pytest.fixture
def infer(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    """Serve a directory as the pod does, ask with curl, stop; the answer."""

    def in_the_image(models: Path) -> Any:
        container = request.getfixturevalue("image")("full").start(
            bundle=models, env=container_environment()
        )
        container.wait_until_ready()
        answer = container.curl(f"/v2/models/{SERVICE}/infer", *shlex.split(CURL)[1:])
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert container.stop() == 0, container.log
        return json.loads(answer.stdout)

    def here(models: Path) -> Any:
        # the container's environment, except that it listens on loopback and on free ports
        start_server = request.getfixturevalue("start_server")
        server = start_server(models, "--host", "127.0.0.1", env=container_environment())
        url = f"{server.url}/v2/models/{SERVICE}/infer"
        answer = subprocess.run([*shlex.split(CURL), url], capture_output=True, check=False)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert server.stop() == 0, server.log
        return json.loads(answer.stdout)

    return in_the_image if os.environ.get("PYFUNC_IMAGES") else here


def test_from_the_notebook_to_an_answer(
    california: Any,
    start_mlflow: Callable[..., Any],
    storage_initializer: Callable[..., Any],
    infer: Callable[[Path], Any],
    request_body: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pipeline, rows, _ = california
    server = start_mlflow("direct")

    # what a data scientist does in a notebook
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.url)

    def publish(version: int, alias: str | None) -> Any:
        return package_model(
            pipeline,
            rows,
            output_name="median_house_value",
            path=tmp_path / f"bundle-{version}",
            name="CaliforniaHousingRegressor",
            registered_model_name="CaliforniaHousingRegressor",
            alias=alias,
        )

    try:
        first = publish(1, "staging")
        client = mlflow.MlflowClient()
        client.set_registered_model_alias("CaliforniaHousingRegressor", "production", "1")

        # what a platform engineer, or a pipeline, types
        uri = pyfunc("resolve", MODEL).stdout.strip()
        assert uri.startswith("s3://mlflow/")
        manifest = tmp_path / "california.yaml"
        options = ("manifest", MODEL, "--name", SERVICE, "--service-account", "mlserver-pyfunc")
        pyfunc(*options, "--output", str(manifest))
        assert pyfunc(*options, "--diff", str(manifest)).stdout == ""

        # a second version, and the alias moves: nothing changes until somebody renders again
        publish(2, None)
        assert pyfunc(*options, "--diff", str(manifest)).stdout == ""
        client.set_registered_model_alias("CaliforniaHousingRegressor", "production", "2")
        changes = pyfunc(*options, "--diff", str(manifest), status=1).stdout.splitlines()
        assert "-    pyfunc.mlserver/version: '1'" in changes
        assert "+    pyfunc.mlserver/version: '2'" in changes
        assert f"-      storageUri: {uri}" in changes
    finally:
        mlflow.set_tracking_uri(before)
        server.stop()

    # what KServe does, with no MLflow server anywhere
    predictor = yaml.safe_load(manifest.read_text(encoding="utf-8"))["spec"]["predictor"]
    assert predictor["model"]["storageUri"] == uri
    models = tmp_path / "models"
    downloaded = storage_initializer(uri, models)
    assert downloaded.returncode == 0, downloaded.stderr
    models.chmod(0o755)
    assert load_bundle(models).digest == first.digest

    answer = infer(models)
    assert answer["model_name"] == SERVICE
    (output,) = answer["outputs"]
    assert output["name"] == "median_house_value"
    columns = {tensor["name"]: tensor["data"] for tensor in request_body["inputs"]}
    expected = pipeline.predict(pd.DataFrame(columns)[list(rows.columns)])
    assert output["data"] == expected.tolist()


def pyfunc(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Type a command; nothing may be said on stderr."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("pyfunc")), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, ""), done.stdout
    return done
