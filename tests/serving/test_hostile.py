"""Bytes that no client library sends: refused with a reason, or the connection is closed.

After each, the server gives the good request the answer it gave before. What client libraries can
send is in test_rest_refusals.py, test_binary.py and test_fast_lane.py.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

NAME = "CaliforniaHousingRegressor"
INFER = f"/v2/models/{NAME}/infer"
PATIENCE = 60
JSON_LENGTH = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def good() -> Any:
    example = Path(__file__).parents[2] / "models" / "california_housing" / "request.json"
    return json.loads(example.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def outputs(california_server: Any, good: Any) -> Any:
    return california_server.infer(NAME, good).json["outputs"]


@pytest.fixture(autouse=True)
def still_answers(california_server: Any, good: Any, outputs: Any) -> Iterator[None]:
    """After the test, the server gives the good request the answer it gave before."""
    before = len(california_server.log)
    yield
    assert california_server.infer(NAME, good).json["outputs"] == outputs
    assert "Traceback" not in california_server.log[before:]


class Reply(NamedTuple):
    """What came back until the server closed the connection, or answered what was asked."""

    statuses: list[int]
    text: str


def exchange(server: Any, *parts: bytes, answers: int = 1, finish: bool = False) -> Reply:
    """Send bytes as they are; ``finish`` says that no more will come."""
    with socket.create_connection(("127.0.0.1", server.ports["http"]), PATIENCE) as connection:
        received = b""
        try:
            for part in parts:
                connection.sendall(part)
            if finish:
                connection.shutdown(socket.SHUT_WR)
            while not is_whole(received, answers):
                chunk = connection.recv(1 << 16)
                if not chunk:
                    break
                received += chunk
        except OSError:  # closed before it had read everything
            pass
    statuses = [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3})", received)]
    return Reply(statuses, received.decode())


def is_whole(received: bytes, answers: int) -> bool:
    for _ in range(answers):
        head, end, received = received.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        if not end or not length or len(received) < int(length[1]):
            return False
        received = received[int(length[1]) :]
    return True


def both(twins: Any, *parts: bytes, **options: Any) -> Reply:
    """The same from both lanes, but for ids and dates."""
    replies = [exchange(server, *parts, **options) for server in (twins.fast, twins.ordinary)]
    texts = [re.sub(r"date: [^\r]*|[0-9a-f]{8}-[-0-9a-f]{27}", "", reply.text) for reply in replies]
    assert replies[0].statuses == replies[1].statuses
    assert texts[0] == texts[1]
    return replies[0]


def head(*headers: str, path: str = INFER, version: str = "1.1", method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: x", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def post(body: bytes, *headers: str, **options: Any) -> bytes:
    kind = () if any(each.lower().startswith("content-type") for each in headers) else _JSON
    return head(*kind, f"Content-Length: {len(body)}", *headers, **options) + body


_JSON = ("Content-Type: application/json",)


def dump(content: Any) -> bytes:
    return json.dumps(content).encode()


# --- tensors as bytes -----------------------------------------------------------------------------


def as_bytes(good: Any, name: str, content: bytes, /, **fields: Any) -> tuple[bytes, bytes]:
    """The good request with one input sent as bytes: its JSON, and what comes behind it."""
    inputs = [
        {
            **{key: value for key, value in tensor.items() if key != "data"},
            "parameters": {"binary_data_size": len(content)},
            **fields,
        }
        if tensor["name"] == name
        else tensor
        for tensor in good["inputs"]
    ]
    return dump({"inputs": inputs}), content


TWO = struct.pack("<2d", 1.0, 2.0)


def size(value: Any) -> dict[str, Any]:
    return {"parameters": {"binary_data_size": value}}


TENSORS: dict[str, tuple[str, bytes, dict[str, Any], str]] = {
    "size beyond the body": ("population", TWO, size(17), "17, and only 16 bytes are left"),
    "size of 2**62": ("population", TWO, size(2**62), "only 16 bytes are left"),
    "size below the bytes": ("population", TWO, size(8), "of FP64 means 16 bytes, got 8"),
    "size zero": ("population", TWO, size(0), "of FP64 means 16 bytes, got 0"),
    "negative size": ("population", TWO, size(-16), "expected binary_data_size to be a number"),
    "size true": ("population", TWO, size(True), "expected binary_data_size to be a number"),
    "size as text": ("population", TWO, size("16"), "expected binary_data_size to be a number"),
    "size 16.0": ("population", TWO, size(16.0), "expected binary_data_size to be a number"),
    "shape of 2**62 by 2**62": (
        "population",
        TWO,
        {"shape": [2**62, 2**62]},
        "input 'population': shape [4611686018427387904, 4611686018427387904] of FP64 means",
    ),
    "BYTES of 2**62 by 2**62": (
        "ocean_proximity",
        b"\0\0\0\0",
        {"shape": [2**62, 2**62]},
        "input 'ocean_proximity': expected ",
    ),
    "shape of 2**61 whose bytes overflow": (
        "population",
        b"",
        {"shape": [2**61]},
        "of FP64 means 18446744073709551616 bytes, got 0",
    ),
    "-1 twice": ("population", TWO, {"shape": [-1, -2]}, "a shape of non-negative integers"),
    "no values, but rows": ("population", b"", {"shape": [2, 0]}, "expected shape [n] or [n, 1]"),
    "half a number": ("population", TWO[:12], {}, "means 16 bytes, got 12"),
    "length prefix beyond the bytes": (
        "ocean_proximity",
        struct.pack("<I", 2**32 - 1) + b"INLAND",
        {},
        "input 'ocean_proximity', value 0: its length prefix goes beyond the bytes",
    ),
    "half a length prefix": (
        "ocean_proximity",
        struct.pack("<I", 6) + b"INLAND" + b"\6\0",
        {},
        "input 'ocean_proximity': the bytes end within a length prefix",
    ),
    "too few elements": (
        "ocean_proximity",
        struct.pack("<I", 6) + b"INLAND",
        {},
        "expected 2 elements, the bytes have 1",
    ),
    "a million empty elements": (
        "ocean_proximity",
        bytes(4_000_000),
        {},
        "expected 2 elements, the bytes have 1000000",
    ),
    "no UTF-8": (
        "ocean_proximity",
        struct.pack("<I", 2) + b"\xff\xfe" + struct.pack("<I", 6) + b"INLAND",
        {},
        "input 'ocean_proximity', value 0",
    ),
}


@pytest.mark.parametrize(("name", "content", "fields", "words"), TENSORS.values(), ids=TENSORS)
def test_tensors(
    california_server: Any, good: Any, name: str, content: bytes, fields: Any, words: str
) -> None:
    text, tail = as_bytes(good, name, content, **fields)
    reply = both(california_server, post(text + tail, f"{JSON_LENGTH}: {len(text)}"))
    assert reply.statuses == [400], reply.text
    assert words in reply.text


@pytest.mark.parametrize(
    ("length", "words"),
    [
        ("-1", "to be a number of bytes, got '-1'"),
        ("99999999", "is 99999999, and the body has"),
        ("9" * 19, "and the body has"),
        ("9" * 400, "to be a number of bytes"),
        ("0", "expected a JSON object with inputs"),
        ("1", "the body is not JSON"),
        ("0x10", "to be a number of bytes"),
        ("1_0", "to be a number of bytes"),
        ("+10", "to be a number of bytes"),
        ("1e3", "to be a number of bytes"),
        ("²", "to be a number of bytes"),
    ],
)
def test_length_of_the_json(california_server: Any, good: Any, length: str, words: str) -> None:
    reply = both(california_server, post(dump(good), f"{JSON_LENGTH}: {length}"))
    assert reply.statuses == [400], reply.text
    assert words in reply.text


def test_two_lengths_of_the_json(california_server: Any, good: Any) -> None:
    text = dump(good)
    twice = [f"{JSON_LENGTH}: {len(text)}", f"{JSON_LENGTH}: {len(text) - 1}"]
    reply = both(california_server, post(text, *twice))
    assert reply.statuses == [400]
    assert "to be a number of bytes" in reply.text


# --- bodies ---------------------------------------------------------------------------------------


def test_garbage(california_server: Any) -> None:
    for filler in (b"\0", b"\xff", b"{", b'"', b"9", b" "):
        reply = both(california_server, post(filler * 3_000_000))
        assert reply.statuses == [400]
        assert "the body is not JSON" in reply.text


@pytest.mark.parametrize("opening", [b"[", b'{"inputs":', b'{"inputs":[{"parameters":{"a":'])
def test_nesting(california_server: Any, opening: bytes) -> None:
    reply = both(california_server, post(opening * 100_000))
    assert reply.statuses == [400]
    assert "not JSON" in reply.text


def test_nesting_in_a_parameter(california_server: Any, good: Any) -> None:
    text = dump({**good, "parameters": {"deep": "HERE"}})
    text = text.replace(b'"HERE"', b"[" * 900 + b"]" * 900)
    assert both(california_server, post(text)).statuses == [200]  # nobody looks at it


@pytest.mark.parametrize(("inputs", "status"), [(10_000, 400), (10_001, 413)])
def test_very_many_inputs(california_server: Any, inputs: int, status: int) -> None:
    tensor = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}
    content = {"inputs": [{**tensor, "name": f"x{position}"} for position in range(inputs)]}
    start = time.monotonic()
    reply = both(california_server, post(dump(content)))
    assert reply.statuses == [status]
    assert "inputs" in reply.text
    assert len(reply.text) < 2000
    assert time.monotonic() - start < 10


def test_a_bomb(start_twins: Any, california: Any, good: Any) -> None:
    """A gigabyte of spaces in a megabyte; a body may have 16 MiB."""
    twins = start_twins(california[2].path, env={"PYFUNC_MAX_BODY_BYTES": str(1 << 24)})
    bomb = gzip.compress(b" " * (1 << 20), 9) * 1024  # gzip's members follow one another
    before = [read_peak(server) for server in (twins.fast, twins.ordinary)]
    reply = both(twins, post(bomb, "Content-Encoding: gzip"))
    assert reply.statuses == [413]
    assert "the body is larger than 16777216 bytes" in reply.text
    for server, peak in zip((twins.fast, twins.ordinary), before, strict=True):
        assert read_peak(server) - peak < 100_000
    assert twins.infer(NAME, good).status == 200


def read_peak(server: Any) -> int:
    """The most memory that the process has had, in KiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.parametrize(
    ("encoding", "words"),
    [
        ("br", "expected Content-Encoding gzip"),
        ("gzip, gzip", "expected Content-Encoding gzip"),
        ("deflate", "expected Content-Encoding gzip"),
        ("gzip", "Content-Encoding says 'gzip', it is not"),
    ],
)
def test_encodings(california_server: Any, good: Any, encoding: str, words: str) -> None:
    reply = both(california_server, post(dump(good), f"Content-Encoding: {encoding}"))
    assert reply.statuses == [400]
    assert words in reply.text


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/octet", "application/jsonp", "é", "a" * 5000]
)
def test_content_types(california_server: Any, good: Any, kind: str) -> None:
    reply = both(california_server, post(dump(good), f"Content-Type: {kind}"))
    assert reply.statuses == [400]
    assert "Content-Type: application/json" in reply.text


