"""What the fast lane has read once is read again only where it has to be."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import numpy as np

from mlserver_pyfunc.bodies import BodyHeaders
from mlserver_pyfunc.counts import Times
from mlserver_pyfunc.envelope import Envelope
from mlserver_pyfunc.fast_lane import _READ, FastLane
from mlserver_pyfunc.loop_time import LoopTime
from mlserver_pyfunc.plain import Decoded, PlainReader
from pyfunc_packaging.schema import Column, Schema

BODY = json.dumps(
    {"inputs": [{"name": "n", "shape": [1], "datatype": "INT64", "data": [7]}]}
).encode()


def read(model: Any, scope: dict[str, Any]) -> tuple[Envelope | None, Times]:
    lane = FastLane.__new__(FastLane)  # reading needs nothing of MLServer
    lane._limit = 10_000
    messages = [{"type": "http.request", "body": BODY, "more_body": False}]
    times = Times()

    async def run() -> Any:
        target: Any = SimpleNamespace(model=model)
        headers = BodyHeaders("application/json")
        return await lane._read(target, scope, messages, headers, times)

    return asyncio.run(run()), times


def make_model() -> Any:
    reader = PlainReader(Schema((Column("n", "long"),)))
    return SimpleNamespace(plain=reader, on_loop=LoopTime())


def test_what_was_read_for_the_model_is_not_read_again() -> None:
    model = make_model()
    known: Any = object()
    envelope, times = read(model, {_READ: (model, known, Times(0.25))})
    assert envelope is known
    assert times.decode == 0.25
    assert read(model, {_READ: (model, None, Times())})[0] is None


def test_what_was_read_for_another_model_is_read_again() -> None:
    """A reload may put another model in its place between the two."""
    other = Decoded({"x": np.array([0.5])}, 1)
    for scope in ({}, {_READ: (make_model(), other, Times(0.25))}):
        envelope, times = read(make_model(), scope)
        assert envelope is not None
        assert envelope.inputs == Decoded({"n": np.array([7])}, 1)
        assert 0 < times.decode < 0.25
