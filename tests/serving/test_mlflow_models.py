"""Any MLflow PyFunc model with a signature, in process: no bundle, no socket, no MLflow service."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType
from mlserver import ModelSettings
from mlserver.codecs.json import encode_to_json_bytes
from mlserver.errors import MLServerError
from mlserver.grpc.converters import ModelInferResponseConverter
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from mlserver_pyfunc import PyFuncRuntime
from pyfunc_packaging.errors import BundleNotFound, MalformedBundle, MissingSignature

pytestmark = [
    # advice from MLflow to those who log models, which the models here leave aside on purpose
    pytest.mark.filterwarnings("ignore:.*An input example was not provided:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*Inferred schema contains integer column:UserWarning"),
    # MLflow 3.17 with pandas 3.1
    pytest.mark.filterwarnings("ignore:Operation with range is deprecated"),
]

X = Schema([ColSpec("double", "x")])

PYTHON_MODEL = """
import mlflow
import numpy as np
import pandas as pd


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        x = model_input["x"] if hasattr(model_input, "columns") else model_input
        {body}


mlflow.models.set_model(Model())
"""


@pytest.fixture(autouse=True)
def trust(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading such a model imports and mostly unpickles what is in it."""
    monkeypatch.setenv("PYFUNC_TRUST", "code")


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Save a Python model whose ``predict`` has the given body."""

    def save_model(body: str, signature: ModelSignature) -> Path:
        code = tmp_path / "model.py"
        code.write_text(PYTHON_MODEL.format(body=body))
        path = tmp_path / "model"
        mlflow.pyfunc.save_model(
            path, python_model=str(code), signature=signature, pip_requirements=["mlflow"]
        )
        return path

    return save_model


@pytest.fixture
def save_sklearn(tmp_path: Path) -> Callable[..., Path]:
    def save_model(model: Any, **options: Any) -> Path:
        path = tmp_path / "model"
        mlflow.sklearn.save_model(
            model,
            path,
            pip_requirements=["scikit-learn"],
            skops_trusted_types=[
                "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"
            ],
            **options,
        )
        return path

    return save_model


def load(uri: Path | str) -> PyFuncRuntime:
    return load_settings(
        ModelSettings(
            name="model",
            implementation=PyFuncRuntime,
            parameters=ModelParameters(uri=str(uri)),
        )
    )


def load_settings(settings: ModelSettings) -> PyFuncRuntime:
    runtime = PyFuncRuntime(settings)
    assert asyncio.run(runtime.load())
    return runtime


def column(name: str, datatype: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def infer(runtime: PyFuncRuntime, *inputs: Any, **fields: Any) -> dict[str, tuple[Any, ...]]:
    """Outputs as ``{name: (datatype, shape, data)}``, which metadata must agree with."""
    response = asyncio.run(runtime.predict(InferenceRequest(inputs=list(inputs), **fields)))
    outputs = {
        output["name"]: (output["datatype"], output["shape"], output["data"])
        for output in json.loads(encode_to_json_bytes(response.model_dump()))["outputs"]
    }
    for use_raw in (False, True):  # gRPC can carry it too
        copied = response.model_copy(deep=True)
        assert len(ModelInferResponseConverter.from_types(copied, use_raw).outputs) == len(outputs)
    described = {output.name: (output.datatype, output.shape) for output in runtime.outputs}
    assert {
        name: (datatype, [-1, *shape[1:]]) for name, (datatype, shape, _) in outputs.items()
    } == described
    return outputs


def refusal(runtime: PyFuncRuntime, *inputs: Any, **fields: Any) -> MLServerError:
    with pytest.raises(MLServerError) as caught:
        infer(runtime, *inputs, **fields)
    return caught.value


# --- scikit-learn, saved by MLflow itself -------------------------------------------------------


@pytest.fixture
def houses() -> pd.DataFrame:
    numbers = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "rooms": numbers.normal(5, 1, 60),
            "age": numbers.integers(1, 50, 60),
            "district": numbers.choice(["north", "south"], 60),
        }
    )


@pytest.fixture
def regressor(houses: pd.DataFrame) -> Any:
    encode = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore", sparse_output=False), ["district"]),
        remainder="passthrough",
    )
    target = (houses["rooms"] * 100).astype(int)
    return make_pipeline(encode, HistGradientBoostingRegressor(max_iter=5)).fit(houses, target)


SIGNATURE = ModelSignature(
    Schema(
        [
            ColSpec("double", "rooms", required=False),
            ColSpec("long", "age"),
            ColSpec("string", "district"),
        ]
    ),
    Schema([ColSpec("double")]),
)


def test_columns(save_sklearn: Any, regressor: Any, houses: pd.DataFrame) -> None:
    runtime = load(save_sklearn(regressor, signature=SIGNATURE))
    assert [(each.name, each.datatype, each.shape) for each in runtime.inputs] == [
        ("rooms", "FP64", [-1]),
        ("age", "INT64", [-1]),
        ("district", "BYTES", [-1]),
    ]
    answer = infer(
        runtime,
        column("district", "BYTES", ["north", "moon"]),
        column("age", "INT64", [3, 4]),
        column("rooms", "FP64", [4.5, 5.5]),
    )
    rows = pd.DataFrame({"rooms": [4.5, 5.5], "age": [3, 4], "district": ["north", "moon"]})
    assert answer == {"output-0": ("FP64", [2], regressor.predict(rows).tolist())}


def test_null_in_an_optional_column(save_sklearn: Any, regressor: Any) -> None:
    runtime = load(save_sklearn(regressor, signature=SIGNATURE))
    others = [column("age", "INT64", [3, 4]), column("district", "BYTES", ["north", "south"])]
    answer = infer(runtime, column("rooms", "FP64", [None, 5.5]), *others)
    rows = pd.DataFrame({"rooms": [np.nan, 5.5], "age": [3, 4], "district": ["north", "south"]})
    assert answer["output-0"][2] == regressor.predict(rows).tolist()
    error = refusal(
        runtime,
        column("rooms", "FP64", [1, 2]),
        column("age", "INT64", [3, None]),
        column("district", "BYTES", ["north", "south"]),
    )
    assert error.status_code == 400
    assert "input 'age', value 1: expected INT64, got null" in str(error)


@pytest.mark.parametrize("example", [False, True], ids=["no input example", "input example"])
def test_metadata_says_what_comes_not_what_was_trained_on(
    save_sklearn: Any, houses: pd.DataFrame, example: bool
) -> None:
    rows = houses[["rooms"]]
    target = (houses["rooms"] * 100).astype(int)
    model = LinearRegression().fit(rows, target)
    options = {"input_example": rows.head(2)} if example else {}
    runtime = load(save_sklearn(model, signature=infer_signature(rows, target), **options))
    answer = infer(runtime, column("rooms", "FP64", [4.5]))
    (output,) = answer.values()
    assert output == ("FP64", [1], model.predict(pd.DataFrame({"rooms": [4.5]})).tolist())


def test_zero_rows(save_sklearn: Any, regressor: Any) -> None:
    runtime = load(save_sklearn(regressor, signature=SIGNATURE))
    answer = infer(
        runtime,
        column("rooms", "FP64", []),
        column("age", "INT64", []),
        column("district", "BYTES", []),
    )
    assert answer == {"output-0": ("FP64", [0], [])}


# --- Python models: whatever predict() returns --------------------------------------------------

RETURNS = {
    "DataFrame": (
        'return pd.DataFrame({"low": x - 1, "n": x.astype(int)})',
        {"low": ("FP64", [2], [0.0, 1.0]), "n": ("INT64", [2], [1, 2])},
    ),
    "Series": ("return x * 2", {"output-0": ("FP64", [2], [2.0, 4.0])}),
    "list": ("return [cell * 2 for cell in x]", {"output-0": ("FP64", [2], [2.0, 4.0])}),
    "array": ("return x.to_numpy()", {"output-0": ("FP64", [2], [1.0, 2.0])}),
    "float32": ('return x.to_numpy("float32")', {"output-0": ("FP32", [2], [1.0, 2.0])}),
    "matrix": (
        "return np.column_stack([x, x + 1, x + 2])",
        {"output-0": ("FP64", [2, 3], [1.0, 2.0, 3.0, 2.0, 3.0, 4.0])},
    ),
    "dict of arrays": (
        'return {"a": x.to_numpy(), "b": (x > 1).to_numpy()}',
        {"a": ("FP64", [2], [1.0, 2.0]), "b": ("BOOL", [2], [False, True])},
    ),
    "list of dicts": (
        'return [{"a": cell, "b": str(cell)} for cell in x]',
        {"a": ("FP64", [2], [1.0, 2.0]), "b": ("BYTES", [2], ["1.0", "2.0"])},
    ),
    "strings": (
        'return [f"no. {cell:.0f}" for cell in x]',
        {"output-0": ("BYTES", [2], ["no. 1", "no. 2"])},
    ),
    "Series of strings": ("return x.astype(str)", {"output-0": ("BYTES", [2], ["1.0", "2.0"])}),
    "booleans": ("return [cell > 1 for cell in x]", {"output-0": ("BOOL", [2], [False, True])}),
    "integers": ("return [int(cell) for cell in x]", {"output-0": ("INT64", [2], [1, 2])}),
    "NaN": ("return x.where(x != 1)", {"output-0": ("FP64", [2], [None, 2.0])}),
}


@pytest.mark.parametrize(("body", "expected"), RETURNS.values(), ids=RETURNS)
def test_returns(save: Any, body: str, expected: Any) -> None:
    runtime = load(save(body, ModelSignature(inputs=X)))
    assert infer(runtime, column("x", "FP64", [1.0, 2.0])) == expected
    none = infer(runtime, column("x", "FP64", []))
    assert {name: (kind, data) for name, (kind, _, data) in none.items()} == {
        name: (kind, []) for name, (kind, _, _) in expected.items()
    }


def test_outputs_that_mlflow_could_not_infer(save: Any) -> None:
    runtime = load(save("return x * 2", ModelSignature(X, Schema([ColSpec(AnyType())]))))
    answer = infer(runtime, column("x", "FP64", [2.0]))
    assert answer == {"output-0": ("FP64", [1], [4.0])}


def test_outputs_that_nobody_knows(save: Any) -> None:
    path = save("if (x == 0).all(): raise ValueError\n        return x", ModelSignature(X))
    with pytest.raises(MissingSignature, match="does not say what the model returns"):
        load(path)


def test_declared_names_are_kept(save: Any) -> None:
    outputs = Schema([ColSpec("double", "low"), ColSpec("double", "high")])
    runtime = load(save("return np.column_stack([x - 1, x + 1])", ModelSignature(X, outputs)))
    answer = infer(runtime, column("x", "FP64", [1.0]))
    assert answer == {"low": ("FP64", [1], [0.0]), "high": ("FP64", [1], [2.0])}


def test_unnamed_tensor(save: Any) -> None:
    signature = ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 2, 2))]))
    runtime = load(save("return x.sum(axis=(1, 2))", signature))
    (described,) = runtime.inputs
    assert (described.name, described.datatype, described.shape) == ("input-0", "FP32", [-1, 2, 2])
    data = {"name": "input-0", "shape": [3, 2, 2], "datatype": "FP32", "data": list(range(12))}
    assert infer(runtime, data) == {"output-0": ("FP32", [3], [6.0, 22.0, 38.0])}
    error = refusal(runtime, {**data, "shape": [3, 4]})
    assert "input 'input-0': expected shape [-1, 2, 2]" in str(error)


def test_named_tensors(save: Any) -> None:
    signature = ModelSignature(
        Schema(
            [
                TensorSpec(np.dtype("int64"), (-1, 2), "ids"),
                TensorSpec(np.dtype("float64"), (-1,), "weight"),
            ]
        )
    )
    runtime = load(save('return x["ids"].sum(axis=1) * x["weight"]', signature))
    ids = {"name": "ids", "shape": [2, 2], "datatype": "INT64", "data": [[1, 2], [3, 4]]}
    answer = infer(runtime, column("weight", "FP64", [0.5, 1.0]), ids)
    assert answer == {"output-0": ("FP64", [2], [1.5, 7.0])}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param(None, 4.0, id="default"),
        pytest.param({"factor": 0.5}, 1.0, id="given"),
        pytest.param({"factor": 3}, 6.0, id="integer for a double"),
        pytest.param({"content_type": "pd"}, 4.0, id="of the protocol"),
        pytest.param({"power": 2}, "parameter 'power': unknown", id="unknown"),
        pytest.param({"factor": "2"}, "parameter 'factor': expected double", id="text"),
        pytest.param({"factor": True}, "parameter 'factor': expected double", id="boolean"),
        pytest.param({"factor": [1.0]}, "parameter 'factor': expected double", id="list"),
        pytest.param({"factor": None}, "parameter 'factor': expected double", id="null"),
    ],
)
def test_params(save: Any, parameters: Any, expected: Any) -> None:
    signature = ModelSignature(
        inputs=X, params=ParamSchema([ParamSpec("factor", "double", default=2.0)])
    )
    runtime = load(save('return x * params["factor"]', signature))
    request = column("x", "FP64", [2.0])
    if isinstance(expected, float):
        answer = infer(runtime, request, parameters=parameters)
        assert answer == {"output-0": ("FP64", [1], [expected])}
    else:
        error = refusal(runtime, request, parameters=parameters)
        assert error.status_code == 400
        assert expected in str(error)


# --- models that cannot be served, and models that fail -----------------------------------------


def test_no_signature(save_sklearn: Any, regressor: Any) -> None:
    path = save_sklearn(regressor)
    with pytest.raises(MissingSignature, match=r"signature=mlflow\.models\.infer_signature\(X"):
        load(path)


def test_no_python_function(save_sklearn: Any, regressor: Any) -> None:
    path = save_sklearn(regressor, signature=SIGNATURE)
    content = yaml.safe_load((path / "MLmodel").read_text())
    del content["flavors"]["python_function"]
    (path / "MLmodel").write_text(yaml.safe_dump(content))
    with pytest.raises(MalformedBundle, match="has the flavors sklearn, and python_function is"):
        load(path)


@pytest.mark.parametrize("content", ["{", "- 1", "", "\x00", "flavors: 5"])
def test_unreadable_mlmodel(tmp_path: Path, content: str) -> None:
    (tmp_path / "MLmodel").write_text(content)
    with pytest.raises(MalformedBundle, match="MLmodel: expected"):
        load(tmp_path)


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(BundleNotFound, match="no model there"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param('raise ValueError("pen")', "the model raised ValueError", id="raises"),
        pytest.param("return x.head(1)", "returned shape [1] for output", id="fewer rows"),
        pytest.param("return 1.0", "returned shape [] for output", id="no rows"),
        pytest.param('return x.astype("complex")', "the model returned", id="odd dtype"),
        pytest.param('return {"other": x.to_numpy()}', "the model returned 'other'", id="names"),
    ],
)
def test_failing_model(save: Any, caplog: pytest.LogCaptureFixture, body: str, words: str) -> None:
    outputs = None if "1.0" in body else Schema([ColSpec("double", "y")])
    body = f"if (x == 0).all(): return pd.DataFrame(dict(y=x))\n        {body}"
    runtime = load(save(body, ModelSignature(X, outputs)))
    error = refusal(runtime, column("x", "FP64", [1.0, 2.0]))
    assert error.status_code == 500
    assert words in str(error)
    assert "pen" not in str(error)
    (record,) = (each for each in caplog.records if each.levelname == "ERROR")
    assert "model model failed" in record.getMessage()
    assert record.exc_info
    assert ("pen" in caplog.text) == ("pen" in body)


# --- where a model lies -------------------------------------------------------------------------


@pytest.fixture
def doubling(save: Any) -> Path:
    return save("return x * 2", ModelSignature(inputs=X))


def test_uri_is_a_path_or_a_file_url(doubling: Path) -> None:
    for uri in (doubling, doubling.as_uri()):
        answer = infer(load(uri), column("x", "FP64", [2.0]))
        assert answer == {"output-0": ("FP64", [1], [4.0])}


def test_uri_relative_to_the_settings_file(doubling: Path) -> None:
    file = doubling.parent / "model-settings.json"
    file.write_text(
        '{"name": "model", "implementation": "mlserver_pyfunc.PyFuncRuntime",'
        ' "parameters": {"uri": "./model"}}'
    )
    runtime = load_settings(ModelSettings.parse_file(str(file)))
    assert infer(runtime, column("x", "FP64", [2.0])) == {"output-0": ("FP64", [1], [4.0])}


def test_no_mlflow_service_is_asked(doubling: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", "http://127.0.0.1:1")
    answer = infer(load(doubling), column("x", "FP64", [2.0]))
    assert answer == {"output-0": ("FP64", [1], [4.0])}