def test_two_content_types(california_server: Any, good: Any) -> None:
    reply = both(california_server, post(dump(good), *_JSON, "Content-Type: text/csv"))
    assert reply.statuses == [400]


def test_repeated_keys(california_server: Any, good: Any, outputs: Any) -> None:
    """The last one counts, as for nearly every reader of JSON; nothing is mixed of the two."""
    text = dump(good)
    doubled = text[:-1] + b',"inputs":[]}'
    reply = both(california_server, post(doubled))
    assert reply.statuses == [400]
    assert "missing: 'longitude'" in reply.text
    reply = both(california_server, post(b'{"inputs":[],' + text[1:]))
    assert reply.statuses == [200]
    assert json.loads(reply.text.partition("\r\n\r\n")[2])["outputs"] == outputs


# --- HTTP -----------------------------------------------------------------------------------------


def chunked(*chunks: bytes) -> bytes:
    return head(*_JSON, "Transfer-Encoding: chunked") + b"".join(chunks)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


def test_chunks_of_one_byte(california_server: Any, good: Any) -> None:
    text = dump(good)
    wire = chunked(*(chunk(text[i : i + 1]) for i in range(len(text))), b"0\r\n\r\n")
    assert both(california_server, wire).statuses == [200]


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-5\r\n{}\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n{}",
        b"2\r\n{}too long\r\n0\r\n\r\n",
        b"\r\n\r\n",
        b"0" * 100_000,
    ],
    ids=["no number", "negative", "beyond 64 bits", "longer than said", "no size", "zeros"],
)
def test_broken_chunks(california_server: Any, chunks: bytes) -> None:
    reply = both(california_server, chunked(chunks), finish=True)
    assert reply.statuses in ([], [400])


