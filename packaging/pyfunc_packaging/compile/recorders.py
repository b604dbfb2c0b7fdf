"""What refuses, with the line of the user's function, in the objects of one recording."""

from __future__ import annotations

import operator
import sys
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import sklearn

from pyfunc_packaging.compile.elementwise import Unsupported
from pyfunc_packaging.compile.table import ForeignColumn

#: Where code lives that is not the user's.
_LIBRARIES = tuple(
    str(Path(str(path)).parent)
    for path in (__file__, np.__file__, pd.__file__, sklearn.__file__, operator.__file__)
    if path
)


class NotRecorded(Exception):
    """A function did something that cannot be recorded."""


class Recorder:
    """What the objects of one recording share.

    Parameters
    ----------
    entry : code object
        Of the function that calls the user's function; frames beyond it are not the user's.

    Attributes
    ----------
    refusal : str or None
        The first thing that could not be recorded, which counts even if the user's function
        catches the exception.
    """

    def __init__(self, entry: CodeType) -> None:
        self.refusal: str | None = None
        self._entry = entry

    def refuse(self, reason: str) -> NoReturn:
        """Give up, with the line of the user's function."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not self._entry:
            if is_users(frame.f_code):
                reason = f"{place(frame.f_code, frame.f_lineno)}: {reason}"
                break
            frame = frame.f_back
        self.refusal = self.refusal or reason
        raise NotRecorded(reason)


def is_users(code: CodeType) -> bool:
    """Whether code is the user's, neither ours nor of a library."""
    return not code.co_filename.startswith((*_LIBRARIES, "<frozen"))


def place(code: CodeType, line: int) -> str:
    """Where a line is, for messages."""
    return f"{code.co_filename}, line {line}, in {code.co_name}"


class Explained:
    """Turn what cannot be recorded into a refusal with the line of the user's function."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if isinstance(error, Unsupported | ForeignColumn):
            self._recorder.refuse(str(error))


class Shape:
    """A shape whose first entry is not known."""

    def __init__(self, recorder: Recorder, rest: tuple[int, ...]) -> None:
        self._recorder, self._rest = recorder, rest

    def __getitem__(self, position: Any) -> int:
        if position == 1 and self._rest:
            return self._rest[0]
        if position == -1 and self._rest:
            return self._rest[-1]
        return self._recorder.refuse("the number of rows, which depends on the batch")

    def __iter__(self) -> Any:
        self._recorder.refuse("the number of rows, which depends on the batch")

    def __eq__(self, other: object) -> bool:
        self._recorder.refuse("the number of rows, which depends on the batch")

    def __len__(self) -> int:
        return 1 + len(self._rest)

    __hash__ = None  # type: ignore[assignment]
