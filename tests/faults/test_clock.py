"""The wall clock may jump: nothing that waits or times out reads it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mlserver_pyfunc
import pyfunc_packaging

MODULES = sorted(
    file
    for package in (mlserver_pyfunc, pyfunc_packaging)
    for file in Path(str(package.__file__)).parent.rglob("*.py")
)
#: What reads the wall clock.
WALL_CLOCK = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow")}
#: Whether a certificate is valid yet, only a calendar says; nothing waits for it.
ALLOWED = {"verification.py": 1}


@pytest.mark.parametrize("module", MODULES, ids=lambda file: file.stem)
def test_nothing_waits_by_the_wall_clock(module: Path) -> None:
    tree = ast.parse(module.read_text(encoding="utf-8"))
    found = [
        f"{module.name}:{node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in WALL_CLOCK
    ]
    assert len(found) == ALLOWED.get(module.name, 0), found
