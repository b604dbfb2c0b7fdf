"""What people install: the wheel holds our two packages and works without the sources."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    "pyfunc_packaging": ROOT / "packaging" / "pyfunc_packaging",
    "mlserver_pyfunc": ROOT / "runtime" / "mlserver_pyfunc",
}


def test_wheel_holds_our_two_packages_and_every_module(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == set(SOURCES)
    for package, folder in SOURCES.items():
        modules = {
            f"{package}/{file.relative_to(folder)}"
            for file in folder.rglob("*")
            if file.suffix in (".py", ".html") or file.name == "py.typed"
        }
        assert modules <= names
    for source in ("docker/Dockerfile", "constraints/runtime.txt"):  # links in the sources
        content = zipfile.ZipFile(wheel).read(f"pyfunc_packaging/{Path(source).name}")
        assert content == (ROOT / source).read_bytes()


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and the hashed constraints of one extra."""
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-Im", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    uv = [str(Path(sys.executable).with_name("uv")), "pip", "install", "--quiet", "--system-certs"]
    constraints = str(ROOT / "constraints" / "runtime.txt")
    options = ["--python", str(python), "--require-hashes", "-r", constraints]
    subprocess.run([*uv, *options], check=True)
    subprocess.run([*uv, "--python", str(python), "--no-deps", str(wheel)], check=True)
    return python


def test_runtime_extra_installs_neither_mlflow_nor_sklearn(clean_python: Path) -> None:
    program = (
        "import importlib.util, json, mlserver_pyfunc;"
        "print(json.dumps([mlserver_pyfunc.__file__]"
        " + [name for name in ('mlflow', 'sklearn', 'skops') if importlib.util.find_spec(name)]))"
    )
    done = subprocess.run(
        [str(clean_python), "-I", "-c", program], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) == 1
    assert "site-packages" in found[0]


def test_slim_image_says_what_a_pyfunc_bundle_needs(
    clean_python: Path, california: tuple[object, object, object]
) -> None:
    bundle = california[2]
    done = subprocess.run(
        [str(clean_python), "-Im", "pyfunc_packaging", "serve", str(bundle.path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYFUNC_ENGINE": "pyfunc"},
    )
    assert done.returncode == 3
    assert "cannot serve" in done.stdout
    assert "mlserver-pyfunc[pyfunc]" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_command_line_of_the_clean_environment(clean_python: Path) -> None:
    pyfunc = str(clean_python.with_name("pyfunc"))
    for arguments in (["--help"], ["inspect", "--help"], ["serve", "--help"], ["--version"]):
        done = subprocess.run([pyfunc, *arguments], capture_output=True, text=True, check=True)
        assert done.stdout
        assert not done.stderr
