"""A short run of the coverage-guided fuzzer; ``make fuzz`` is a longer one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SECONDS = 15


def test_nothing_is_found_in_a_short_time(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fuzz_bodies.py")
    done = subprocess.run(
        [sys.executable, "-I", str(script), f"-max_total_time={SECONDS}", "-seed=1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=200,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    (runs,) = re.findall(r"stat::number_of_executed_units: (\d+)", done.stdout)
    assert int(runs) > 1000
