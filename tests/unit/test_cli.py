from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pyfunc_packaging import __version__
from pyfunc_packaging.cli import main


def run(*arguments: str) -> Any:
    return CliRunner().invoke(main, arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--help",), ["inspect", "serve", "Exit status"]),
        (("inspect", "--help"), ["BUNDLE", "--json"]),
        (("manifest", "--help"), ["Exit status with --diff", "1 a difference"]),
        (("image", "--help"), ["BUNDLE", "--output", "--base-image", "--wheel", "--overwrite"]),
        (("--version",), [__version__]),
    ],
)
def test_help(arguments: tuple[str, ...], words: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert [word for word in words if word not in result.output] == []


def test_inspect_for_people(california: Any) -> None:
    bundle = california[2]
    result = run("inspect", str(bundle.path))
    assert result.exit_code == 0
    for word in (bundle.name, "model.skops", "ocean_proximity", "BYTES [-1]", "median_house_value"):
        assert word in result.output
    assert "\x1b" not in result.output
    assert bundle.digest in result.output


def test_inspect_for_programs(california: Any) -> None:
    bundle = california[2]
    result = run("inspect", "--json", str(bundle.path))
    assert result.exit_code == 0
    facts = json.loads(result.output)
    assert facts["digest"] == bundle.digest
    assert facts["engine"] == "onnx"
    assert facts["compilation"]["max_relative"] < 1e-9
    assert facts["inputs"][4] == {
        "name": "total_bedrooms",
        "datatype": "FP64",
        "shape": [-1],
        "type": "double",
        "required": False,
        "dtype": "float64",
    }
    assert facts["reference"]["serialization"] == "skops"
    files = [file for file in bundle.path.rglob("*") if file.is_file()]
    assert len(facts["files"]) == len(files) - 1
    assert facts["bytes"] == sum(file.stat().st_size for file in files) - (
        (bundle.path / "data" / "manifest.json").stat().st_size
    )


def test_refusals_are_one_line_without_a_traceback(california: Any, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(california[2].path, damaged)
    (damaged / "data" / "profile.json").write_text("{}")
    for path, words in ((tmp_path / "absent", "no such directory"), (damaged, "data/profile.json")):
        result = run("inspect", str(path))
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert words in result.output
        assert result.output.count("\n") == 1


def test_wrong_usage_is_exit_status_2() -> None:
    assert run("inspect").exit_code == 2
    assert run("no-such-command").exit_code == 2
