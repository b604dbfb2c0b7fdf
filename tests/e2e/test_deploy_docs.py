"""The commands of docs/deploy.md, typed as written, against real peers."""

from __future__ import annotations

import importlib.metadata
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from pyfunc_packaging import load_bundle, package_model
from pyfunc_packaging.compatibility import check_versions
from pyfunc_packaging.errors import IncompatibleVersions
from pyfunc_packaging.verification import read_keys, verify_signature

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploy.md").read_text("utf-8")
#: What cannot run here: there is no cluster, and no registry of images.
ELSEWHERE = ("kubectl apply", "kubectl create", "docker ", "make image")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def commands() -> list[str]:
    """Every command, with its continuation lines."""
    lines = "".join(blocks("bash")).replace("\\\n", " ").splitlines()
    return [re.sub(r"\s+#.*", "", line) for line in lines if line.strip()]


def test_the_page_has_the_commands_that_this_module_runs() -> None:
    starts = [" ".join(command.split()[:2]) for command in commands()]
    assert starts == [
        "export MLFLOW_TRACKING_URI=http://mlflow:5000",
        "export AWS_ENDPOINT_URL=http://minio:9000",
        "pyfunc resolve",
        "pyfunc resolve",
        "pyfunc manifest",
        "pyfunc manifest",
        "kubectl apply",
        "kubectl apply",
        "make image",
        "make image",
        "docker run",
        "openssl ecparam",
        "openssl ec",
        "pyfunc sign",
        "kubectl create",
        "pyfunc image",
        "docker build",
        "docker push",
        "python -c",
        "pyfunc serve",
    ]


def test_the_whole_page(
    start_mlflow: Callable[..., Any],
    s3: Any,
    kserve_python: Path,
    california: Any,
    start_server: Callable[..., Any],
    request_body: Any,
    tmp_path: Path,
) -> None:
    pipeline, X, _ = california
    mlflow_server = start_mlflow("direct")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_server.url)
    try:
        package_model(
            pipeline,
            X,
            path=tmp_path / "bundle",
            name="california",
            registered_model_name="CaliforniaHousingRegressor",
            alias="production",
        )
    finally:
        mlflow.set_tracking_uri(before)

    here = {
        "http://mlflow:5000": mlflow_server.url,
        "http://minio:9000": s3.url,
        "AWS_ACCESS_KEY_ID=…": f"AWS_ACCESS_KEY_ID={s3.env['AWS_ACCESS_KEY_ID']}",
        "AWS_SECRET_ACCESS_KEY=…": f"AWS_SECRET_ACCESS_KEY={s3.env['AWS_SECRET_ACCESS_KEY']}",
        "s3://bucket/prefix": f"s3://{s3.bucket}/prefix",
        "python -c": f"{kserve_python} -c",
    }
    all_of_them = [each for each in commands() if not each.startswith(ELSEWHERE)]
    *all_of_them, serve = all_of_them
    # the page shows how to make a copy of the bundle behind the command that needs one
    all_of_them.sort(key=lambda each: each.startswith("pyfunc image"))
    script = "\necho ---\n".join(all_of_them)
    for shown, real in here.items():
        assert shown in script
        script = script.replace(shown, real)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    _, _, resolved, with_root, rendered, difference, *keys, signed, _, image = done.stdout.split(
        "---\n"
    )
    (shown,) = (block for block in blocks("text") if block.startswith("s3://"))
    pattern = r"s3://[\w/-]+/models/m-[0-9a-f]{32}/artifacts\n"
    assert re.fullmatch(pattern, shown)
    assert re.fullmatch(pattern, resolved)
    assert with_root == resolved
    assert (rendered, difference, *keys, image) == ("", "", "", "", "")
    assert signed == "signed: bundle/model.sig\n"
    verify_signature(tmp_path / "bundle", read_keys([tmp_path / "verify-key.pem"]))
    service = yaml.safe_load((tmp_path / "california.yaml").read_text("utf-8"))
    assert service["spec"]["predictor"]["model"]["storageUri"] == resolved.strip()
    assert (tmp_path / "image" / "Dockerfile").is_file()
    downloaded = load_bundle(tmp_path / "models")
    assert downloaded.digest == load_bundle(tmp_path / "bundle").digest

    mlflow_server.stop()
    program, verb, folder, *options = shlex.split(serve)
    assert (program, verb, folder) == ("pyfunc", "serve", "./models")
    server = start_server(tmp_path / folder, *options)
    answer = server.infer(service["metadata"]["name"], request_body)
    server.stop()
    assert answer.status == 200, answer.text
    columns = {tensor["name"]: tensor["data"] for tensor in request_body["inputs"]}
    expected = pipeline.predict(pd.DataFrame(columns)[list(X.columns)])
    np.testing.assert_allclose(answer.json["outputs"][0]["data"], expected, rtol=1e-9)


def test_the_refusal_of_other_versions_is_what_the_page_shows(
    california: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = california[2]
    (shown,) = (block for block in blocks("text") if block.startswith("cannot serve: "))
    versions = {"scikit-learn": "1.9.1"}
    monkeypatch.delenv("PYFUNC_VERSIONS", raising=False)
    monkeypatch.setitem(bundle.manifest, "versions", versions)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1.7.2")
    with pytest.raises(IncompatibleVersions) as caught:
        check_versions(bundle, engine="pyfunc", logger=logging.getLogger("tests"))
    assert shown == f"cannot serve: {caught.value}\n"


def test_kustomize_names_the_image(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed here (Debian: kubernetes-client)")
    (patch,) = blocks("yaml")
    (tmp_path / "kustomization.yaml").write_text(patch, encoding="utf-8")
    example = ROOT / "docker" / "kserve" / "inference-service.yaml"
    shutil.copyfile(example, tmp_path / "california.yaml")
    done = subprocess.run(
        [kubectl, "kustomize", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    service = yaml.safe_load(done.stdout)
    image = service["spec"]["predictor"]["model"].pop("image")
    assert f"docker push {image}" in commands()
    assert service == yaml.safe_load(example.read_text("utf-8"))
