"""Both engines of a bundle: which one serves, and what the compiled one does without."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline

from pyfunc_packaging import Bundle, package_model
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import make_request


def test_a_compiled_bundle_is_served_without_scikit_learn_and_mlflow(
    california: Any, california_server: Any, request_body: Any
) -> None:
    bundle = california[2]
    assert bundle.engine == "onnx"
    assert california_server.infer(bundle.name, request_body).status == 200
    maps = Path(f"/proc/{california_server.process.pid}/maps").read_text(encoding="utf-8")
    loaded = {
        name for name in ("sklearn", "scipy/", "mlflow", "skops", "onnxruntime") if name in maps
    }
    assert loaded == {"onnxruntime"}
    metadata = california_server.request(f"/v2/models/{bundle.name}").json
    assert metadata["platform"] == "onnxruntime_onnx"


def test_loading_a_compiled_bundle_imports_neither_scikit_learn_nor_mlflow(
    california: Any,
) -> None:
    program = """
import asyncio, sys
from mlserver import ModelSettings
from mlserver.settings import ModelParameters
from mlserver_pyfunc import PyFuncRuntime
settings = ModelSettings(
    name="m", implementation=PyFuncRuntime, parameters=ModelParameters(uri=sys.argv[1])
)
assert asyncio.run(PyFuncRuntime(settings).load())
print(sorted({"sklearn", "skops", "mlflow", "scipy", "onnx", "spox"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-Ic", program, str(california[2].path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("rows", [1, 7, 2000])
def test_both_engines_answer_alike(
    rows: int, california: Any, california_server: Any, pyfunc_server: Any
) -> None:
    pipeline, X, bundle = california
    sample = X.head(rows)
    body = _request(bundle, sample)
    compiled, reference = (
        server.infer(bundle.name, body).json["outputs"][0]
        for server in (california_server, pyfunc_server)
    )
    assert reference["data"] == pipeline.predict(sample).tolist()
    np.testing.assert_allclose(compiled["data"], reference["data"], rtol=1e-12)
    assert {**compiled, "data": None} == {**reference, "data": None}


@pytest.fixture(scope="module")
def pyfunc_server(california: Any, start_server: Callable[..., Any]) -> Any:
    return start_server(california[2].path, env={"PYFUNC_ENGINE": "pyfunc"})


def test_the_environment_chooses_the_engine(california: Any, pyfunc_server: Any) -> None:
    metadata = pyfunc_server.request(f"/v2/models/{california[2].name}").json
    assert metadata["platform"] == "sklearn"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("tensorrt", "PYFUNC_ENGINE should be 'onnx' or 'pyfunc', found 'tensorrt'"),
        ("onnx", "holds no compiled graph (compile='off'); unset the variable"),
    ],
)
def test_an_engine_that_is_not_there_is_refused(
    value: str, message: str, plain: Path, start_server: Callable[..., Any]
) -> None:
    server = start_server(plain, env={"PYFUNC_ENGINE": value}, wait=False)
    assert server.process.wait(timeout=60) == 3
    assert message in server.log
    assert "Traceback" not in server.log


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was not compiled."""
    X = _numbers()
    path = tmp_path_factory.mktemp("plain") / "bundle"
    package_model(LinearRegression().fit(X, X["a"]), X, path=path, name="plain", compile="off")
    return path


def test_a_damaged_graph_is_refused_before_it_is_loaded(
    california: Any, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(california[2].path, copy)
    graph = copy / "data" / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(bytes(content))
    server = start_server(copy, wait=False)
    assert server.process.wait(timeout=60) == 3
    assert "data/model.onnx is not the file that was packaged" in server.log


def test_what_the_model_refuses_is_the_clients_mistake_with_either_engine(
    tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    X = _numbers()
    forest = make_pipeline(RandomForestRegressor(n_estimators=3, random_state=0)).fit(X, X["a"])
    path = tmp_path / "bundle"
    bundle = package_model(forest, X, path=path, name="forest")
    assert bundle.engine == "onnx"
    body = _request(bundle, X.head(2).assign(a=1e39))  # more than a float32 holds
    answers = []
    for engine in ("onnx", "pyfunc"):
        server = start_server(path, env={"PYFUNC_ENGINE": engine})
        answers.append(server.infer("forest", body))
        server.stop()
    assert [answer.status for answer in answers] == [400, 400]
    assert answers[0].text == answers[1].text
    assert "numbers that stay finite on their way through the pipeline" in answers[0].error


def test_a_large_batch_does_not_hold_up_a_small_one(
    california: Any, california_server: Any
) -> None:
    """Rows beyond what is predicted at once go to a thread; the answers are the same."""
    pipeline, X, bundle = california
    many = X.sample(5000, replace=True, random_state=0)
    answer = california_server.infer(bundle.name, _request(bundle, many))
    np.testing.assert_allclose(
        answer.json["outputs"][0]["data"], pipeline.predict(many), rtol=1e-12
    )


def _numbers() -> Any:
    import pandas as pd

    rng = np.random.default_rng(0)
    return pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})


def _request(bundle: Bundle, rows: Any) -> Mapping[str, Any]:
    return make_request(bundle.schema.columns, from_frame(bundle.schema, rows))
