"""Bodies: sizes, compression and content types."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlserver_pyfunc.bodies import (
    BodyHeaders,
    is_complete,
    join,
    parse_body,
    read_headers,
    read_limit,
    receive_messages,
)
from pyfunc_packaging.errors import InvalidArgument, InvalidRequest, RequestTooLarge

JSON = BodyHeaders("application/json")
GZIP = BodyHeaders("application/json", "gzip")


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def receive(messages: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    waiting = list(messages)

    async def next_message() -> dict[str, Any]:
        return waiting.pop(0)

    return asyncio.run(receive_messages(next_message, limit))


def test_parts_are_joined() -> None:
    messages = receive([part(b"ab", more=True), part(b"", more=True), part(b"c")], 10)
    assert is_complete(messages)
    assert join(messages) == b"abc"


def test_a_body_that_breaks_off_is_not_complete() -> None:
    messages = receive([part(b"ab", more=True), {"type": "http.disconnect"}], 10)
    assert not is_complete(messages)


def test_nothing_is_received_beyond_the_limit() -> None:
    parts = [part(b"abc", more=True)] * 5
    messages = receive(parts, 5)
    assert len(messages) == 2
    assert not is_complete(messages)


@pytest.mark.parametrize(
    "content_type",
    ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.x+json"],
)
def test_json(content_type: str) -> None:
    assert parse_body(b'{"a": 1}', BodyHeaders(content_type), 100) == {"a": 1}


def test_gzip() -> None:
    body = gzip.compress(b'{"a"') + gzip.compress(b": 1}")
    assert parse_body(body, GZIP, 100) == {"a": 1}
    assert parse_body(b"{}", BodyHeaders("application/json", "identity"), 100) == {}


@pytest.mark.parametrize(
    ("body", "headers", "message"),
    [
        (b"", JSON, "expected a JSON object with inputs"),
        (b"{", JSON, "the body is not JSON: "),
        (b"NaN", JSON, "the body is not JSON: "),
        (b"{}", BodyHeaders("text/csv"), "Content-Type: application/json, not 'text/csv'"),
        (b"{}", BodyHeaders("application/json, text/csv"), "not 'application/json, text/csv'"),
        (b"{}", GZIP, "Content-Encoding says 'gzip', it is not"),
        (gzip.compress(b"{}", mtime=0)[:-1], GZIP, "Content-Encoding says 'gzip', it is not"),
        (
            gzip.compress(b"{}", mtime=0)[:-9] + bytes(9),
            GZIP,
            "Content-Encoding says 'gzip', it is not",
        ),
        (b"{}", BodyHeaders("", "br"), "expected Content-Encoding gzip, or none; got 'br'"),
        (b"{}", BodyHeaders("", "gzip, gzip"), "got 'gzip, gzip'"),
        (b"{}", BodyHeaders("", "", "3"), "is 3, and the body has 2 bytes"),
        (b"{}", BodyHeaders("", "", "-1"), "to be a number of bytes, got '-1'"),
        (b"{}", BodyHeaders("", "", "2, 2"), "to be a number of bytes, got '2, 2'"),
        (b"{}", BodyHeaders("", "", "9" * 5000), "to be a number of bytes, got '999"),
        (b"{}", BodyHeaders("", "", "0"), "expected a JSON object with inputs"),
        (b"{}", BodyHeaders("", "", "1"), "the body is not JSON: "),
        (
            b'{"inputs":[%s0]}' % (b"0," * 10_000),
            JSON,
            "expected at most 10000 inputs in a request, got 10001",
        ),
    ],
)
def test_refused(body: bytes, headers: BodyHeaders, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        parse_body(body, headers, 100_000)


def test_too_large() -> None:
    with pytest.raises(RequestTooLarge, match=r"larger than 5 bytes; send fewer rows .*BODY_BYTES"):
        parse_body(b"      ", JSON, 5)


def test_a_gzip_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    assert len(bomb) < 100_000
    with pytest.raises(RequestTooLarge, match="larger than 100000 bytes"):
        parse_body(bomb, GZIP, 100_000)


@given(st.binary(max_size=40), st.text(max_size=9), st.text(max_size=9), st.text(max_size=3))
def test_any_body_is_read_or_refused(
    body: bytes, content_type: str, encoding: str, length: str
) -> None:
    with contextlib.suppress(InvalidRequest):
        parse_body(body, BodyHeaders(content_type, encoding, length), 1000)


def test_headers() -> None:
    found = read_headers(
        [
            (b"host", b"x"),
            (b"content-type", b"a"),
            (b"inference-header-content-length", b"7"),
            (b"content-type", b"b"),
            (b"accept-encoding", b"deflate"),
            (b"accept-encoding", b"br, gzip"),
        ]
    )
    assert found == BodyHeaders("a, b", "", "7", True)


@pytest.mark.parametrize("given", ["0", "-1", "1.5", "1 GB", "²"])
def test_limit_that_is_none(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("PYFUNC_MAX_BODY_BYTES", given)
    with pytest.raises(InvalidArgument, match="PYFUNC_MAX_BODY_BYTES should be a number of bytes"):
        read_limit()


def test_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_limit() == 256 * 1024 * 1024
    monkeypatch.setenv("PYFUNC_MAX_BODY_BYTES", "1000")
    assert read_limit() == 1000