BROKEN = {
    "no HTTP": b"hello, is there anybody?\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "negative length": head(*_JSON, "Content-Length: -1") + b"{}",
    "length that is no number": head(*_JSON, "Content-Length: two") + b"{}",
    "two lengths": head(*_JSON, "Content-Length: 2", "Content-Length: 3") + b"{}}",
    "length and chunks": head(*_JSON, "Content-Length: 2", "Transfer-Encoding: chunked") + b"{}",
    "unknown method": head(method="BREW"),
    "header without a colon": head("nonsense"),
    "NUL in a header": head("X-Nul: a\0b"),
    "header of a megabyte": head("X-Long: " + "a" * 1_000_000),
    "100,000 headers": head(*["X-Many: 1"] * 100_000),
    "header that never ends": head()[:-2] + b"X-Long: " + b"a" * 100_000,
    "headers that never end": head()[:-2] + b"X-Many: 1\r\n" * 10_000,
    "path of a megabyte": head(path="/" + "a" * 1_000_000),
}


@pytest.mark.parametrize("wire", BROKEN.values(), ids=BROKEN)
def test_broken_http(california_server: Any, wire: bytes) -> None:
    for server in (california_server.fast, california_server.ordinary):
        reply = exchange(server, wire, finish=True)
        assert all(400 <= status < 500 for status in reply.statuses), reply.text


