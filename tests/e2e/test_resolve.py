"""From the registry to a served model: real MLflow, real S3, KServe's own storage initializer."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import sklearn
import yaml
from click.testing import CliRunner
from mlflow import MlflowClient
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import load_bundle, package_model
from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import (
    ArtifactRootNeeded,
    FilesChanged,
    FilesMissing,
    InvalidModelUri,
    ModelNotFound,
    RegistryUnreachable,
    StorageUnreachable,
)
from pyfunc_packaging.resolve import ResolvedModel, resolve_model_uri

pytestmark = pytest.mark.usefixtures("all_unchecked")

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENT = f"scikit-learn=={sklearn.__version__}"


@dataclass(frozen=True)
class Published:
    """A registry with the model ``Doubler``: two versions, the first in production."""

    server: Any
    digests: dict[str, str]
    run_id: str
    models: dict[str, str]
    plain_run: str
    plain_model: str

    def resolve(self, uri: str, **options: Any) -> ResolvedModel:
        options.setdefault("artifact_root", self.server.artifact_root)
        return resolve_model_uri(uri, tracking_uri=self.server.url, **options)


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return pd.DataFrame({"x": [1.0, 2.0, 4.0]})


@pytest.fixture(scope="module")
def model(rows: pd.DataFrame) -> LinearRegression:
    return LinearRegression().fit(rows, pd.Series([2.0, 4.0, 8.0], name="y"))


@pytest.fixture(scope="module", params=["direct", "proxied"])
def published(
    request: pytest.FixtureRequest,
    start_mlflow: Callable[..., Any],
    model: LinearRegression,
    rows: pd.DataFrame,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Published]:
    server = start_mlflow(request.param)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server.url)
    folder = tmp_path_factory.mktemp("bundles")
    digests = {}
    with mlflow.start_run() as run:
        for version, alias in (("1", "production"), ("2", "staging")):
            bundle = package_model(
                model,
                rows,
                path=folder / version,
                name=f"doubler-{version}",
                registered_model_name="Doubler",
                alias=alias,
            )
            digests[version] = bundle.digest
    client = MlflowClient()
    models = {
        version: client.get_model_version("Doubler", version).source.removeprefix("models:/")
        for version in digests
    }
    with mlflow.start_run() as plain:
        # requirements said, not inferred: that takes MLflow a process and seconds
        logged = mlflow.sklearn.log_model(model, name="plain", pip_requirements=[REQUIREMENT])
    yield Published(server, digests, run.info.run_id, models, plain.info.run_id, logged.model_id)
    mlflow.set_tracking_uri(before)


def test_every_form_leads_to_the_same_directory(published: Published, s3: Any) -> None:
    by_alias = published.resolve("models:/Doubler@production")
    model_id = published.models["1"]
    assert by_alias == ResolvedModel(
        uri=by_alias.uri,
        name="Doubler",
        version="1",
        alias="production",
        run_id=published.run_id,
        model_id=model_id,
        digest=published.digests["1"],
        engine="onnx",
        requirements=by_alias.requirements,
    )
    assert by_alias.uri.startswith(f"s3://{s3.bucket}/")
    assert by_alias.uri.endswith(f"/models/{model_id}/artifacts")
    assert [line.partition("==")[0] for line in by_alias.requirements][:2] == [
        "PyYAML",
        "mlflow",
    ] or ({"mlflow", "scikit-learn"} <= {line.partition("==")[0] for line in by_alias.requirements})
    assert published.resolve("models:/Doubler/1") == replace(by_alias, alias=None)
    bare = replace(by_alias, alias=None, name=None, version=None)
    assert published.resolve(f"models:/{model_id}") == bare
    assert published.resolve(f"runs:/{published.run_id}/doubler-1") == bare
    expected = replace(bare, run_id=None, model_id=None)
    assert published.resolve(by_alias.uri) == expected
    assert published.resolve(f"{by_alias.uri}/") == expected


def test_the_alias_decides(published: Published) -> None:
    assert published.resolve("models:/Doubler@staging").digest == published.digests["2"]


def test_unchecked_it_still_knows_the_digest_from_the_registry(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = published.resolve("models:/Doubler@production")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    unchecked = published.resolve("models:/Doubler@production", check=False)
    assert unchecked == replace(checked, engine=None, requirements=())


def test_a_model_that_mlflow_logged_itself(published: Published) -> None:
    found = published.resolve(f"runs:/{published.plain_run}/plain")
    assert (found.model_id, found.digest, found.engine) == (published.plain_model, None, "pyfunc")
    assert REQUIREMENT in found.requirements


def test_the_artifact_root_may_come_from_the_environment(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = published.resolve("models:/Doubler/1")
    root = published.server.artifact_root
    if root is None:
        assert published.resolve("models:/Doubler/1", artifact_root="s3://unused/root") == expected
        return
    with pytest.raises(ArtifactRootNeeded, match=r"answers mlflow-artifacts:.*--artifact-root s3"):
        published.resolve("models:/Doubler/1", artifact_root=None)
    monkeypatch.setenv("MLFLOW_ARTIFACT_ROOT_S3", f"{root}/")
    assert published.resolve("models:/Doubler/1", artifact_root=None) == expected


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/Doublet@production", "no registered model 'Doublet'; did you mean Doubler?"),
        ("models:/Doublet/1", "no registered model 'Doublet'; did you mean Doubler?"),
        ("models:/Doubler/7", "model 'Doubler' has no version 7; it has 1, 2"),
        ("models:/Doubler@prod", "no alias 'prod'; it has production, staging"),
        ("models:/m-00000000000000000000000000000000", "no logged model m-00000000000000000000"),
        ("runs:/00000000000000000000000000000000/m", "no run 00000000000000000000000000000000"),
    ],
)
def test_unknown_to_the_registry(published: Published, uri: str, words: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        published.resolve(uri)
    assert words in str(caught.value)
    assert f"asked {published.server.url}" in str(caught.value)


def test_a_run_without_such_a_path(published: Published) -> None:
    with pytest.raises(FilesMissing, match=r"artifacts/nothing: nothing is there"):
        published.resolve(f"runs:/{published.run_id}/nothing")


def test_two_logged_models_of_one_name_are_not_guessed_between(
    published: Published, model: LinearRegression
) -> None:
    with mlflow.start_run() as run:
        ids = [
            mlflow.sklearn.log_model(model, name="twin", pip_requirements=[REQUIREMENT]).model_id
            for _ in range(2)
        ]
    with pytest.raises(InvalidModelUri, match="logged 2 models named 'twin'") as caught:
        published.resolve(f"runs:/{run.info.run_id}/twin")
    assert all(f"models:/{model_id}" in str(caught.value) for model_id in ids)


def _copy(s3: Any, uri: str, target: str, *, leave_out: str = "") -> str:
    """Copy a directory in S3, so that a test may break it."""
    client = s3.client()
    prefix = uri.removeprefix(f"s3://{s3.bucket}/") + "/"
    for entry in client.list_objects_v2(Bucket=s3.bucket, Prefix=prefix)["Contents"]:
        name = entry["Key"].removeprefix(prefix)
        if name != leave_out:
            content = client.get_object(Bucket=s3.bucket, Key=entry["Key"])["Body"].read()
            client.put_object(Bucket=s3.bucket, Key=f"{target}/{name}", Body=content)
    return f"s3://{s3.bucket}/{target}"


def test_files_deleted_changed_or_lost(
    published: Published, s3: Any, tmp_path: Path, rows: pd.DataFrame, model: LinearRegression
) -> None:
    client = s3.client()
    package_model(
        model, rows, path=tmp_path / "b", name="broken", registered_model_name="Broken", alias="a"
    )
    uri = published.resolve("models:/Broken@a").uri
    prefix = uri.removeprefix(f"s3://{s3.bucket}/")

    def refusal() -> str:
        with pytest.raises((FilesMissing, FilesChanged)) as caught:
            published.resolve("models:/Broken@a")
        return str(caught.value)

    client.put_object(Bucket=s3.bucket, Key=f"{prefix}/code/extra.py", Body=b"1\n")
    assert "code/extra.py was added after the bundle was packaged" in refusal()
    client.delete_object(Bucket=s3.bucket, Key=f"{prefix}/code/extra.py")
    client.put_object(Bucket=s3.bucket, Key=f"{prefix}/data/golden.json", Body=b"")
    assert f"models:/Broken@a is at {uri}: data/golden.json is empty" in refusal()
    client.delete_object(Bucket=s3.bucket, Key=f"{prefix}/data/golden.json")
    assert "data/golden.json is missing (1 of " in refusal()
    _copy(s3, published.resolve("models:/Doubler/2").uri, prefix)
    assert "the registry knows a bundle with digest sha256:" in refusal()
    client.put_object(Bucket=s3.bucket, Key=f"{prefix}/MLmodel", Body=b"")
    assert "MLmodel is empty, and KServe's storage initializer skips empty objects" in refusal()
    client.delete_object(Bucket=s3.bucket, Key=f"{prefix}/MLmodel")
    assert "files are there, but no MLmodel" in refusal()
    for entry in client.list_objects_v2(Bucket=s3.bucket, Prefix=f"{prefix}/")["Contents"]:
        client.delete_object(Bucket=s3.bucket, Key=entry["Key"])
    assert f"models:/Broken@a is at {uri}: nothing is there; were its files deleted" in refusal()


def test_the_endpoint_is_an_mlflow_server(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", published.server.url)
    with pytest.raises(
        StorageUnreachable, match=f"at {published.server.url}: .*check the endpoint"
    ):
        resolve_model_uri("s3://mlflow/model")


# --- the commands -----------------------------------------------------------------------------


def pyfunc(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments)


def test_resolve_prints_the_uri_or_all(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", published.server.url)
    root = published.server.artifact_root
    options = ("--artifact-root", root) if root else ()
    expected = published.resolve("models:/Doubler@production")
    result = pyfunc("resolve", "models:/Doubler@production", *options)
    assert (result.exit_code, result.output) == (0, f"{expected.uri}\n")
    facts = json.loads(pyfunc("resolve", "models:/Doubler@production", "--json", *options).output)
    assert facts["digest"] == published.digests["1"]
    assert facts == {
        **vars(expected),
        "requirements": list(expected.requirements),
        "siblings": [],
    }


def test_a_refusal_is_one_line_on_stderr_even_of_a_server_that_is_down(tmp_path: Path) -> None:
    command = [sys.executable, "-Im", "pyfunc_packaging", "resolve", "models:/Doubler@production"]
    done = subprocess.run(
        [*command, "--tracking-uri", "http://user:secret@127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "Error: alias 'production' of model 'Doubler': asked http://…@127.0.0.1:1, expected an"
        " MLflow service, found no answer (connection refused); check MLFLOW_TRACKING_URI, or pass"
        " the s3:// URI itself\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_without_any_server_no_database_is_made(
    s3_environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mlflow.is_tracking_uri_set", lambda: False)
    with pytest.raises(RegistryUnreachable, match="set MLFLOW_TRACKING_URI"):
        resolve_model_uri("models:/Doubler@production")
    assert list(tmp_path.iterdir()) == []


def test_the_manifest_follows_the_alias(published: Published, tmp_path: Path) -> None:
    root = published.server.artifact_root
    command = ("manifest", "models:/Doubler@live", "--name", "doubler")
    command += ("--tracking-uri", published.server.url)
    command += ("--artifact-root", root) if root else ()
    client = MlflowClient(published.server.url)
    client.set_registered_model_alias("Doubler", "live", "1")
    file = tmp_path / "doubler.yaml"
    assert pyfunc(*command, "--output", str(file)).exit_code == 0
    first = file.read_bytes()
    assert pyfunc(*command).output.encode() == first
    service = yaml.safe_load(first)
    assert service["metadata"]["annotations"] == {
        "pyfunc.mlserver/registry-name": "Doubler",
        "pyfunc.mlserver/version": "1",
        "pyfunc.mlserver/digest": published.digests["1"],
        "serving.kserve.io/deploymentMode": "Standard",
    }
    location = published.resolve("models:/Doubler/1").uri
    assert service["spec"]["predictor"]["model"]["storageUri"] == location
    same = pyfunc(*command, "--diff", str(file))
    assert (same.exit_code, same.output) == (0, "")

    client.set_registered_model_alias("Doubler", "live", "2")
    moved = pyfunc(*command, "--diff", str(file))
    assert moved.exit_code == 1
    changed = [line for line in moved.output.splitlines() if line[:1] in "+-"]
    assert "-    pyfunc.mlserver/version: '1'" in changed
    assert "+    pyfunc.mlserver/version: '2'" in changed
    # the files' names, the version twice, the place, the digest
    assert len(changed) == 10
    assert file.read_bytes() == first

    refused = pyfunc(*command[:1], "models:/Doubler@gone", *command[2:], "--output", str(file))
    assert refused.exit_code == 1
    assert file.read_bytes() == first
    assert list(tmp_path.iterdir()) == [file]


MODEL = "models:/Doubler@production"


@pytest.mark.parametrize(
    ("uri", "env", "options", "words"),
    [
        ("models:/Nothing@production", {}, {}, "no registered model 'Nothing'"),
        ("models:/Doubler/7", {}, {}, "no version 7; it has 1, 2"),
        ("models:/Doubler@prod", {}, {}, "no alias 'prod'"),
        (MODEL, {}, {"--tracking-uri": "http://127.0.0.1:1"}, "found no answer"),
        ("s3://nowhere/model", {}, {}, "there is no bucket 'nowhere'"),
        (MODEL, {"AWS_SECRET_ACCESS_KEY": "WRONGSECRETKEY"}, {}, "SignatureDoesNotMatch"),
        (MODEL, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, {}, "could not connect"),
        ("s3://mlflow/no/such/model/", {}, {}, "nothing is there; were its files deleted"),
        (MODEL, {}, {"--name": "Doubler_2"}, "is no DNS label"),
    ],
)
def test_every_refusal_is_one_line_and_leaves_the_file_alone(
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    uri: str,
    env: dict[str, str],
    options: dict[str, str],
    words: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    given = {"--name": "doubler", "--tracking-uri": published.server.url}
    if published.server.artifact_root:
        given["--artifact-root"] = published.server.artifact_root
    flags = [word for pair in {**given, **options}.items() for word in pair]
    file = tmp_path / "doubler.yaml"
    refused = pyfunc("manifest", uri, *flags, "--output", str(file))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert list(tmp_path.iterdir()) == []
    file.write_text("as it was", encoding="utf-8")
    compared = pyfunc("manifest", uri, *flags, "--diff", str(file))
    assert (compared.exit_code, compared.stdout) == (2, "")
    for line in (refused.stderr, compared.stderr):
        assert line.startswith("Error: ")
        assert line.count("\n") == 1
        assert words in line
    assert file.read_text("utf-8") == "as it was"


# --- to the end -------------------------------------------------------------------------------


def test_siblings_and_empty_objects_do_not_break_a_bundle(
    published: Published, s3: Any, storage_initializer: Callable[..., Any], tmp_path: Path
) -> None:
    source = published.resolve("models:/Doubler/1")
    folder = f"siblings-{hashlib.sha256(source.uri.encode()).hexdigest()[:8]}"
    uri = _copy(s3, source.uri, f"{folder}/artifacts")
    other = _copy(s3, published.resolve("models:/Doubler/2").uri, f"{folder}/artifacts2")
    client = s3.client()
    client.put_object(Bucket=s3.bucket, Key=f"{folder}/artifacts/notes.txt", Body=b"")
    client.put_object(Bucket=s3.bucket, Key=f"{folder}/artifacts/data/empty.txt", Body=b"")
    found = published.resolve(uri)
    assert found.digest == published.digests["1"]
    assert found.siblings == (f"{other}/",)
    result = pyfunc("resolve", f"{uri}/")
    assert result.exit_code == 0
    assert result.stdout == f"{uri}\n"
    assert f"Warning: {other}/ begins as {uri} does" in result.stderr

    done = storage_initializer(found.uri, tmp_path / "models")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "models" / "2" / "MLmodel").is_file()
    assert not (tmp_path / "models" / "notes.txt").exists()
    assert load_bundle(tmp_path / "models").digest == published.digests["1"]


def _container_environment(name: str) -> dict[str, str]:
    """What the ClusterServingRuntime sets, with the name filled in as KServe does."""
    file = ROOT / "docker" / "kserve" / "cluster-serving-runtime.yaml"
    full, _ = yaml.safe_load_all(file.read_text(encoding="utf-8"))
    variables = full["spec"]["containers"][0]["env"]
    return {each["name"]: each["value"].replace("{{.Name}}", name) for each in variables}


@pytest.mark.parametrize("mode", ["direct", "proxied"])
def test_from_the_alias_to_predictions_with_mlflow_gone(
    mode: str,
    start_mlflow: Callable[..., Any],
    storage_initializer: Callable[..., Any],
    california: Any,
    start_server: Callable[..., Any],
    request_body: Any,
    tmp_path: Path,
) -> None:
    pipeline, X, _ = california
    mlflow_server = start_mlflow(mode)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_server.url)
    try:
        bundle = package_model(
            pipeline,
            X,
            output_name="median_house_value",
            path=tmp_path / "bundle",
            name="CaliforniaHousingRegressor",
            registered_model_name="CaliforniaHousingRegressor",
            alias="production",
        )
    finally:
        mlflow.set_tracking_uri(before)
    root = mlflow_server.artifact_root
    result = pyfunc(
        *("manifest", "models:/CaliforniaHousingRegressor@production", "--name", "housing"),
        *("--tracking-uri", mlflow_server.url),
        *(("--artifact-root", root) if root else ()),
    )
    assert result.exit_code == 0, result.output
    mlflow_server.stop()
    storage_uri = yaml.safe_load(result.output)["spec"]["predictor"]["model"]["storageUri"]

    done = storage_initializer(storage_uri, tmp_path / "models")
    assert done.returncode == 0, done.stderr
    assert load_bundle(tmp_path / "models").digest == bundle.digest
    # the container's environment in the cluster, except that it listens on loopback here
    server = start_server(
        tmp_path / "models", "--host", "127.0.0.1", env=_container_environment("housing")
    )
    answer = server.infer("housing", request_body)
    server.stop()
    assert answer.status == 200, answer.text
    columns = {tensor["name"]: tensor["data"] for tensor in request_body["inputs"]}
    expected = pipeline.predict(pd.DataFrame(columns)[list(X.columns)])
    np.testing.assert_array_equal(answer.json["outputs"][0]["data"], expected)
