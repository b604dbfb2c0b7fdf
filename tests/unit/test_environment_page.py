"""docs/environment.md lists every variable that the sources read, with its default."""

from __future__ import annotations

import re
from pathlib import Path

from mlserver_pyfunc import bodies, executor, limits

ROOT = Path(__file__).resolve().parents[2]
#: Names of our own variables; click makes `_PYFUNC_COMPLETE` of the program's name.
VARIABLE = re.compile(r"(?<![A-Z_])PYFUNC_[A-Z_]+")


def rows(page: str = "environment.md") -> dict[str, str]:
    """The default of each variable, as a page says."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|", text, re.MULTILINE)
    return {
        name: default
        for names, default in found
        for name in re.findall(r"`([A-Z_]+_[A-Z_0-9]+)`", names)
    }


def in_sources() -> set[str]:
    files = [*ROOT.glob("packaging/**/*.py"), *ROOT.glob("runtime/**/*.py")]
    return {name for file in files for name in VARIABLE.findall(file.read_text(encoding="utf-8"))}


def test_every_variable_of_ours_is_on_the_page() -> None:
    assert in_sources() - set(rows()) == set()


def test_every_variable_on_the_page_is_one_of_ours() -> None:
    assert {name for name in rows() if VARIABLE.fullmatch(name)} - in_sources() == set()
    assert len(in_sources()) >= 12


def test_defaults_are_those_of_the_sources() -> None:
    expected = {
        bodies.LIMIT_VARIABLE: bodies.DEFAULT_LIMIT,
        limits.ROWS_VARIABLE: limits.DEFAULT_ROWS,
        limits.INPUTS_VARIABLE: limits.DEFAULT_INPUTS,
        executor.QUEUE_VARIABLE: executor.DEFAULT_QUEUE,
        executor.TIMEOUT_VARIABLE: executor.DEFAULT_TIMEOUT,
    }
    found = rows()
    assert {name: float(found[name]) for name in expected} == expected


def test_the_page_of_the_protocol_says_the_same() -> None:
    there = rows("protocol.md")
    assert "PYFUNC_MAX_QUEUE" in there
    assert there.items() <= rows().items()
