"""Someone who reads a page, and what a page needs beside our own environment."""

from __future__ import annotations

import os
import shlex
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

sys.path.append(str(Path(__file__).resolve().parent))

from reading import ROOT, Reader, environment


@pytest.fixture
def reader(
    tmp_path: Path,
    start_server: Callable[..., Any],
    start_program: Callable[..., Any],
    request: pytest.FixtureRequest,
) -> Iterator[Reader]:
    """Someone in an empty folder, which has only the example of the repository in it."""
    (tmp_path / "models").symlink_to(ROOT / "models")

    def start(command: str, folder: Path) -> Any:
        words = shlex.split(command)
        settings = {}
        while "=" in words[0]:
            name, _, settings[name] = words.pop(0).partition("=")
        if words[:2] == ["pyfunc", "serve"]:
            # file names in variables are those of this folder
            inside = ("env", "-C", str(folder))
            return start_server(*words[2:], env=settings, wrap=inside)
        stock: Path = request.getfixturevalue("stock")
        words[0] = str(stock / words[0])
        server = start_program(
            lambda ports: [
                *("env", "-C", str(folder)),
                *(word.replace("5000", str(ports["http"])) for word in words),
            ],
            env=lambda ports: {
                **settings,
                "PATH": f"{stock}:{os.environ['PATH']}",
                **{f"MLSERVER_{name.upper()}_PORT": str(port) for name, port in ports.items()},
            },
            wait=words[0].endswith("mlserver"),
        )
        if not words[0].endswith("mlserver"):
            _wait_for_mlflow(server)
        return server

    client = NotebookClient(
        nbformat.v4.new_notebook(),
        timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    # MLflow's progress bar wants ipywidgets in a notebook
    quiet = {"PYTHONWARNINGS": "ignore:IProgress not found"}
    with client.setup_kernel(env={**environment(), **quiet}):
        reader = Reader(tmp_path, client, start)
        yield reader
        if reader.server is not None:
            reader.server.stop()


def _wait_for_mlflow(server: Any) -> None:
    """Until ``mlflow models serve`` answers; it has no route of V2."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert server.process.poll() is None, server.log
        try:
            if server.request("/ping").status == 200:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.05)
    raise AssertionError(f"not ready after two minutes:\n{server.log}")


@pytest.fixture(scope="session")
def stock(make_environment: Callable[[str], Path]) -> Path:
    """The programs of an environment with mlserver-mlflow, from its hashed constraints."""
    return make_environment("stock").parent
