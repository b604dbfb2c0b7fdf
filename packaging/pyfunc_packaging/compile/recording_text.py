"""Recorded columns' methods of text, where ONNX has exactly the same."""

from __future__ import annotations

import re
from typing import Any

import spox.opset.ai.onnx.v21 as op

from pyfunc_packaging.compile.elementwise import Unsupported
from pyfunc_packaging.compile.recording import Traced, sampled
from pyfunc_packaging.compile.recording_columns import each
from pyfunc_packaging.compile.table import Block, Kind, is_missing


class TracedText:
    """A recorded column's methods of text, where ONNX has the same."""

    def __init__(self, series: Traced) -> None:
        self._series = series
        _ = series._sample.str  # an AttributeError where there is no text

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return self._series._refuse(f".str.{name} is not compiled")

    def startswith(self, pat: Any, na: Any = None) -> Any:
        """Whether each text begins with another."""
        return self._matches("startswith", pat, na, "(?s){}.*")

    def endswith(self, pat: Any, na: Any = None) -> Any:
        """Whether each text ends with another."""
        return self._matches("endswith", pat, na, "(?s).*{}")

    def contains(
        self, pat: Any, case: bool = True, flags: int = 0, na: Any = None, regex: bool = True
    ) -> Any:
        """Whether each text contains another; patterns are not compiled."""
        if not case or flags:
            self._series._refuse(".str.contains() with options")
        if regex and isinstance(pat, str) and re.search(r"[\\.^$*+?{}\[\]|()]", pat):
            self._series._refuse(".str.contains() with a pattern; regex=False is compiled")
        return self._matches("contains", pat, na, "(?s).*{}.*", regex=False)

    def _matches(self, name: str, text: Any, na: Any, pattern: str, **options: Any) -> Any:
        series = self._series
        if not isinstance(text, str):
            series._refuse(f".str.{name}() with anything but one text")
        options |= {} if na is None else {"na": na}
        sample = sampled(lambda x: getattr(x.str, name)(text, **options), series)
        quoted = "".join(rf"\x{{{ord(character):x}}}" for character in text)

        def make(kind: Kind, block: Block) -> Block:
            if block.kind != "text" or kind != "bool":
                raise Unsupported(f".str.{name}() that gives a missing value; use na=False")
            found = op.regex_full_match(block.var, pattern=pattern.format(quoted))
            if block.nan:
                missing = is_missing(block)
                found = op.or_(found, missing) if na else op.and_(found, op.not_(missing))
            return Block(found, 1, "bool", nan=False, inf=False)

        return each(series, sample, make, series)
