"""Loading and serving open no connection, whatever MLflow's variables say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow.sklearn
import pandas as pd
import pytest
from mlflow.models import infer_signature
from sklearn.linear_model import LinearRegression

SCRIPT = Path(__file__).with_name("isolated.py")
#: Nobody is there: a service that was asked would be noticed by the hook, and would not answer.
NOWHERE = {
    "MLFLOW_TRACKING_URI": "http://192.0.2.1:5000",
    "MLFLOW_REGISTRY_URI": "http://192.0.2.1:5000",
    "MLFLOW_S3_ENDPOINT_URL": "http://192.0.2.1:9000",
}


def run_isolated(model: Path, name: str, request: Path) -> Any:
    """Run the script where there is no network but loopback."""
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    done = subprocess.run(
        [*unshare, sys.executable, "-I", str(SCRIPT), str(model), name, str(request)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, **NOWHERE, "PYFUNC_TRUST": "code"},  # MLflow's models are code
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["bundle", "mlflow model"])
def test_no_connection_is_opened(
    kind: str, california: Any, request_body: Any, tmp_path: Path
) -> None:
    request = tmp_path / "request.json"
    if kind == "bundle":
        pipeline, rows, bundle = california
        path, name = bundle.path, bundle.name
        body = request_body
        frame = pd.DataFrame({tensor["name"]: tensor["data"] for tensor in body["inputs"]})
        expected = pipeline.predict(frame[rows.columns]).tolist()
    else:
        rows = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
        model = LinearRegression().fit(rows, [2.0, 4.0, 6.0])
        path, name = tmp_path / "model", "linear"
        signature = infer_signature(rows, model.predict(rows))
        mlflow.sklearn.save_model(model, path, signature=signature)
        cells = rows["x"].tolist()
        body = {"inputs": [{"name": "x", "shape": [3], "datatype": "FP64", "data": cells}]}
        expected = model.predict(rows).tolist()
    request.write_text(json.dumps(body), encoding="utf-8")
    report = run_isolated(path, name, request)
    assert report["interfaces"] == ["lo"]
    assert json.loads(report["answer"])["outputs"][0]["data"] == expected
    assert report["connections"] == ""
    assert report["status"] == 0
