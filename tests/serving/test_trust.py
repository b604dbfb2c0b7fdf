"""What a model may do to the server: nothing, unless the operator lets its code run."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pandas as pd
import pytest
import skops.io
import yaml
from onnx import TensorProto, helper
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from mlserver_pyfunc.engines import load_engine
from pyfunc_packaging import package_model
from pyfunc_packaging.bundle import file_digest
from pyfunc_packaging.errors import (
    BundleError,
    CodeRefused,
    DamagedBundle,
    InvalidSetting,
    MalformedBundle,
    PyFuncError,
)
from pyfunc_packaging.signing import sign_bundle

pytestmark = [
    # advice from MLflow to those who log models, which the models here leave aside on purpose
    pytest.mark.filterwarnings("ignore:.*An input example was not provided:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*type hint:UserWarning"),
]

ROWS = pd.DataFrame({"a": np.linspace(0.0, 1.0, 40), "b": np.linspace(1.0, 3.0, 40) ** 2})
SUMMED = ROWS["a"] + ROWS["b"]


class Trap:
    """Unpickled, it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def vouch(path: Path, name: str) -> None:
    """Let the manifest vouch for a file, as whoever makes a hostile bundle can."""
    manifest = path / "data" / "manifest.json"
    facts = json.loads(manifest.read_text())
    facts["files"][name] = file_digest(path / name)
    manifest.write_text(json.dumps(facts))


def change(path: Path, **entries: Any) -> None:
    manifest = path / "data" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **entries}))


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PYFUNC_TRUST", "PYFUNC_VERIFY_KEY", "PYFUNC_VERIFY_CERTIFICATES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def pickled_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that only its pickle can serve."""
    path = tmp_path_factory.mktemp("pickled") / "bundle"
    model = make_pipeline(FunctionTransformer(lambda rows: rows * 2), LinearRegression())
    bundle = package_model(model.fit(ROWS, SUMMED), ROWS, path=path, name="pickled", compile="off")
    assert bundle.manifest["reference"]["serialization"] == "pickle"
    return path


@pytest.fixture
def pickled(pickled_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pickled_bundle, tmp_path / "pickled"))


@pytest.fixture(scope="module")
def compiled_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a graph."""
    path = tmp_path_factory.mktemp("compiled") / "bundle"
    bundle = package_model(
        LinearRegression().fit(ROWS, SUMMED), ROWS, path=path, name="compiled", compile="require"
    )
    return bundle.path


@pytest.fixture
def compiled(compiled_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled_bundle, tmp_path / "compiled"))


def add(engine: Any) -> list[float]:
    values = {"a": np.array([1.0]), "b": np.array([2.0])}
    (found,) = engine.predict(values, rows=1, params={}).values()
    return [round(float(value), 9) for value in found]


# --- pickles ------------------------------------------------------------------------------------


