import errno
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pyfunc_packaging.bundle import (
    MANIFEST,
    Bundle,
    file_digest,
    is_bundle,
    load_bundle,
    read_manifest,
)
from pyfunc_packaging.contents import FORMAT_VERSION
from pyfunc_packaging.errors import (
    BundleNotFound,
    DamagedBundle,
    MalformedBundle,
    UnsuitableData,
)
from pyfunc_packaging.schema import Schema


@pytest.fixture
def path(california, tmp_path):
    """A copy of the example bundle, to break at will."""
    return shutil.copytree(california[2].path, tmp_path / "bundle")


def change(path, **entries):
    manifest = json.loads((path / MANIFEST).read_bytes())
    (path / MANIFEST).write_text(json.dumps(manifest | entries), encoding="utf-8")


def test_a_bundle_says_what_it_is(california, path):
    bundle = load_bundle(str(path))
    assert bundle == load_bundle(path)
    assert bundle.name == "CaliforniaHousingRegressor"
    assert bundle.engine == "onnx"
    assert {"python", "mlserver-pyfunc", "scikit-learn", "pandas"} <= set(bundle.versions)
    assert [column.name for column in bundle.schema.columns] == list(california[1])
    assert bundle.data_path == path / "data"
    assert bundle.timings == {}
    assert is_bundle(path)
    assert not is_bundle(path / "data")


def test_a_bundle_prints_what_matters(path):
    lines = repr(load_bundle(path)).splitlines()
    assert lines[0] == f"Bundle 'CaliforniaHousingRegressor' at {path}"
    assert lines[1].startswith("  takes    longitude: double, latitude: double, ")
    assert lines[1].endswith("ocean_proximity: string")
    assert lines[2] == "  returns  median_house_value: double"
    assert lines[3].startswith("  engine   onnx, equal to the pipeline on ")
    assert lines[4] == "  holds    the pipeline in data/model.skops"
    assert lines[5].startswith("  digest   sha256:")


def test_the_digest_is_that_of_the_manifest(california, path):
    expected = hashlib.sha256((path / MANIFEST).read_bytes()).hexdigest()
    assert load_bundle(path).digest == california[2].digest == f"sha256:{expected}"
    change(path, note="other")
    assert load_bundle(path).digest != f"sha256:{expected}"


def test_every_file_but_the_manifest_is_listed(path):
    found = {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()}
    assert set(load_bundle(path).manifest["files"]) == found - {MANIFEST}


def test_a_bundle_predicts_as_the_pipeline_it_holds(california, path):
    pipeline, rows, _ = california
    few = rows.head(20)
    found = load_bundle(path).predict(few[[*reversed(few.columns)]].assign(extra=1))
    np.testing.assert_allclose(found, pipeline.predict(few), rtol=1e-12)
    assert load_bundle(path).predict(few.head(0)).shape == (0,)


@pytest.mark.parametrize("rows", [pd.DataFrame({"a": [1]}), [[1.0]], {}])
def test_a_bundle_refuses_other_rows(path, rows):
    with pytest.raises(UnsuitableData):
        load_bundle(path).predict(rows)


def test_golden_rows_are_a_request_and_its_response(path):
    golden = load_bundle(path).golden()
    assert [tensor["name"] for tensor in golden["request"]["inputs"]][-1] == "ocean_proximity"
    [output] = golden["response"]["outputs"]
    assert (output["name"], output["datatype"]) == ("median_house_value", "FP64")
    assert len(output["data"]) == output["shape"][0]


# --- no bundle -----------------------------------------------------------------------------


def test_a_path_without_anything_is_no_bundle(tmp_path):
    with pytest.raises(BundleNotFound, match="nowhere: no such directory"):
        load_bundle(tmp_path / "nowhere")


def test_a_file_is_no_bundle(path):
    with pytest.raises(BundleNotFound, match="MLmodel: no such directory"):
        load_bundle(path / "MLmodel")


def test_a_folder_without_a_manifest_is_no_bundle(tmp_path):
    with pytest.raises(BundleNotFound, match=r"no bundle \(data/manifest\.json is not there\)"):
        load_bundle(tmp_path)


def test_a_plain_mlflow_model_is_called_one(path):
    (path / MANIFEST).unlink()
    with pytest.raises(BundleNotFound, match="an MLflow model, but no bundle"):
        load_bundle(path)


# --- a malformed manifest ------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_json_is_malformed(path, content):
    (path / MANIFEST).write_bytes(content)
    with pytest.raises(MalformedBundle, match=r"manifest\.json: expected JSON"):
        load_bundle(path)


