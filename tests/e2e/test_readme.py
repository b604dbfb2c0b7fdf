"""The README's commands, typed as written, give the answers that it shows."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def run(command: list[str], folder: Path) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_from_notebook_to_answer(tmp_path: Path, start_server: Callable[..., Any]) -> None:
    os.symlink(ROOT / "models", tmp_path / "models")
    make_data = next(line for line in blocks("bash")[0].splitlines() if "data.py" in line)
    run(shlex.split(make_data), tmp_path)
    (tmp_path / "notebook.py").write_text(blocks("python")[0], encoding="utf-8")
    run(["python", "notebook.py"], tmp_path)
    assert blocks("bash")[1] == "pyfunc serve bundle\n"
    server = start_server(tmp_path / "bundle")
    curl = shlex.split(blocks("bash")[2].replace("\\\n", ""))
    answer = json.loads(
        run([part.replace(":8080", f":{server.ports['http']}") for part in curl], tmp_path)
    )
    shown = json.loads(blocks("json")[0])
    # sums over threads may differ in their last digits from one machine to another
    assert answer["outputs"][0].pop("data") == pytest.approx(
        shown["outputs"][0].pop("data"), rel=1e-3
    )
    assert {**answer, "id": ""} == {**shown, "id": ""}

    body = json.loads((ROOT / "models/california_housing/request.json").read_text())
    body["inputs"][1] |= {"shape": [1], "data": [37.88]}
    refusal = server.infer("CaliforniaHousingRegressor", body)
    assert refusal.status == 400
    assert refusal.json == json.loads(blocks("json")[1])


def test_a_classifier(tmp_path: Path, start_server: Callable[..., Any]) -> None:
    os.symlink(ROOT / "models", tmp_path / "models")
    make_data = next(line for line in blocks("bash")[0].splitlines() if "data.py" in line)
    run(shlex.split(make_data), tmp_path)
    package, classify = blocks("python")
    imports = package[: package.index("model = build_pipeline")]
    (tmp_path / "notebook.py").write_text(imports + classify, encoding="utf-8")
    run(["python", "notebook.py"], tmp_path)
    server = start_server(tmp_path / "levels")
    body = json.loads((ROOT / "models/california_housing/request.json").read_text())
    answer = server.infer("PriceLevel", body).json
    shown = json.loads(blocks("json")[2])
    for expected, found in zip(shown["outputs"], answer["outputs"], strict=True):
        if expected["name"] == "probability":
            expected["data"] = pytest.approx(expected["data"], rel=1e-3)
        assert found == expected
    metadata = server.request("/v2/models/PriceLevel").json["outputs"][1]["parameters"]
    assert f'`"classes": {json.dumps(metadata["classes"])}`' in (ROOT / "README.md").read_text()


def test_make_knows_every_target_that_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for file in ("README.md", "CONTRIBUTING.md"):
        for target in re.findall(r"\bmake ([a-z]+)\b", (ROOT / file).read_text(encoding="utf-8")):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"{file}: make {target}"


def test_linked_files_exist() -> None:
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", file.read_text(encoding="utf-8")):
            assert (file.parent / link).exists(), f"{file.name}: {link}"
