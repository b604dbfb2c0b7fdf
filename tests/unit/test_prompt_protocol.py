"""Requests that are answered where their last byte arrives, whatever parts they arrive in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from uvicorn.server import ServerState

from mlserver_pyfunc.heads import Heads
from mlserver_pyfunc.loop_time import LoopTime
from mlserver_pyfunc.prompt_protocol import make_protocol
from mlserver_pyfunc.responses import Answer

PATH = "/v2/models/m/infer"


class Lane:
    """Answers a body with itself; one that begins with a question mark is for the application."""

    def __init__(self) -> None:
        self._target = SimpleNamespace(
            model=SimpleNamespace(on_loop=LoopTime(), ready=True, name="m")
        )

    def find_target(self, scope: Any) -> Any:
        return self.find_by_path(scope["path"]) if scope["method"] == "POST" else None

    def find_by_path(self, path: str) -> Any:
        return self._target if path == PATH else None

    def answer_soon(
        self,
        target: Any,
        headers: Any,
        body: bytes,
        scope: Any,
        deliver: Callable[[Answer], None],
        *,
        arrived: float,
        alone: bool,
    ) -> bool:
        if body.startswith(b"?"):
            return False
        deliver(Answer(b"lane %r %b" % (headers.content_type, body)))
        return True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more and scope["path"] != "/early":
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        content = f"app {scope['method']} {scope['path']} ".encode() + body
        headers = [(b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


class Forgetful(Heads):
    """Knows no head."""

    def find(self, data: bytes) -> None:
        """Nothing."""


class Counting(Heads):
    """Counts the heads that it knew."""

    found = 0

    def find(self, data: bytes) -> Any:
        """As it is."""
        found = super().find(data)
        self.found += found is not None
        return found


class Wire(asyncio.Transport):
    """The other end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


def serve(parts: Sequence[bytes], heads: Heads) -> bytes:
    """All that is sent when these parts arrive, one after the other."""

    async def run() -> bytes:
        lane = Lane()
        protocol_class: Any = make_protocol(lane)  # type: ignore[arg-type]  # a stand-in
        protocol_class.heads = heads
        config = uvicorn.Config(lane, http=protocol_class, access_log=False)
        config.load()
        protocol = protocol_class(config=config, server_state=ServerState(), app_state={})
        wire = Wire()
        protocol.connection_made(wire)
        for part in parts:
            if wire.closed:
                break
            protocol.data_received(part)
            for _ in range(8):
                await asyncio.sleep(0)
        protocol.connection_lost(None)
        return wire.sent

    return asyncio.run(run())


def post(body: bytes, *headers: str, path: str = PATH) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


CHUNKED = (
    f"POST {PATH} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + b"2\r\n{}\r\n0\r\n\r\n"
)
#: A head that is the end of another one, if the parts are cut there.
WITHIN = b"POST /elsewhere HTTP/1.1\r\nX: " + post(b"in")

#: The same in a body that nobody reads.
EARLY = (
    b"POST /early HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    + f"{len(post(b'{}')):x}\r\n".encode()
    + post(b"{}")
    + b"\r\n0\r\n\r\n"
)

MESSAGES = st.sampled_from([post(b"{}"), post(b"[]")]) | st.sampled_from(
    [
        post(b"{}"),
        post(b"[]"),
        post(b"[1]"),
        post(b"?!"),
        post(b"{}", "Content-Type: text/csv"),
        post(b"{}", "Connection: close"),
        post(b"{}", path="/elsewhere"),
        post(post(b"in")),
        post(b"in"),
        WITHIN,
        CHUNKED,
        EARLY,
        b"\r\n" + post(b"{}"),
        b"GET /elsewhere HTTP/1.1\r\nHost: x\r\n\r\n",
    ]
)


@st.composite
def wires(draw: st.DrawFn) -> list[bytes]:
    """Requests, cut where they end, or within the line before, or anywhere."""
    parts, rest = [], b""
    for message in draw(st.lists(MESSAGES, min_size=2, max_size=8)):
        rest += message
        likely = [0, len(rest), len(rest) - len(message)]
        likely += [rest.find(mark) + len(mark) for mark in (b"X: ", b"\r\n\r\n", b"\r\n42\r\n")]
        cut = draw(st.sampled_from(likely) | st.integers(0, len(rest)))
        if cut:
            parts.append(rest[:cut])
        rest = rest[cut:]
    return [*parts, rest] if rest else parts


@given(parts=wires())
def test_a_known_head_changes_no_answer(parts: list[bytes]) -> None:
    heads = Heads()
    expected = serve(parts, Forgetful())
    assert serve(parts, heads) == expected
    assert serve(parts, heads) == expected  # with all that was learned from the first time


def test_a_head_is_known_from_the_second_request_on() -> None:
    heads = Counting()
    sent = serve([post(b"{}"), post(b"[]"), post(b"?!"), post(b"{}")], heads)
    assert heads.found == 3
    bodies = [part.partition(b"\r\n\r\n")[2] for part in sent.split(b"HTTP/1.1 200 OK")[1:]]
    assert bodies == [
        b"lane '' {}",
        b"lane '' []",
        b"app POST /v2/models/m/infer ?!",
        b"lane '' {}",
    ]


def test_what_the_application_answers_is_not_remembered() -> None:
    """It would be read in vain before it is parsed, each time."""
    heads = Counting()
    sent = serve([post(b"?!")] * 3, heads)
    assert heads.found == 0
    assert sent.count(b"app POST /v2/models/m/infer ?!") == 3


def test_what_is_remembered_is_bounded() -> None:
    heads = Counting()
    serve([post(b"{}", "X: " + "x" * 9000)] * 3, heads)
    assert heads.found == 0
    serve([post(b"{}", f"X: {number}") for number in range(1000)], heads)
    assert len(heads._known) <= 256


def test_a_body_that_nobody_reads_is_no_request() -> None:
    heads = Heads()
    cut, end = EARLY.index(b"POST", 1), EARLY.index(b"\r\n0\r\n")
    sent = serve([post(b"{}"), EARLY[:cut], EARLY[cut:end], EARLY[end:]], heads)
    assert sent.count(b"lane") == 1
    assert sent.endswith(b"app POST /early ")


def test_the_end_of_a_head_is_none() -> None:
    """What looks like a known request may be the rest of another one's head."""
    heads = Heads()
    cut = WITHIN.index(b"X: ") + len(b"X: ")
    sent = serve([post(b"in"), post(b"{}") + WITHIN[:cut], WITHIN[cut:]], heads)
    assert sent.endswith(b"app POST /elsewhere in")
