"""kill -9 at any moment of packaging: the old bundle, the new one or none, and each one whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("package_and_die.py")
#: By the clock most moments fall into the check in a new process: slow, and only in `make faults`.
MOMENTS = ["files", "time"] if os.environ.get("PYFUNC_FAULTS") == "many" else ["files"]


@pytest.mark.parametrize("how", ["anew", "over"])
@pytest.mark.parametrize("by", MOMENTS)
def test_there_is_never_half_a_bundle(
    how: str, by: str, tmp_path: Path, often: Callable[[int, int], int]
) -> None:
    times = often(8, 120) if by == "files" else 15
    done = subprocess.run(
        [sys.executable, "-I", str(SCRIPT), str(tmp_path), "7", str(times), how, by],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) >= times
    before = "old" if how == "over" else "nothing"
    assert {each["found"] for each in found} <= {before, "new"}
    if by == "files":  # moments before, at and after the renames
        assert found[0]["found"] == before
        assert found[-1]["found"] == "new"
    # each child that was killed left a folder, and the next one removed it
    assert len(list(tmp_path.glob(".price-*"))) <= 1
