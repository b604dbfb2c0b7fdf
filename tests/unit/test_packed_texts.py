from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlserver_pyfunc.binary_tensors import split_elements
from mlserver_pyfunc.packed_texts import read_repeated


def pack(texts: Sequence[str]) -> bytes:
    encoded = [text.encode() for text in texts]
    return b"".join(struct.pack("<I", len(text)) + text for text in encoded)


CITIES = ["Rome", "Bern", "Zürich", "<1H OCEAN", "x" * 64, "12345678", "123456789", "1234567"]


def test_reads_what_the_loop_reads() -> None:
    texts = np.random.default_rng(0).choice(CITIES, 5000).tolist()
    found = read_repeated(pack(texts), 5000)
    assert found is not None
    assert found.dtype == object
    assert found.tolist() == texts
    assert len({id(text) for text in found}) == len(CITIES)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        pytest.param(pack(["Rome"] * 255), 255, id="few"),
        pytest.param(pack(["Rome"] * 300), 299, id="more than said"),
        pytest.param(pack(["Rome"] * 300), 301, id="fewer than said"),
        pytest.param(pack(["Rome"] * 300)[:-1], 300, id="cut"),
        pytest.param(pack(["Rome"] * 300) + b"\0", 300, id="a byte more"),
        pytest.param(pack(["Rome"] * 299 + [""]), 300, id="empty"),
        pytest.param(pack(["Rome"] * 299 + ["x" * 256]), 300, id="a length of two bytes"),
        pytest.param(pack(["Rome"] * 299 + ["x" * 65]), 300, id="long"),
        pytest.param(pack(["Rome"] * 299 + ["a\0b"]), 300, id="a zero"),
        pytest.param(pack([str(number) for number in range(100, 400)]), 300, id="all differ"),
        pytest.param(pack(["Rome"] * 299) + b"\2\0\0\0\xff\xfe", 300, id="no UTF-8"),
        pytest.param(b"\0" * 1200, 300, id="zeros"),
        pytest.param(b"", 300, id="nothing"),
        # as many zeros as 300 lengths have, in other places
        pytest.param(b"\1\0\0\0a" * 298 + b"\1\0a\0\0" + b"\1\0\0\0a", 300, id="apart"),
    ],
)
def test_left_to_the_loop(content: bytes, count: int) -> None:
    assert read_repeated(content, count) is None


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=200)
@given(st.lists(texts, min_size=1, max_size=6), st.integers(256, 400), st.integers(0, 2**32))
def test_never_another_text(known: list[str], count: int, seed: int) -> None:
    chosen = np.random.default_rng(seed).choice(np.array(known, dtype=object), count).tolist()
    found = read_repeated(pack(chosen), count)
    if found is None:
        assert any(text == "" or "\0" in text or len(text.encode()) > 64 for text in chosen)
    else:
        assert found.tolist() == chosen


@settings(max_examples=200)
@given(st.data())
def test_spoiled_bytes_are_read_as_the_loop_reads_them(data: st.DataObject) -> None:
    content = bytearray(pack(["Rome", "Bern", "Oslo!"] * 100))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] = data.draw(st.sampled_from([0, 1, 4, 5, 65, 255]))
    found = read_repeated(bytes(content), 300)
    if found is not None:
        expected = split_elements("x", bytes(content), 300)
        assert [text.encode() for text in found] == expected
