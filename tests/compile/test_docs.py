"""The page that lists what is compiled is made from the cases of this folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_page_lists_the_cases() -> None:
    program = (
        f"import sys; sys.path[:0] = [{str(DOCS)!r}]; import compilation;"
        " sys.stdout.write(compilation.page())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    written = (DOCS / "compilation.md").read_bytes()
    assert done.stdout == written, "run: python docs/compilation.py"