def test_a_pickle_is_not_loaded(pickled: Path, tmp_path: Path) -> None:
    (pickled / "data" / "model.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    vouch(pickled, "data/model.pkl")
    with pytest.raises(CodeRefused) as caught:
        load_engine(pickled)
    assert str(pickled / "data" / "model.pkl") in str(caught.value)
    assert "PYFUNC_TRUST is data: no code of a model runs. Set PYFUNC_TRUST=signed" in str(
        caught.value
    )
    assert not (tmp_path / "sprung").exists()
    assert str(pickled / "code") not in sys.path


@pytest.mark.parametrize("claim", ["skops", "onnx", None])
def test_a_pickle_is_not_loaded_whatever_the_manifest_says(
    claim: str | None, pickled: Path, tmp_path: Path
) -> None:
    (pickled / "data" / "model.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    vouch(pickled, "data/model.pkl")
    change(pickled, reference={"file": "data/model.pkl", "serialization": claim})
    with pytest.raises(CodeRefused, match=r"model\.pkl: a pickle"):
        load_engine(pickled)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_that_is_called_skops_is_not_loaded(pickled: Path, tmp_path: Path) -> None:
    (pickled / "data" / "model.skops").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    vouch(pickled, "data/model.skops")
    with pytest.raises(MalformedBundle, match=r"model\.skops: cannot be read"):
        load_engine(pickled)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_is_not_loaded_in_place_of_a_skops_file_that_goes(
    compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever can write to the folder takes it away after it was seen."""
    (compiled / "data" / "model.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    vouch(compiled, "data/model.pkl")
    monkeypatch.setenv("PYFUNC_ENGINE", "pyfunc")
    monkeypatch.setattr(
        "pyfunc_packaging.trusted_bundle.check_versions",  # just before the file is opened
        lambda *_, **__: (compiled / "data" / "model.skops").unlink(),
    )
    with pytest.raises(CodeRefused, match=r"model\.pkl: a pickle"):
        load_engine(compiled)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("spelling", ["filename", "file", np.str_("filename")])
def test_a_skops_file_lets_nobody_read_files(spelling: Any, compiled: Path) -> None:
    words = CountVectorizer(input="filename").fit([__file__])
    words.input = spelling
    model = make_pipeline(ColumnTransformer([("words", words, "a")]), LinearRegression())
    (compiled / "data" / "model.skops").write_bytes(skops.io.dumps(model))
    vouch(compiled, "data/model.skops")
    change(compiled, engine="pyfunc", compilation={"reason": "a test"})
    with pytest.raises(MalformedBundle, match=r"model\.skops: holds a CountVectorizer with input="):
        load_engine(compiled)


@pytest.mark.parametrize("field", ["left", "feature_idx"])
def test_a_tree_that_leads_out_of_its_memory_is_refused(field: str, compiled: Path) -> None:
    model = HistGradientBoostingRegressor(max_iter=1, min_samples_leaf=2).fit(ROWS, SUMMED)
    model._predictors[0][0].nodes[field] = 2**31
    (compiled / "data" / "model.skops").write_bytes(skops.io.dumps(model))
    vouch(compiled, "data/model.skops")
    change(compiled, engine="pyfunc", compilation={"reason": "a test"})
    with pytest.raises(MalformedBundle, match=r"HistGradientBoostingRegressor with a tree"):
        load_engine(compiled)


def test_trust_in_code_loads_it(pickled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFUNC_TRUST", "code")
    assert add(load_engine(pickled)) == [3.0]


def test_trust_in_signed_models_loads_it_once_it_is_verified(
    pickled: Path, keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYFUNC_TRUST", "signed")
    sign_bundle(pickled, private_key=keys / "private.pem")
    with pytest.raises(CodeRefused, match="name the public key in PYFUNC_VERIFY_KEY"):
        load_engine(pickled)
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", str(keys / "public.pem"))
    assert add(load_engine(pickled)) == [3.0]
    monkeypatch.setenv("PYFUNC_TRUST", "data")
    with pytest.raises(CodeRefused, match=r"model\.pkl"):
        load_engine(pickled)


@pytest.mark.parametrize("no", ["false", "0"])
def test_mlflows_own_switch_is_honoured(
    no: str, pickled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYFUNC_TRUST", "code")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", no)
    with pytest.raises(CodeRefused, match=f"MLFLOW_ALLOW_PICKLE_DESERIALIZATION is {no}"):
        load_engine(pickled)


@pytest.mark.parametrize("unclear", ["no", "off", " false", "f"])
def test_mlflows_own_switch_is_never_misread(
    unclear: str, pickled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYFUNC_TRUST", "code")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", unclear)
    with pytest.raises(InvalidSetting, match="should be 'true' or 'false', found"):
        load_engine(pickled)


def test_another_level_is_refused(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYFUNC_TRUST", "all")
    with pytest.raises(InvalidSetting, match="should be 'data', 'signed' or 'code', found 'all'"):
        load_engine(compiled)


def test_a_graph_serves_beside_a_pickle_that_is_never_touched(
    compiled: Path, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    (compiled / "data" / "model.skops").unlink()
    (compiled / "data" / "model.pkl").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    files = json.loads((compiled / "data" / "manifest.json").read_text())["files"]
    del files["data/model.skops"]
    change(
        compiled,
        reference={"file": "data/model.pkl", "serialization": "pickle", "reason": "a test"},
        files=files,
    )
    vouch(compiled, "data/model.pkl")
    server = start_server(compiled)
    inputs = [
        {"name": "a", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "b", "shape": [1], "datatype": "FP64", "data": [2.0]},
    ]
    answer = server.infer("compiled", {"inputs": inputs})
    assert answer.json["outputs"][0]["data"] == pytest.approx([3.0])
    assert not (tmp_path / "sprung").exists()


def test_the_server_refuses_a_pickle_in_one_line(
    pickled: Path, start_server: Callable[..., Any]
) -> None:
    server = start_server(pickled, wait=False)
    assert server.process.wait(timeout=60) == 3
    (line,) = (line for line in server.log.splitlines() if "cannot serve: " in line)
    assert "data/model.pkl: a pickle" in line
    assert "Traceback" not in server.log


# --- code ---------------------------------------------------------------------------------------


def test_modules_in_the_bundle_are_never_imported(
    compiled: Path, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    """Not those that the manifest vouches for, and not by the names of what the server imports."""
    harm = f"import os; os.mkdir({str(tmp_path / 'sprung')!r})"
    for name in ("json.py", "numpy/__init__.py", "pyfunc_bundle_v1.py", "sitecustomize.py"):
        for folder in ("code", "."):
            file = compiled / folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(harm)
            vouch(compiled, file.relative_to(compiled).as_posix())
    server = start_server(compiled)
    assert server.stop() == 0
    assert not (tmp_path / "sprung").exists()


def test_a_module_that_the_manifest_does_not_name_is_refused(compiled: Path) -> None:
    (compiled / "code" / "json.py").write_text("")
    with pytest.raises(DamagedBundle, match=r"code/json\.py was added after"):
        load_engine(compiled)


def test_settings_in_the_bundle_are_not_read(
    compiled: Path, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    """MLServer would import what they name."""
    (compiled / "evil.py").write_text(f"import os; os.mkdir({str(tmp_path / 'sprung')!r})")
    settings = {"name": "evil", "implementation": "evil.Evil"}
    (compiled / "model-settings.json").write_text(json.dumps(settings))
    server = start_server(compiled)
    assert server.request("/v2/models/compiled/ready").status == 200
    assert server.request("/v2/models/evil/ready").status == 404
    assert not (tmp_path / "sprung").exists()


def test_an_env_file_in_the_bundle_is_not_read(
    compiled: Path, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    """MLServer reads one where it is started, and calls what the logging settings name."""
    formatter = {"()": "os.mkdir", "path": str(tmp_path / "sprung")}
    logs = {"version": 1, "formatters": {"x": formatter}}
    (compiled / ".env").write_text(f"MLSERVER_LOGGING_SETTINGS={json.dumps(logs)}\n")
    server = start_server(".", wrap=("env", "-C", str(compiled)))
    assert server.request("/v2/models/compiled/ready").status == 200
    assert not (tmp_path / "sprung").exists()


@pytest.fixture
def mlflow_model(tmp_path: Path) -> Path:
    """No bundle: a model with code, as MLflow itself writes it."""
    code = tmp_path / "model.py"
    code.write_text(
        f"import os; os.mkdir({str(tmp_path / 'sprung')!r})\n"
        "import mlflow\n"
        "class Model(mlflow.pyfunc.PythonModel):\n"
        "    def predict(self, context, model_input, params=None):\n"
        "        return model_input['a'] + model_input['b']\n"
        "mlflow.models.set_model(Model())\n"
    )
    path = tmp_path / "model"
    mlflow.pyfunc.save_model(
        path,
        python_model=str(code),
        signature=mlflow.models.infer_signature(ROWS, SUMMED.to_numpy()),
        pip_requirements=["mlflow"],
    )
    (tmp_path / "sprung").rmdir()  # MLflow ran it to save it
    return path


def test_an_mlflow_model_needs_trust(
    mlflow_model: Path, keys: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CodeRefused, match=r"MLmodel: an MLflow model and no bundle.*PYFUNC_TRUST"):
        load_engine(mlflow_model)
    assert not (tmp_path / "sprung").exists()

    monkeypatch.setenv("PYFUNC_TRUST", "signed")
    sign_bundle(mlflow_model, private_key=keys / "private.pem")
    with pytest.raises(CodeRefused, match="PYFUNC_VERIFY_KEY"):
        load_engine(mlflow_model)
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", str(keys / "public.pem"))
    assert add(load_engine(mlflow_model)) == [3.0]
    assert (tmp_path / "sprung").exists()


# --- hostile content ----------------------------------------------------------------------------


def graph(
    *, location: str | None = None, size: int = 2, operator: str = "Add", domain: str = ""
) -> bytes:
    """A graph with one initialiser: its data elsewhere, or left out."""
    weights = TensorProto(name="w", data_type=TensorProto.DOUBLE, dims=[size])
    if location is not None:
        weights.data_location = TensorProto.EXTERNAL
        weights.external_data.add(key="location", value=location)
    node = helper.make_node(operator, ["a", "w"], ["prediction"], domain=domain)
    column = helper.make_tensor_value_info("a", TensorProto.DOUBLE, [None, 1])
    result = helper.make_tensor_value_info("prediction", TensorProto.DOUBLE, [None, size])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
    made = helper.make_model(
        helper.make_graph([node], "g", [column], [result], [weights]),
        opset_imports=opsets,
        ir_version=8,
    )
    assert isinstance(made, onnx.ModelProto)
    return made.SerializeToString()


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(graph(location="../../secret"), id="data outside of the bundle"),
        pytest.param(graph(location="/etc/hostname"), id="data at an absolute path"),
        pytest.param(graph(location="../../secret", size=10**12), id="8 TB of data elsewhere"),
        pytest.param(graph(size=10**12), id="8 TB that are not there"),
        pytest.param(graph(operator="Evil", domain="evil"), id="a custom operator"),
        pytest.param(b"nonsense", id="no graph"),
    ],
)
def test_a_hostile_graph_is_refused(content: bytes, compiled: Path) -> None:
    (compiled.parent / "secret").write_bytes(bytes(16))
    (compiled / "data" / "model.onnx").write_bytes(content)
    vouch(compiled, "data/model.onnx")
    with pytest.raises(MalformedBundle, match="the compiled graph does not load"):
        load_engine(compiled)


@pytest.mark.parametrize(
    "name", ["../outside", "data/../../outside", "/etc/passwd", "data/\0", "..", "data/../.."]
)
def test_a_name_outside_of_the_bundle_is_refused(name: str, compiled: Path) -> None:
    (compiled.parent / "outside").write_text("secret")
    files = json.loads((compiled / "data" / "manifest.json").read_text())["files"]
    change(compiled, files={**files, name: "0" * 64})
    with pytest.raises(MalformedBundle, match="names a file outside the bundle"):
        load_engine(compiled)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("[" * 200_000, id="deep"),
        pytest.param('{"a":' * 200_000, id="deep objects"),
        pytest.param("9" * 1_000_000, id="a long number"),
        pytest.param('{"format_version": 1e999}', id="infinity"),
        pytest.param(" " * (64 * 2**20 + 1), id="large"),
    ],
)
def test_a_json_bomb_is_refused(content: str, compiled: Path) -> None:
    (compiled / "data" / "manifest.json").write_text(content)
    with pytest.raises(MalformedBundle, match=r"manifest\.json"):
        load_engine(compiled)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything in a document; of long lists, the first two."""
    found = [path]
    pairs = value.items() if isinstance(value, dict) else enumerate(value[:2])
    for key, each in pairs:
        deep = isinstance(each, dict | list)
        found += places(each, (*path, key)) if deep else [(*path, key)]
    return found


def test_a_manifest_with_anything_anywhere_is_served_or_refused(compiled: Path) -> None:
    """Never is there an error that is not ours."""
    file = compiled / "data" / "manifest.json"
    original = file.read_text()
    refused = 0
    for path in places(json.loads(original)):
        for value in (None, 5, -1.5, "x", [], {}, [1], {"a": []}, True):
            document = {"": json.loads(original)}
            holder: Any = document
            for key in ("", *path)[:-1]:
                holder = holder[key]
            holder[("", *path)[-1]] = value
            file.write_text(json.dumps(document[""]))
            try:
                load_engine(compiled)
            except PyFuncError:
                refused += 1
    assert refused > 150


HOSTILE = "!!python/object/apply:os.mkdir [{path}]"


def test_yaml_runs_nothing(compiled: Path, tmp_path: Path, mlflow_model: Path) -> None:
    hostile = HOSTILE.format(path=tmp_path / "harm")
    with pytest.raises(yaml.YAMLError):
        yaml.safe_load(hostile)
    (compiled / "MLmodel").write_text(hostile)
    vouch(compiled, "MLmodel")
    assert add(load_engine(compiled)) == [3.0]  # it is not even read
    (mlflow_model / "MLmodel").write_text(hostile)
    with pytest.raises(CodeRefused):
        load_engine(mlflow_model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYFUNC_TRUST", "code")
        with pytest.raises(BundleError, match="expected YAML, found something else"):
            load_engine(mlflow_model)
    assert not (tmp_path / "harm").exists()
