"""The server's log as JSON: every line of it, whatever goes wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pyfunc_packaging import package_model

MODEL = """
import logging

from sklearn.base import BaseEstimator, RegressorMixin


class Talking(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        cells = X["x"].to_numpy(dtype=float)
        if cells[0] == -1:
            raise ZeroDivisionError('a "quoted"\\nmessage')
        if cells[0] == -2:
            logging.getLogger("talking.model").warning("the model's own %s", "line")
        return cells
"""

JSON = {"PYFUNC_LOG_FORMAT": "json", "PYFUNC_TRUST": "code"}


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talking")
    (folder / "talking_model.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        from talking_model import Talking

        rows = pd.DataFrame({"x": [0.0, 1.0]})
        return package_model(Talking().fit(rows), rows, path=folder / "b", name="talking").path


def ask(value: float, identity: str | None = None) -> dict[str, Any]:
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}
    return {"inputs": [tensor], **({} if identity is None else {"id": identity})}


def read(server: Any) -> list[dict[str, Any]]:
    """The log; fails on a line that is no JSON."""
    return [json.loads(line) for line in server.log.splitlines()]


@pytest.mark.parametrize("lane", ["on", "off"])
def test_every_line_is_an_object(
    talking: Path, start_server: Callable[..., Any], lane: str
) -> None:
    server = start_server(talking, env={**JSON, "PYFUNC_FAST_LANE": lane})
    assert server.infer("talking", ask(0.25, "fine")).status == 200
    assert server.infer("talking", ask(-1, "order-66")).status == 500
    assert server.infer("talking", ask(-2, "order-67")).status == 200
    assert server.infer("talking", {"inputs": []}).status == 400
    assert server.infer("talking", b"{").status == 400
    assert server.request("/nowhere").status == 404
    assert server.stop() == 0
    lines = read(server)
    assert {"mlserver", "mlserver.rest", "mlserver.grpc", "uvicorn.error"} <= {
        line["logger"] for line in lines
    }
    [failure] = [line for line in lines if line["level"] == "ERROR"]
    assert failure["message"].startswith("model talking failed: the model raised ZeroDivisionError")
    assert (failure["model"], failure["request_id"]) == ("talking", "order-66")
    assert failure["traceback"].startswith("Traceback (most recent call last)")
    assert 'ZeroDivisionError: a "quoted"\nmessage' in failure["traceback"]
    [own] = [line for line in lines if line["logger"] == "talking.model"]
    assert (own["message"], own["request_id"]) == ("the model's own line", "order-67")
    assert not [line for line in lines if "fine" in json.dumps(line)]  # no access log
    assert "0.25" not in server.log  # nor values


def test_text_says_where_things_are_once(talking: Path, start_server: Callable[..., Any]) -> None:
    server = start_server(talking, env={"PYFUNC_TRUST": "code"})
    assert server.stop() == 0
    page = f"http://127.0.0.1:{server.ports['http']}/v2/models/talking/docs"
    assert server.log.count(page) == 1
    assert server.log.count(f"HTTP server running on http://127.0.0.1:{server.ports['http']}") == 1
    for chatter in ("Uvicorn running", "Started server process", "Application startup"):
        assert chatter not in server.log


def test_a_model_that_cannot_be_served(tmp_path: Path, start_server: Callable[..., Any]) -> None:
    server = start_server(tmp_path / "nothing", env=JSON, wait=False)
    assert server.process.wait(timeout=120) == 3
    [line] = read(server)
    assert line["level"] == "ERROR"
    assert line["message"].startswith("cannot serve: ")


def test_another_format_ends_the_server(talking: Path, start_server: Callable[..., Any]) -> None:
    server = start_server(talking, env={"PYFUNC_LOG_FORMAT": "yaml"}, wait=False)
    assert server.process.wait(timeout=120) == 3
    assert "PYFUNC_LOG_FORMAT should be 'json' or 'text', found 'yaml'" in server.log
