"""A disk that is full, or that nobody may write to: an error in a line, and nothing left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyfunc_packaging.errors import CannotWrite

SCRIPT = Path(__file__).with_name("package_on_disk.py")
NAMESPACE = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "-m"]


def can_mount() -> bool:
    """Some containers forbid it; a limit on the size of files stands in for the disk there."""
    command = [*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("how", ["mount", "limit"])
def test_a_full_disk_leaves_nothing_behind(how: str, tmp_path: Path) -> None:
    if how == "mount" and not can_mount():
        how = "limit"
    wrap = NAMESPACE if how == "mount" else []
    done = subprocess.run(
        [*wrap, sys.executable, "-I", str(SCRIPT), str(tmp_path), how],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *full, enough = [
        json.loads(line) for line in done.stderr.splitlines() if line.startswith('{"size"')
    ]
    assert len(full) >= 4
    reason = "No space left on device" if how == "mount" else "File too large"
    for found in full:
        assert (found["error"], found["ours"]) == ("CannotWrite", True)
        assert reason in found["message"]
        assert "\n" not in found["message"]
        assert found["left"] == []
    assert enough["error"] is None
    assert enough["left"] == ["price"]
    assert enough["predicts"] == pytest.approx(40.0)


def test_a_place_that_cannot_be_written(package_price: Callable[..., Path]) -> None:
    """Nobody, not even root, makes a folder there."""
    with pytest.raises(CannotWrite) as raised:
        package_price(Path("/sys/kernel/price"), factor=10, compile="off")
    assert str(raised.value).startswith("/sys/kernel/price: cannot be written ([Errno ")
    assert "\n" not in str(raised.value)


def test_what_the_disk_is_not_to_blame_for_stays_as_it_is(
    package_price: Callable[..., Path], tmp_path: Path
) -> None:
    missing: Any = [tmp_path / "missing.py"]
    with pytest.raises(Exception, match=r"missing\.py") as raised:
        package_price(tmp_path / "price", factor=10, compile="off", code_paths=missing)
    assert not isinstance(raised.value, CannotWrite)
    assert list(tmp_path.iterdir()) == []
