r"""Texts of a BYTES tensor that repeat, as categories do: found with numpy, not one by one.

In memory each element stands behind its length, four bytes, little-endian. Where lengths are under
256 and no text has a zero byte, the zero bytes are where the lengths are, and the chain from length
to length can be checked at once. Whatever else a buffer may be gives None, and is read in a loop.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

#: Below so many elements a loop is as fast.
_FEW = 256
#: Bytes of a text, at most; longer ones are no categories.
_MAX_LENGTH = 64

#: The first n bytes of a word, by n.
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
#: Spreads words over a hash; the golden ratio's fraction in 64 bits (Knuth, TAOCP 3, 6.4).
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def read_repeated(content: Any, count: int) -> npt.NDArray[np.object_] | None:
    r"""The texts of a BYTES tensor; None where they have to be read one by one.

    Parameters
    ----------
    content : bytes or memoryview
    count : int
        How many there should be.

    Returns
    -------
    ndarray of shape (count,), dtype object, or None
        str; the same object wherever a text repeats.

    Examples
    --------
    >>> read_repeated(b"\x04\0\0\0Rome\x04\0\0\0Bern" * 200, 400)[:3]
    array(['Rome', 'Bern', 'Rome'], dtype=object)
    >>> read_repeated(b"\x04\0\0\0Rome" * 200 + b"\0", 200) is None
    True
    """
    if count < _FEW:
        return None
    buffer = np.frombuffer(content, np.uint8)
    starts = _find_starts(buffer, count)
    if starts is None:
        return None
    lengths = buffer[starts].astype(np.int64)
    longest = int(lengths.max())
    if longest > _MAX_LENGTH:
        return None
    words = _read_words(buffer, starts + 4, lengths, longest)
    mixed = lengths.astype(np.uint64)
    for word in words:
        mixed = (mixed ^ word) * _SPREAD
        mixed ^= mixed >> np.uint64(32)
    codes, known = pd.factorize(mixed)
    if 4 * len(known) > count:
        return None
    first = np.empty(len(known), np.int64)
    first[codes[::-1]] = np.arange(count - 1, -1, -1)  # the last one written is the first there is
    # two texts may have one hash
    if any(not np.array_equal(part, part[first][codes]) for part in (lengths, *words)):
        return None
    try:
        texts = [
            bytes(content[start + 4 : start + 4 + length]).decode()
            for start, length in zip(starts[first].tolist(), lengths[first].tolist(), strict=True)
        ]
    except UnicodeDecodeError:  # the loop says where
        return None
    distinct: npt.NDArray[np.object_] = np.array(texts, dtype=object)
    result: npt.NDArray[np.object_] = distinct[codes]
    return result


def _find_starts(buffer: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.int64] | None:
    """Where the lengths stand, if all of them are from 1 to 255 and no text has a zero byte."""
    zeros = np.flatnonzero(buffer == 0)
    if len(zeros) != 3 * count:
        return None
    starts = zeros[::3] - 1
    expected = np.empty_like(starts)
    expected[0] = 0
    ends = starts + 4 + buffer[starts]
    expected[1:] = ends[:-1]
    fits = (
        np.array_equal(starts, expected)
        and np.array_equal(zeros[1::3], starts + 2)
        and np.array_equal(zeros[2::3], starts + 3)
        and ends[-1] == len(buffer)
    )
    return starts if fits else None


def _read_words(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    longest: int,
) -> list[npt.NDArray[np.uint64]]:
    """Every text in words of eight bytes, filled up with zeros."""
    padded = np.zeros(len(buffer) + _MAX_LENGTH + 8, np.uint8)
    padded[: len(buffer)] = buffer
    windows = np.ndarray(len(padded) - 7, "<u8", padded.data, strides=(1,))
    return [
        windows[starts + offset] & _MASKS[np.clip(lengths - offset, 0, 8)]
        for offset in range(0, longest, 8)
    ]
