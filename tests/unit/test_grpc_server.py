"""What the gRPC server does with faults of our own, which no request is known to cause."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from mlserver.grpc import dataplane_pb2 as pb

from mlserver_pyfunc.grpc_server import PyFuncGRPCServer
from mlserver_pyfunc.status import FAULT


class Aborted(Exception):
    """What gRPC raises to end a call."""


class Context:
    """A mock of a call, which has no transport here."""

    def __init__(self) -> None:
        self.ended: list[tuple[Any, str]] = []

    async def abort(self, status: Any, details: str) -> None:
        self.ended.append((status, details))
        raise Aborted


def fail(request: Any, context: Any) -> None:
    raise KeyError("a value of the request")


def test_our_own_fault_is_logged_and_not_explained(caplog: pytest.LogCaptureFixture) -> None:
    server = PyFuncGRPCServer.__new__(PyFuncGRPCServer)
    server._lane = SimpleNamespace(answer=fail)  # a mock: no lane is known to fail
    context = Context()
    request = pb.ModelInferRequest(model_name="m" * 1000)
    with caplog.at_level(logging.ERROR), pytest.raises(Aborted):
        asyncio.run(server._model_infer(request, context))
    assert context.ended == [(grpc.StatusCode.INTERNAL, FAULT)]
    [record] = caplog.records
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    assert len(record.getMessage()) < 150
