"""A server on each lane, the rows that every client sends, and environments of clients."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: What the server calls its model's version, as `pyfunc manifest` lets KServe tell it.
VERSION = "3"


@pytest.fixture(scope="session", params=["on", "off"], ids=["fast", "ordinary"])
def server(request: Any, california: Any, start_server: Callable[..., Any]) -> Any:
    """The example bundle, version 3, with the fast lane and without."""
    env = {"PYFUNC_FAST_LANE": request.param, "MLSERVER_MODEL_VERSION": VERSION}
    return start_server(california[2].path, env=env)


@pytest.fixture(scope="session")
def rows(california: Any) -> pd.DataFrame:
    """Three complete rows."""
    return california[1].dropna().head(3).reset_index(drop=True)


@pytest.fixture(scope="session")
def expected(california: Any, rows: pd.DataFrame) -> list[float]:
    """What the pipeline predicts for them."""
    return list(california[0].predict(rows))


@pytest.fixture(scope="session")
def kserve_client_python(make_environment: Callable[[str], Path]) -> Path:
    """Python with KServe's client, whose versions of libraries are others than ours."""
    return make_environment("kserve")


@pytest.fixture(scope="session")
def run_client(
    rows: pd.DataFrame, california: Any
) -> Callable[[Path | str, str, Any], dict[str, Any]]:
    """Run one of our client scripts in a process of its own; what it printed, as JSON."""

    def run(python: Path | str, script: str, server: Any) -> dict[str, Any]:
        asked = {
            "ports": server.ports,
            "name": california[2].name,
            "version": VERSION,
            "columns": rows.to_dict("list"),
        }
        done = subprocess.run(
            [str(python), "-I", str(Path(__file__).with_name(script))],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answers: dict[str, Any] = json.loads(done.stdout)
        return answers

    return run
