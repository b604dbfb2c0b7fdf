"""The lists of what is in the image, which ``make sbom`` wrote, are valid and true."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.utils import canonicalize_name

DIST = Path(__file__).resolve().parents[2] / "dist"


@pytest.mark.parametrize("target", ["slim", "full"])
def test_sbom(target: str, image: Callable[[str], Any]) -> None:
    text = (DIST / f"sbom-{target}.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]
    purls = {component["purl"] for component in components if "purl" in component}
    assert "pkg:pypi/mlserver@1.7.1" in purls
    program = (
        "import json\n"
        "from importlib.metadata import distributions\n"
        "print(json.dumps([[each.metadata['Name'], each.version] for each in distributions()]))"
    )
    done = image(target).run("/opt/pyfunc/bin/python", "-I", "-c", program)
    installed = {canonicalize_name(name): version for name, version in json.loads(done.stdout)}
    listed = {canonicalize_name(each["name"]): each["version"] for each in components}
    assert listed == installed
    # nothing of the machine that it was written on
    assert str(DIST.parent) not in text
