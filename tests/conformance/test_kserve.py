"""KServe's own client, over REST and gRPC, in its own environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NAME = "CaliforniaHousingRegressor"


@pytest.fixture(scope="module")
def answers(server: Any, kserve_client_python: Path, run_client: Callable[..., Any]) -> Any:
    return run_client(kserve_client_python, "kserve_client.py", server)


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_health(answers: Any, protocol: str) -> None:
    said = answers[protocol]
    assert (said["live"], said["ready"], said["model_ready"]) == (True, True, True)


def test_a_model_that_is_not_there_is_not_ready(answers: Any) -> None:
    assert answers["rest"]["no_model_ready"] is False


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_infer(answers: Any, expected: list[float], protocol: str) -> None:
    inferred = {key: said for key, said in answers[protocol].items() if key.startswith("infer ")}
    assert len(inferred) == 4
    for said in inferred.values():
        assert said == {
            "id": "order 66",
            "model_name": NAME,
            # over REST this client does not read it
            "model_version": "3" if protocol == "grpc" else None,
            "output": "median_house_value",
            "data": expected,
        }


def test_refusals(answers: Any) -> None:
    assert "missing: 'population'" in answers["rest"]["refusal"]
    assert "'400 Bad Request'" in answers["rest"]["refusal"]
    status, message = answers["grpc"]["refusal"]
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert "missing: 'population'" in message
