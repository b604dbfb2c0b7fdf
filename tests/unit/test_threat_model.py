"""The threat model names the test that proves a claim; such a test has to exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_every_test_that_the_threat_model_names_exists():
    page = (ROOT / "docs" / "threat-model.md").read_text("utf-8")
    intro = page.partition("| who |")[0]
    files = dict(re.findall(r"\b([A-Z])\s(?:is\s)?`(test_\w+)\.py`", intro))
    assert set(files) == set("SCBTUGI")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "`test_" in line]
    named = 0
    for row in rows:
        letter = None
        for found, name in re.findall(r"(?:\b([A-Z]) )?`(test_\w+)`", row.split(" | ")[-1]):
            letter = found or letter
            folder = "unit" if letter in "UGI" else "serving"
            file = ROOT / "tests" / folder / f"{files[letter]}.py"
            assert f"def {name}(" in file.read_text("utf-8"), (file.name, name)
            named += 1
    assert named > 30
