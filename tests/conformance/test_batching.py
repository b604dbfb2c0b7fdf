"""MLServer's adaptive batching gives one client another's answer; our runtime gives each its own.

The stock model decodes as ``mlserver-mlflow`` does, with ``PandasCodec``. MLServer joins requests
column by column: where one lacks a column, all rows behind it move up by one in that column.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec
from mlflow.types import Schema as MlflowSchema

pytestmark = pytest.mark.filterwarnings("ignore:.*An input example was not provided:UserWarning")

#: Requests that fill one batch.
SIZE = 32

STOCK = """
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, PandasCodec
from mlserver.types import InferenceResponse


class Stock(MLModel):
    async def predict(self, payload):
        rows = PandasCodec.decode_request(payload)
        answer = (1000 * rows["a"] + rows["b"].fillna(-1)).to_numpy()
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("y", answer)]
        )
"""

OURS = """
import mlflow


class Ours(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        rows = model_input
        return (1000 * rows["a"] + rows["b"].fillna(-1)).to_numpy()


mlflow.models.set_model(Ours())
"""


@pytest.fixture
def stock(start_program: Callable[..., Any], tmp_path: Path) -> Any:
    """``mlserver start`` with the stock model."""
    (tmp_path / "stock.py").write_text(STOCK, encoding="utf-8")
    settings = {"name": "model", "implementation": "stock.Stock"}
    batching = {"max_batch_size": SIZE, "max_batch_time": 5.0}
    (tmp_path / "model-settings.json").write_text(json.dumps({**settings, **batching}), "utf-8")

    def command(ports: dict[str, int]) -> list[str]:
        own = {f"{name}_port": port for name, port in ports.items()}
        server = {**own, "host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        (tmp_path / "settings.json").write_text(json.dumps(server), encoding="utf-8")
        return [str(Path(sys.executable).with_name("mlserver")), "start", str(tmp_path)]

    return start_program(command)


@pytest.fixture
def ours(start_server: Callable[..., Any], tmp_path: Path) -> Any:
    """``pyfunc serve`` with the same model, and told to make the same batches."""
    (tmp_path / "ours.py").write_text(OURS, encoding="utf-8")
    signature = ModelSignature(
        MlflowSchema([ColSpec("double", "a"), ColSpec("double", "b", required=False)]),
        MlflowSchema([ColSpec("double", "y")]),
    )
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=str(tmp_path / "ours.py"),
        signature=signature,
        pip_requirements=["mlflow"],
    )
    env = {
        "MLSERVER_MODEL_MAX_BATCH_SIZE": str(SIZE),
        "MLSERVER_MODEL_MAX_BATCH_TIME": "5",
        "PYFUNC_TRUST": "code",  # MLflow's models are code
    }
    return start_server(tmp_path / "model", "--name", "model", env=env)


def ask_together(server: Any) -> list[tuple[int, Any]]:
    """Send ``SIZE`` requests, then read the answers; the first lacks the column ``b``."""
    connections = [
        http.client.HTTPConnection("127.0.0.1", server.ports["http"], timeout=60)
        for _ in range(SIZE)
    ]
    for number, connection in enumerate(connections):
        inputs = [
            {"name": name, "shape": [1], "datatype": "FP64", "data": [float(number)]}
            for name in (("a",) if number == 0 else ("a", "b"))
        ]
        body = json.dumps({"inputs": inputs, "parameters": {"content_type": "pd"}})
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v2/models/model/infer", body, headers)
    answers = []
    for connection in connections:
        response = connection.getresponse()
        answers.append((response.status, json.loads(response.read())))
        connection.close()
    return answers


def own(number: int) -> list[float]:
    return [1000.0 * number + number]


def test_stock_batching_gives_away_the_rows_of_others(stock: Any) -> None:
    answers = ask_together(stock)
    assert {status for status, _ in answers} == {200}
    given = [answer["outputs"][0]["data"] for _, answer in answers]
    wrong = [number for number in range(1, SIZE) if given[number] != own(number)]
    # who was in the batch behind the incomplete request got the b of the next one
    assert wrong
    assert [[1000.0 * number + number + 1] == given[number] for number in wrong[:-1]] == [True] * (
        len(wrong) - 1
    )


def test_ours_gives_each_its_own(ours: Any) -> None:
    assert "max_batch_size is ignored" in ours.log
    (refused, refusal), *others = ask_together(ours)
    assert refused == 400
    assert "missing: 'b'" in refusal["error"]
    assert [status for status, _ in others] == [200] * (SIZE - 1)
    given = [answer["outputs"][0]["data"] for _, answer in others]
    assert given == [own(number) for number in range(1, SIZE)]
