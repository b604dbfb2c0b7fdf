"""A model made with another scikit-learn: refused here, served by an image of its own.

The image itself is not built: what its Dockerfile installs is installed, and its command run.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sklearn

from pyfunc_packaging import load_bundle
from pyfunc_packaging.bundle import file_digest
from pyfunc_packaging.image import write_image_context

SKLEARN = "1.7.2"
#: What packaging needs there, with versions of scikit-learn's own time.
NOTEBOOK = [f"scikit-learn=={SKLEARN}", "numpy==2.3.5", "pandas==2.3.3", "scipy==1.16.3"]
NOTEBOOK += [
    "skops",
    "cloudpickle",
    "mlflow-skinny>=3.1,<4",
    "click",
    "packaging",
    "PyYAML",
    "rich",
]
PROGRAM = """
import json
import sys
import pandas as pd
from pyfunc_packaging import build_pipeline, package_model
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression

rows = pd.DataFrame({"rooms": [1.0, 2.0, 3.0, 5.0] * 20, "near": ["a", "b", "b", None] * 20})
price = pd.Series([10.0, 21.0, 31.0, 50.0] * 20, name="price")
trees = HistGradientBoostingRegressor(max_iter=20, random_state=0)
pipeline = build_pipeline(trees, numeric=["rooms"], categorical=["near"])
line = LinearRegression()
for name, model, columns in (("trees", pipeline, list(rows)), ("line", line, ["rooms"])):
    X = rows[columns]
    model.fit(X, price)
    package_model(model, X, y=price, path=f"{sys.argv[1]}/{name}", name=name, compile="off")
    print(json.dumps(model.predict(X.head(2)).tolist()))
"""
BODY = {
    "inputs": [
        {"name": "rooms", "shape": [2], "datatype": "FP64", "data": [1.0, 2.0]},
        {"name": "near", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    ]
}


def run(*command: object) -> str:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def uv(*arguments: object) -> None:
    run(Path(sys.executable).with_name("uv"), *arguments)


def install(python: Path, *arguments: object) -> None:
    uv("pip", "install", "--quiet", "--system-certs", "--python", python, *arguments)


@dataclass(frozen=True)
class Made:
    """A bundle made with another minor version of scikit-learn, and what its pipeline predicts."""

    path: Path
    predictions: list[float]


@pytest.fixture(scope="module")
def made_elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    """Two of them, ``trees`` and ``line``."""
    folder = tmp_path_factory.mktemp("elsewhere")
    uv("venv", "--quiet", "--python", sys.executable, folder / "venv")
    python = folder / "venv" / "bin" / "python"
    install(python, *NOTEBOOK)
    install(python, "--no-deps", wheel)
    printed = run(python, "-I", "-c", PROGRAM, folder).splitlines()
    made = {
        name: Made(folder / name, json.loads(line))
        for name, line in zip(("trees", "line"), printed, strict=True)
    }
    for each in made.values():
        assert load_bundle(each.path).versions["scikit-learn"] == SKLEARN
    return made


def test_refused_where_the_versions_differ(
    made_elsewhere: dict[str, Made], start_server: Callable[..., Any]
) -> None:
    server = start_server(made_elsewhere["trees"].path, wait=False)
    assert server.process.wait(timeout=120) == 3
    (line,) = (line for line in server.log.splitlines() if "cannot serve: " in line)
    assert line.endswith(
        f"cannot serve: this bundle was made with scikit-learn {SKLEARN}, this image has"
        f" {sklearn.__version__}; build an image of its own with `pyfunc image BUNDLE`, or set"
        f" PYFUNC_VERSIONS=warn to try it"
    )
    assert "Traceback" not in server.log


WARN = {"PYFUNC_VERSIONS": "warn"}


def warning(log: str) -> str:
    (line,) = (line for line in log.splitlines() if "PYFUNC_VERSIONS=warn says" in line)
    return line


def test_the_operator_may_let_the_golden_rows_decide(
    made_elsewhere: dict[str, Made], start_server: Callable[..., Any], tmp_path: Path
) -> None:
    line = made_elsewhere["line"]
    server = start_server(line.path, env=WARN)
    answer = server.infer("line", {"inputs": BODY["inputs"][:1]}).json["outputs"][0]["data"]
    assert answer == pytest.approx(line.predictions, rel=1e-12)
    server.stop()
    assert f"WARNING - this bundle was made with scikit-learn {SKLEARN}" in warning(server.log)

    other = Path(shutil.copytree(line.path, tmp_path / "other"))
    golden, manifest = other / "data" / "golden.json", other / "data" / "manifest.json"
    golden.write_text(re.sub(r'("data": \[\s*)1', r"\g<1>9", golden.read_text()))
    facts = json.loads(manifest.read_text())
    facts["files"]["data/golden.json"] = file_digest(golden)
    manifest.write_text(json.dumps(facts))
    server = start_server(other, env=WARN, wait=False)
    assert server.process.wait(timeout=120) == 3
    assert warning(server.log)
    assert "cannot serve: " in server.log
    assert "the golden rows are not predicted as they were" in server.log


def test_a_model_that_cannot_even_be_read_ends_in_one_line_too(
    made_elsewhere: dict[str, Made], start_server: Callable[..., Any]
) -> None:
    """scikit-learn moved a type that these trees are made of."""
    server = start_server(made_elsewhere["trees"].path, env=WARN, wait=False)
    assert server.process.wait(timeout=120) == 3
    assert warning(server.log)
    assert "cannot serve: " in server.log
    assert "Traceback" not in server.log


def test_an_image_of_its_own_serves_it(
    wheel: Path,
    made_elsewhere: dict[str, Made],
    start_program: Callable[..., Any],
    tmp_path: Path,
) -> None:
    bundle, predictions = made_elsewhere["trees"].path, made_elsewhere["trees"].predictions
    context = tmp_path / "context"
    write_image_context(load_bundle(bundle), output=context, wheel=wheel)
    requirements = context / "requirements.txt"
    requirements.write_text(requirements.read_text().replace("/context/", f"{context}/"))

    uv("venv", "--quiet", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    dockerfile = (context / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    pip = "/build/tools/bin/pip --python /opt/pyfunc/bin/python "
    steps = [
        shlex.split(line.partition(pip)[2].partition("&&")[0].replace("/context/", f"{context}/"))
        for line in dockerfile.split("AS libraries")[1].splitlines()
        if pip in line
    ]
    assert [step[0] for step in steps] == ["install", "install", "check"]
    for _, *arguments in steps[:2]:
        install(python, *arguments)
    uv("pip", "check", "--quiet", "--python", python)
    installed = run(Path(sys.executable).with_name("uv"), "pip", "freeze", "--python", python)
    assert f"scikit-learn=={SKLEARN}\n" in installed
    assert "pandas==2.3.3\n" in installed
    # the server's own libraries are those that it is known to work with
    lock = (context / "runtime.txt").read_text("utf-8")
    for name in ("mlserver", "fastapi", "uvloop", "grpcio"):
        (pin,) = re.findall(rf"^{name}==[\w.]+", lock, re.MULTILINE)
        assert f"{pin}\n" in installed

    server = start_program(
        lambda _: [str(python.with_name("pyfunc")), "serve"],
        env=lambda ports: {
            "MLSERVER_MODEL_URI": str(bundle),
            **{f"MLSERVER_{name.upper()}_PORT": str(port) for name, port in ports.items()},
        },
    )
    answer = server.infer("trees", BODY)
    assert answer.status == 200, answer.text
    assert answer.json["outputs"][0]["data"] == predictions
    assert "this bundle was made with" not in server.log