def test_headers_do_not_fill_the_memory(california_server: Any) -> None:
    """A client that sends headers for ever is cut off; it may be too busy to read why."""
    for server in (california_server.fast, california_server.ordinary):
        before = read_peak(server)
        with socket.create_connection(("127.0.0.1", server.ports["http"])) as connection:
            connection.sendall(head()[:-2] + b"X-Long: ")
            with pytest.raises((BrokenPipeError, ConnectionResetError)):
                connection.sendall(b"a" * 100_000_000)
        assert read_peak(server) - before < 20_000


def test_headers_that_are_too_long_are_told_so(california_server: Any) -> None:
    for server in (california_server.fast, california_server.ordinary):
        with socket.create_connection(("127.0.0.1", server.ports["http"])) as connection:
            connection.settimeout(PATIENCE)
            connection.sendall(head()[:-2] + b"X-Long: " + b"a" * 65_536)
            received = b""
            while chunk := connection.recv(1 << 16):
                received += chunk
        assert received.startswith(b"HTTP/1.1 400 ")
        assert b"expected at most 65536 bytes of request line and headers" in received


def test_http_1_0(california_server: Any, good: Any) -> None:
    reply = both(california_server, post(dump(good), version="1.0"))
    assert reply.statuses == [200]
    assert "connection: close" in reply.text.lower()


def test_no_length_and_no_chunks(california_server: Any, good: Any) -> None:
    """A body that nothing announces is none, and what follows is no request."""
    reply = both(california_server, head(*_JSON) + dump(good), finish=True)
    assert reply.statuses[:1] == [400]


def test_pipelining(california_server: Any, good: Any) -> None:
    """Good and bad ones at once: each is answered, in their order."""
    wire = b"".join(
        [
            post(dump(good)),
            post(b"{"),
            post(dump({"inputs": []})),
            head(path="/v2/health/live", method="GET"),
            post(dump(good), path="/v2/models/nobody/infer"),
            post(dump(good)),
        ]
    )
    reply = both(california_server, wire, answers=6)
    assert reply.statuses == [200, 400, 400, 200, 404, 200]


def test_a_body_longer_than_its_length(california_server: Any, good: Any) -> None:
    """What comes behind a body is another request, and this one is none.

    The fast lane has answered the first one by then; uvicorn's task has not begun, and never does.
    """
    wire = post(dump(good)) + b"and more\r\n\r\n"
    found = exchange(california_server.fast, wire, finish=True, answers=2)
    assert found.statuses == [200, 400]
    found = exchange(california_server.ordinary, wire, finish=True, answers=2)
    assert found.statuses in ([400], [200, 400])


def test_slow_senders(california_server: Any, good: Any) -> None:
    """A hundred clients that send a byte now and then hold up nobody."""
    wire = post(dump(good))
    for server in (california_server.fast, california_server.ordinary):
        address = ("127.0.0.1", server.ports["http"])
        slow = [socket.create_connection(address, PATIENCE) for _ in range(100)]
        for position in range(0, 300, 10):
            for connection in slow:
                connection.sendall(wire[position : position + 10])
            if position % 100 == 0:
                assert exchange(server, wire).statuses == [200]
        slow[0].sendall(wire[300:])
        assert slow[0].recv(1 << 16).startswith(b"HTTP/1.1 200")
        for connection in slow:
            connection.close()


def test_half_closed(california_server: Any, good: Any) -> None:
    """Who closes his half may get his answer or not, whole if he gets one."""
    for server in (california_server.fast, california_server.ordinary):
        reply = exchange(server, post(dump(good)), finish=True)
        assert reply.statuses in ([], [200])
        if reply.statuses:
            assert json.loads(reply.text.partition("\r\n\r\n")[2])["outputs"]


def test_cut_off_everywhere(california_server: Any, good: Any) -> None:
    text, tail = as_bytes(good, "population", TWO)
    wire = post(text + tail, f"{JSON_LENGTH}: {len(text)}")
    for length in range(1, len(wire), 37):
        for server in (california_server.fast, california_server.ordinary):
            reply = exchange(server, wire[:length], finish=True)
            assert reply.statuses in ([], [400])
