"""What is parsed in pieces is what the whole body says."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mlserver_pyfunc import json_pieces
from mlserver_pyfunc.exact_json import parse_exactly
from mlserver_pyfunc.json_pieces import _parse_in_pieces, parse_large

NUMBERS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
TEXTS = st.text() | st.sampled_from(['"]', "\\", '\\"]', '"data":[1]', "]", "[", "{", '","'])
CELLS = st.lists(NUMBERS, max_size=40) | st.lists(TEXTS, max_size=10) | st.lists(NUMBERS | TEXTS)
ANYTHING = st.recursive(
    NUMBERS | TEXTS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["data", "inputs", "name"]) | TEXTS, inner, max_size=4)
    ),
)
TENSORS = st.fixed_dictionaries(
    {"name": TEXTS, "shape": st.lists(st.integers(0, 9))},
    optional={"data": CELLS | ANYTHING, "parameters": ANYTHING},
)
REQUESTS = st.fixed_dictionaries({"inputs": st.lists(TENSORS, max_size=4)}) | ANYTHING


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_pieces, "_PIECE", 24)


def outcome(parse: Any, body: bytes) -> Any:
    """As text: 1, 1.0 and True are not the same here, nor 0.0 and -0.0."""
    try:
        return repr(parse(body))
    except orjson.JSONDecodeError as error:
        return "refused", error.msg, error.pos


@given(REQUESTS, st.sampled_from([None, 0, 2]), st.booleans())
def test_every_request_is_read_as_if_it_were_whole(
    request: Any, indent: int | None, spaced: bool
) -> None:
    separators = (" ,", " : ") if spaced else None
    body = json.dumps(request, indent=indent, separators=separators, ensure_ascii=spaced).encode(
        errors="surrogatepass"
    )
    assert outcome(parse_large, body) == outcome(parse_exactly, body)


@given(REQUESTS, st.data())
def test_every_broken_request_is_refused_alike(request: Any, data: Any) -> None:
    body = json.dumps(request).encode()
    at = data.draw(st.integers(0, len(body)))
    other = data.draw(
        st.sampled_from([b"", b",", b"]", b"[", b'"', b"\\", b"1", b" ", b"\xff", b"{"])
    )
    body = body[:at] + other + body[at + data.draw(st.integers(0, 2)) :]
    assert outcome(parse_large, body) == outcome(parse_exactly, body)


@given(st.text(alphabet='"\\data:[]{},1- \ninputs', max_size=80))
@example('{"inputs":[{"d\\u0061ta":[0]}],"parameters":{"data":[9]}}')
@example('{"inputs":[{"data":[1,2],"data":[3,4]}]}')
@example('{"inputs":[{"parameters":{"data":[1]},"data":[2]}]}')
@example('{"inputs":[{"data":[1,2,,3]}]}')
@example('{"inputs":[{"data":[111111111111111111111111111111,]}]}')
@example('{"inputs":[{"data":[1111111111111111111111,  ,1111111111111111111]}]}')
@example('{"inputs":[{"data":[,1]}]}')
@example('{"inputs":[{"data":["a\\\\"],"name":"b\\"]"}]}')
@example('{"inputs":[{"data":["a",["b"]]}]}')
@example('{"inputs":[{"data":["a",1,"b"],"x":["c"]}]}')
def test_what_looks_like_json_is_read_alike(text: str) -> None:
    assert outcome(parse_large, text.encode()) == outcome(parse_exactly, text.encode())


def test_numbers_and_texts_are_cut_out() -> None:
    tensors = [
        {"name": "x", "data": [0.1 * each for each in range(1000)]},
        {"name": "n", "data": [2**70 + each for each in range(1000)]},
        {"name": "t", "data": ["a\u00e4]", 'b"'] * 500},
        {"name": "none", "data": [None, True, False, -1] * 250},
    ]
    body = json.dumps({"inputs": tensors}).encode()
    rest, arrays = json_pieces._cut(body)
    assert len(arrays) == 4
    assert len(rest) < 400
    assert _parse_in_pieces(body) == {"inputs": tensors}
