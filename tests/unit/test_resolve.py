import dataclasses
from pathlib import Path

import pytest

from pyfunc_packaging import load_bundle
from pyfunc_packaging.errors import (
    ArtifactRootNeeded,
    FilesMissing,
    InvalidModelUri,
    MalformedBundle,
    UnsupportedStorage,
)
from pyfunc_packaging.registry import _without_password
from pyfunc_packaging.resolve import map_proxied, resolve_model_uri
from pyfunc_packaging.storage import split_s3


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_ARTIFACT_ROOT_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("mlflow-artifacts:/1/models/m-0/artifacts", "s3://b/root/1/models/m-0/artifacts"),
        ("mlflow-artifacts:/1/models/m-0/artifacts/", "s3://b/root/1/models/m-0/artifacts"),
        ("mlflow-artifacts://mlflow:5000/1/models/m-0", "s3://b/root/1/models/m-0"),
        ("mlflow-artifacts://mlflow.example.com/1/m", "s3://b/root/1/m"),
        ("mlflow-artifacts:///1/m", "s3://b/root/1/m"),
        ("mlflow-artifacts:/", "s3://b/root"),
        ("http://mlflow:5000/api/2.0/mlflow-artifacts/artifacts/1/m", "s3://b/root/1/m"),
        ("https://host/prefix/api/2.0/mlflow-artifacts/artifacts/1/m/", "s3://b/root/1/m"),
    ],
)
@pytest.mark.parametrize("root", ["s3://b/root", "s3://b/root/"])
def test_proxied_locations(location, root, expected):
    assert map_proxied(location, root) == expected
    assert resolve_model_uri(location, artifact_root=root, check=False).uri == expected


@pytest.mark.parametrize(
    ("root", "expected"),
    [("s3://b", "s3://b/1/m"), ("/srv/mlflow/", "/srv/mlflow/1/m"), ("file:///srv", "/srv/1/m")],
)
def test_artifact_roots(root, expected):
    assert map_proxied("mlflow-artifacts:/1/m", root) == expected


@pytest.mark.parametrize(
    ("location", "root", "words"),
    [
        ("mlflow-artifacts:/1/../../secret", "s3://b/root", "found '.' or '..' in it"),
        ("mlflow-artifacts://5000/1/m", "s3://b/root", "a port without a host"),
        ("mlflow-artifacts:/1/m", "gs://b/root", "expected s3://bucket/prefix, the value of"),
        ("mlflow-artifacts:/1/m", "s3:///root", "found no bucket"),
    ],
)
def test_proxied_locations_that_cannot_be_mapped(location, root, words):
    with pytest.raises(InvalidModelUri) as caught:
        map_proxied(location, root)
    assert words in str(caught.value)


def test_a_wrong_artifact_root_is_refused_before_anybody_is_asked():
    with pytest.raises(InvalidModelUri, match="artifact root 'gs://b'"):
        resolve_model_uri("models:/X/1", artifact_root="gs://b")


def test_a_proxied_location_needs_an_artifact_root():
    with pytest.raises(ArtifactRootNeeded) as caught:
        resolve_model_uri("mlflow-artifacts:/1/m")
    assert "--artifact-root s3://bucket/prefix" in str(caught.value)
    assert "MLFLOW_ARTIFACT_ROOT_S3" in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("models:/X", "expected models:/name@alias, models:/name/3"),
        ("models:/X@", "expected models:/name@alias"),
        ("models:/@production", "expected models:/name@alias"),
        ("models:/", "expected models:/name@alias"),
        ("models:/X/latest", "stages and 'latest' move without notice, pass models:/X/3"),
        ("models:/X/Production", "found 'Production'"),
        ("models:/X/1/2", "found '1/2'"),
        ("models://X/3", "expected one slash behind models:"),
        ("runs:/", "expected runs:/<run id>/path"),
        ("s3:///prefix", "found no bucket"),
        ("", "expected models:/name@alias"),
    ],
)
def test_uris_without_a_meaning(uri, words):
    with pytest.raises(InvalidModelUri) as caught:
        resolve_model_uri(uri)
    assert words in str(caught.value)


@pytest.mark.parametrize("uri", ["modles:/X/3", "gs://bucket/model"])
def test_places_that_cannot_be_checked(uri):
    with pytest.raises(UnsupportedStorage, match="pass --no-check if KServe can fetch it"):
        resolve_model_uri(uri)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://b/a/c/", "s3://b/a/c"),
        ("s3://b/a/c///", "s3://b/a/c"),
        ("s3://b", "s3://b"),
        ("s3://b/", "s3://b"),
        (" s3://b/a ", "s3://b/a"),
        ("gs://b/model/", "gs://b/model"),
        ("file:///srv/my%20models/", "/srv/my models"),
        ("/srv/models/", "/srv/models"),
    ],
)
def test_physical_uris_unchecked(uri, expected):
    assert resolve_model_uri(uri, check=False).uri == expected


def test_split_s3():
    assert split_s3("s3://bucket") == ("bucket", "")
    assert split_s3("s3://bucket/a b/%20") == ("bucket", "a b/%20")


def test_a_bundle_on_disk(california):
    bundle = california[2]
    found = resolve_model_uri(str(bundle.path))
    assert (found.uri, found.digest, found.engine) == (
        str(bundle.path),
        bundle.digest,
        bundle.engine,
    )
    lines = (bundle.path / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert list(found.requirements) == lines
    assert resolve_model_uri(f"file://{bundle.path}") == found


def test_a_directory_without_or_above_a_model(california, tmp_path):
    with pytest.raises(FilesMissing, match="no such directory on this machine"):
        resolve_model_uri(str(tmp_path / "absent"))
    with pytest.raises(FilesMissing, match="nothing is there"):
        resolve_model_uri(str(tmp_path))
    bundle = california[2].path
    with pytest.raises(FilesMissing, match=f"there is one below, pass {bundle}"):
        resolve_model_uri(str(bundle.parent))


@pytest.mark.parametrize("content", ["<html>", "[]", '{"files": {}}', '{"engine": "pyfunc"}'])
def test_a_manifest_that_makes_no_sense(tmp_path, content):
    (tmp_path / "MLmodel").write_text("flavors: {}\n", encoding="utf-8")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(MalformedBundle, match=r"data/manifest\.json: expected"):
        resolve_model_uri(str(tmp_path))


def test_a_resolved_model_is_a_value(california):
    found = resolve_model_uri(str(california[2].path))
    assert found == dataclasses.replace(found)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.uri = "elsewhere"
    assert load_bundle(Path(found.uri)).digest == found.digest


def test_passwords_in_the_tracking_uri_are_not_shown():
    assert _without_password("https://me:secret@host:5000/x") == "https://…@host:5000/x"
    assert _without_password("http://host:5000") == "http://host:5000"
