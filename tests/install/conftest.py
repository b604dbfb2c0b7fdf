"""The wheel, built once for all tests of what people install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # build from a copy: a build writes into the source folder
    files = ["setup.cfg", "pyproject.toml", "README.md", "LICENSE"]
    files += ["packaging", "runtime", "constraints", "docker"]
    source.mkdir()
    subprocess.run(["cp", "-r", *(str(ROOT / name) for name in files), str(source)], check=True)
    subprocess.run(
        [sys.executable, "-Im", "build", "--wheel", "--no-isolation", "--outdir", folder, source],
        check=True,
        capture_output=True,
    )
    return next(folder.glob("*.whl"))
