"""Classifiers served by a real process: two outputs, over REST and gRPC, with both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC

from pyfunc_packaging import package_model
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import make_request

CLASSES = ["high", "low", "middle"]


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pipeline with three text labels: ``(model, X, bundle)``."""
    rng = np.random.default_rng(8)
    X = pd.DataFrame(
        {
            "income": rng.lognormal(size=300),
            "age": rng.normal(40.0, 9.0, size=300),
            "city": rng.choice(["Rome", "Bern", "Oslo"], size=300),
        }
    )
    X.loc[::9, "age"] = np.nan
    sums = X["income"] + (X["city"] == "Rome")
    y = pd.cut(sums, [-1, 0.8, 1.6, 99], labels=["low", "middle", "high"]).astype(str)
    front = make_column_transformer(
        (SimpleImputer(), ["income", "age"]), (OneHotEncoder(sparse_output=False), ["city"])
    )
    model = make_pipeline(front, HistGradientBoostingClassifier(max_iter=20, random_state=0))
    model.fit(X, y)
    path = tmp_path_factory.mktemp("levels") / "bundle"
    return model, X, package_model(model, X, y=y, path=path, name="levels", compile="require")


@pytest.fixture(scope="module")
def servers(levels: Any, start_server: Callable[..., Any]) -> dict[str, Any]:
    """The same bundle, served by each engine."""
    path = levels[2].path
    return {name: start_server(path, env={"PYFUNC_ENGINE": name}) for name in ("onnx", "pyfunc")}


def body(bundle: Any, rows: pd.DataFrame, **fields: Any) -> dict[str, Any]:
    return {**make_request(bundle.schema.columns, from_frame(bundle.schema, rows)), **fields}


@pytest.mark.parametrize("engine", ["onnx", "pyfunc"])
@pytest.mark.parametrize("rows", [1, 7, 300])
def test_rest_answers_label_and_probability(
    engine: str, rows: int, levels: Any, servers: dict[str, Any]
) -> None:
    model, X, bundle = levels
    sample = X.head(rows)
    answer = servers[engine].infer("levels", body(bundle, sample))
    assert answer.status == 200, answer.text
    label, probability = answer.json["outputs"]
    assert {**label, "data": None} == {
        "name": "label",
        "datatype": "BYTES",
        "shape": [rows],
        "data": None,
    }
    assert label["data"] == model.predict(sample).tolist()
    assert {**probability, "data": None} == {
        "name": "probability",
        "datatype": "FP64",
        "shape": [rows, 3],
        "data": None,
    }
    expected = model.predict_proba(sample).ravel()  # row by row
    np.testing.assert_allclose(probability["data"], expected, rtol=1e-9)


@pytest.mark.parametrize("engine", ["onnx", "pyfunc"])
def test_no_rows_are_answered_too(engine: str, levels: Any, servers: dict[str, Any]) -> None:
    _, X, bundle = levels
    outputs = servers[engine].infer("levels", body(bundle, X.head(0))).json["outputs"]
    assert [(each["name"], each["shape"], each["data"]) for each in outputs] == [
        ("label", [0], []),
        ("probability", [0, 3], []),
    ]


@pytest.mark.parametrize(
    "names", [["label"], ["probability"], ["probability", "label"], ["label", "probability"]]
)
def test_clients_get_the_outputs_that_they_ask_for(
    names: list[str], levels: Any, servers: dict[str, Any]
) -> None:
    _, X, bundle = levels
    asked = body(bundle, X.head(2), outputs=[{"name": name} for name in names])
    answer = servers["onnx"].infer("levels", asked)
    assert [output["name"] for output in answer.json["outputs"]] == names
    asked = body(bundle, X.head(2), outputs=[{"name": "chance"}])
    answer = servers["onnx"].infer("levels", asked)
    assert answer.status == 400
    assert "output 'chance': unknown; the model returns 'label', 'probability'" in answer.error


def test_metadata_says_what_the_columns_are_about(levels: Any, servers: dict[str, Any]) -> None:
    for server in servers.values():
        label, probability = server.request("/v2/models/levels").json["outputs"]
        assert label == {"name": "label", "datatype": "BYTES", "shape": [-1]}
        assert probability == {
            "name": "probability",
            "datatype": "FP64",
            "shape": [-1, 3],
            "parameters": {"classes": CLASSES},
        }
    assert levels[0].classes_.tolist() == CLASSES


def test_grpc_answers_both(levels: Any, servers: dict[str, Any]) -> None:
    model, X, bundle = levels
    sample = X.head(4)
    request = pb.ModelInferRequest(model_name="levels")
    for tensor in body(bundle, sample)["inputs"]:
        added = request.inputs.add(
            name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"]
        )
        if tensor["datatype"] == "BYTES":
            added.contents.bytes_contents.extend(text.encode() for text in tensor["data"])
        else:
            cells = [np.nan if cell is None else cell for cell in tensor["data"]]
            added.contents.fp64_contents.extend(cells)
    with grpc.insecure_channel(f"127.0.0.1:{servers['onnx'].ports['grpc']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        label, probability = stub.ModelInfer(request).outputs
        request.outputs.add(name="label")
        alone = stub.ModelInfer(request).outputs
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="levels"))
    assert (label.name, label.datatype, list(label.shape)) == ("label", "BYTES", [4])
    found = [text.decode() for text in label.contents.bytes_contents]
    assert found == model.predict(sample).tolist()
    assert list(probability.shape) == [4, 3]
    np.testing.assert_allclose(
        probability.contents.fp64_contents, model.predict_proba(sample).ravel(), rtol=1e-9
    )
    assert [output.name for output in alone] == ["label"]
    assert [output.name for output in metadata.outputs] == ["label", "probability"]


def numbers() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    return pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80)})


def test_a_classifier_without_probabilities_serves_its_label(
    tmp_path: Any, start_server: Callable[..., Any]
) -> None:
    X = numbers()
    model = LinearSVC().fit(X, (X["a"] > 0).astype(int))
    bundle = package_model(model, X, path=tmp_path / "bundle", name="svc", compile="require")
    server = start_server(bundle.path)
    outputs = server.infer("svc", body(bundle, X)).json["outputs"]
    assert [(each["name"], each["datatype"]) for each in outputs] == [("label", "INT64")]
    assert outputs[0]["data"] == model.predict(X).tolist()
    (described,) = server.request("/v2/models/svc").json["outputs"]
    assert described == {"name": "label", "datatype": "INT64", "shape": [-1]}


def test_a_label_by_another_threshold_than_one_half(
    tmp_path: Any, start_server: Callable[..., Any]
) -> None:
    X = numbers()
    inner = LogisticRegression()
    model = FixedThresholdClassifier(inner, threshold=0.05).fit(X, X["a"] + X["b"] > 0)
    bundle = package_model(model, X, path=tmp_path / "bundle", name="careful", compile="require")
    outputs = start_server(bundle.path).infer("careful", body(bundle, X)).json["outputs"]
    labels, chances = outputs[0]["data"], np.reshape(outputs[1]["data"], (80, 2))
    assert outputs[0]["datatype"] == "BOOL"
    assert labels == model.predict(X).tolist() == (chances[:, 1] >= 0.05).tolist()
    assert labels != (chances[:, 1] > 0.5).tolist()
    np.testing.assert_allclose(chances, model.predict_proba(X), rtol=1e-9)