@pytest.mark.parametrize("content", ["5", "[]", "null", '"text"', "{}", '{"format_version": "1"}'])
def test_a_manifest_without_a_version_is_malformed(path, content):
    (path / MANIFEST).write_text(content, encoding="utf-8")
    with pytest.raises(MalformedBundle, match="an object with an integer format_version"):
        load_bundle(path)


def test_a_newer_format_asks_for_an_upgrade(path):
    change(path, format_version=FORMAT_VERSION + 1, schema=None, files="elsewhere")
    with pytest.raises(
        MalformedBundle, match=r"format 2, .* reads up to 1; upgrade mlserver-pyfunc"
    ):
        load_bundle(path)


@pytest.mark.parametrize("value", [None, 5, ["x"], True])
@pytest.mark.parametrize("key", ["name", "engine", "schema", "versions", "reference", "files"])
def test_entries_of_other_types_are_malformed(path, key, value):
    change(path, **{key: value})
    with pytest.raises(MalformedBundle, match=f"expected '{key}' to be (str|dict), found "):
        load_bundle(path)


@pytest.mark.parametrize("reference", [{}, {"file": None}, {"file": 5}])
def test_a_reference_without_a_file_is_malformed(path, reference):
    change(path, reference=reference)
    with pytest.raises(MalformedBundle, match="'reference' to name a file"):
        load_bundle(path)


@pytest.mark.parametrize("schema", [{}, {"inputs": 5, "outputs": [], "params": []}])
def test_a_schema_that_cannot_be_read_is_malformed(path, schema):
    change(path, schema=schema)
    with pytest.raises(MalformedBundle, match="the schema is not one that this version can read"):
        load_bundle(path)


@pytest.mark.parametrize("digest", [None, 5, ["a"], {}])
def test_a_digest_that_is_no_text_is_malformed(path, digest):
    change(path, files={"MLmodel": digest})
    with pytest.raises(MalformedBundle, match="expected the sha256 of 'MLmodel'"):
        load_bundle(path)


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../other", "data/../../other", "data/..", "a\0b", "/"]
)
def test_files_outside_the_bundle_are_malformed(path, name):
    change(path, files={name: "0" * 64})
    with pytest.raises(MalformedBundle, match="names a file outside the bundle"):
        load_bundle(path)


# --- a damaged bundle ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["MLmodel", "data/model.skops", "data/golden.json"])
def test_an_altered_file_is_named(path, name):
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (path / name).write_bytes(content)
    with pytest.raises(DamagedBundle, match=f"{name} is not the file that was packaged"):
        load_bundle(path)


@pytest.mark.parametrize("name", ["requirements.txt", "data/model.skops", "data/golden.json"])
def test_a_missing_file_is_named(path, name):
    (path / name).unlink()
    with pytest.raises(DamagedBundle, match=f"{name} is missing; the copy is incomplete"):
        load_bundle(path)


def test_a_folder_in_place_of_a_file_is_missing(path):
    (path / "MLmodel").unlink()
    (path / "MLmodel").mkdir()
    with pytest.raises(DamagedBundle, match="MLmodel is missing"):
        load_bundle(path)


def test_a_golden_file_that_went_away_later_is_missing(path):
    bundle = load_bundle(path)
    (path / "data/golden.json").unlink()
    with pytest.raises(DamagedBundle, match=r"golden\.json is missing"):
        bundle.golden()


def test_the_digest_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert file_digest(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()
    assert file_digest(tmp_path) is None
    assert file_digest(tmp_path / "file" / "below") is None


@pytest.mark.parametrize(
    "name",
    [
        "data/model.pkl",
        "code/json.py",
        "data/more/deep.txt",
        "code/__pycache__/pyfunc_bundle_v1.cpython-311.pyc",
    ],
)
def test_a_file_that_was_added_is_named(path, name):
    (path / name).parent.mkdir(exist_ok=True)
    (path / name).write_text("surprise", encoding="utf-8")
    with pytest.raises(DamagedBundle, match=f"{name} was added after the bundle was packaged"):
        load_bundle(path)


def test_a_bundle_below_a_folder_of_byte_code_is_checked_like_any(path, tmp_path):
    (path / "code" / "json.py").write_text("surprise", encoding="utf-8")
    path = path.rename((tmp_path / "__pycache__").absolute())
    with pytest.raises(DamagedBundle, match=r"code/json\.py was added"):
        load_bundle(path)


def test_what_mlflow_adds_is_passed_over(path):
    (path / "registered_model_meta").write_text("model_name: x", encoding="utf-8")
    assert load_bundle(path).name == "CaliforniaHousingRegressor"


def test_pipes_devices_and_linked_folders_are_no_files(path, tmp_path):
    """Reading some of them would never end."""
    os.mkfifo(path / "data" / "pipe")
    with pytest.raises(DamagedBundle, match="data/pipe was added"):
        load_bundle(path)
    (path / "data" / "pipe").unlink()
    (tmp_path / "elsewhere").mkdir()
    (path / "code" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DamagedBundle, match="code/more was added"):
        load_bundle(path)
    (path / "code" / "more").unlink()
    os.mkfifo(tmp_path / "pipe")
    for special in (tmp_path / "pipe", Path("/dev/zero")):
        (path / "data" / "golden.json").unlink()
        (path / "data" / "golden.json").symlink_to(special)
        with pytest.raises(DamagedBundle, match=r"data/golden\.json is missing"):
            load_bundle(path)
    bundle = unchecked(path)
    with pytest.raises(DamagedBundle, match=r"golden\.json is missing"):
        bundle.golden()


def unchecked(path):
    """The bundle without its check of the files."""
    manifest, digest = read_manifest(path)
    return Bundle(path, manifest, Schema.from_dict(manifest["schema"]), digest)


@pytest.mark.parametrize("name", ["x" * 300, "data/\ud800"])
def test_a_name_that_no_file_can_have(name, path):
    files = json.loads((path / MANIFEST).read_bytes())["files"]
    change(path, files={**files, name: "0" * 64})
    with pytest.raises(DamagedBundle, match=r"cannot be read|is missing"):
        load_bundle(path)


@pytest.mark.parametrize("name", ["x; touch harm; :", "../x", "", "x y", "<b>", "x\n"])
def test_a_name_that_means_more_than_a_name_is_refused(name, path):
    """It is shown within commands, and is a part of URLs."""
    change(path, name=name)
    with pytest.raises(MalformedBundle, match="expected a name of letters, digits"):
        load_bundle(path)


@pytest.mark.parametrize(
    "entries",
    [
        {"compilation": {"file": "data/model.onnx"}},
        {"compilation": {"file": "data/model.onnx", "rows": "many"}},
        {"metrics": [{"target": "x"}]},
        {"metrics": [{"target": "y", "kind": "regression", "rows": 1, "figures": {"r2": None}}]},
        {"metrics": 5},
        {"code": "text"},
        {"code": [5]},
        {"versions": {"python": 3}},
    ],
)
def test_what_is_only_shown_has_to_be_what_it_should(entries, path):
    change(path, **entries)
    with pytest.raises(MalformedBundle, match="is not what the bundle format says"):
        load_bundle(path)


X = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]}


@pytest.mark.parametrize(
    "golden",
    [
        {},
        [],
        {"request": {"inputs": []}, "response": {"outputs": []}},
        {"request": {"inputs": [X, {**X, "data": [1, 2]}]}, "response": {"outputs": [X]}},
        {"request": {"inputs": [{**X, "name": 5}]}, "response": {"outputs": [X]}},
        {"request": {"inputs": [X]}, "response": {"outputs": [5]}},
        {"request": {"inputs": [X]}, "response": {"outputs": [{**X, "shape": None}]}},
    ],
)
def test_golden_rows_that_are_none_are_refused(golden, path):
    bundle = load_bundle(path)
    assert bundle.golden()["request"]["inputs"]
    (path / "data" / "golden.json").write_text(json.dumps(golden), encoding="utf-8")
    with pytest.raises(MalformedBundle, match=r"golden\.json: expected a V2 request"):
        bundle.golden()


@pytest.mark.parametrize(
    "change",
    [
        {"columns": []},
        {"rows": None},
        {"columns": {"x": {}}},
        {"columns": {"x": {"missing": "0"}}},
        {"columns": {"x": {"missing": 0, "quantiles": {"0.0": "low"}}}},
        {"columns": {"x": {"missing": 0, "categories": ["a"]}}},
        {"predictions": {"y": {"bounds": [2.0, 1.0], "at_most": [0.5, 1.0]}}},
        {"predictions": {"y": {"bounds": [1.0], "at_most": []}}},
        {"predictions": {"y": {"labels": {"yes": True}}}},
        {"predictions": []},
    ],
)
def test_a_profile_that_is_none_is_refused(path, change):
    file = path / "data" / "profile.json"
    bundle = load_bundle(path)
    profile = bundle.profile()
    assert profile["predictions"]
    file.write_text(json.dumps({**profile, **change}))
    with pytest.raises(MalformedBundle, match=r"profile\.json: expected numbers"):
        bundle.profile()


def test_a_bundle_that_cannot_be_read(path, monkeypatch):
    """The super-user can read everything, so the system's answer is played here."""

    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", refuse)
    with pytest.raises(DamagedBundle, match=r"manifest\.json: cannot be read: Permission denied"):
        load_bundle(path)
