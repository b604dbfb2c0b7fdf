"""Modules in a bundle run as they were packaged and signed, whatever byte code lies beside them."""

from __future__ import annotations

import os
import py_compile
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import DamagedBundle
from pyfunc_packaging.signing import sign_bundle
from pyfunc_packaging.verification import read_keys, verify_signature

#: Packages a model that needs a module of its own, which needs another one when it predicts.
PACKAGE = """
import sys
import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from pyfunc_packaging import package_model
from own_steps import double
rows = pd.DataFrame({"a": np.linspace(0.0, 1.0, 40)})
model = make_pipeline(FunctionTransformer(double), LinearRegression()).fit(rows, rows["a"])
bundle = package_model(model, rows, path=sys.argv[1], name="own", compile="off", report=False)
assert set(bundle.manifest["code"]) >= {"own_steps.py"}, bundle.manifest["code"]
"""

LOAD = """
import sys
import mlflow.pyfunc
import pandas as pd
from pyfunc_packaging import load_bundle
rows = pd.DataFrame({"a": [0.25, 0.5]})
path = sys.argv[2]
model = mlflow.pyfunc.load_model(path) if sys.argv[1] == "mlflow" else load_bundle(path)
print(model.predict(rows).round(9).tolist())
"""


def run(program: str, *words: object, cwd: Path) -> str:
    """Run Python as in a notebook: it may write byte code, and imports from its folder."""
    env = {**os.environ, "PYTHONPATH": str(cwd)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *map(str, words)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def own_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "own_steps.py").write_text(
        "def double(rows):\n    import own_lazy\n    return own_lazy.double(rows)\n"
    )
    (folder / "own_lazy.py").write_text("def double(rows):\n    return rows * 2\n")
    package = PACKAGE.replace('compile="off"', 'compile="off", code_paths=["own_lazy.py"]')
    run(package, folder / "bundle", cwd=folder)
    return folder / "bundle"


@pytest.fixture
def own(own_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own_bundle, tmp_path / "bundle"))


def plant(bundle: Path, module: str, harm: Path) -> None:
    """Byte code that Python would take for that of the module, and that leaves a folder behind."""
    source = harm.with_suffix(".py")
    source.write_text(f"import os; os.mkdir({str(harm)!r})\ndef double(rows): return rows\n")
    cache = bundle / "code" / "__pycache__"
    cache.mkdir(exist_ok=True)
    py_compile.compile(
        str(source),
        cfile=str(cache / f"{module}.{sys.implementation.cache_tag}.pyc"),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        doraise=True,
    )


def files(bundle: Path) -> set[str]:
    return {file.relative_to(bundle).as_posix() for file in bundle.rglob("*")}


@pytest.mark.parametrize("loader", ["mlflow", "load_bundle"])
def test_loading_adds_nothing_to_the_bundle(loader: str, own: Path, tmp_path: Path) -> None:
    before = files(own)
    assert run(LOAD, loader, own, cwd=tmp_path) == "[0.25, 0.5]"
    assert files(own) == before
    assert CliRunner().invoke(main, ["verify", str(own)]).exit_code == 0


def test_planted_byte_code_is_found_and_never_signed(own: Path, keys: Path, tmp_path: Path) -> None:
    plant(own, "own_steps", tmp_path / "sprung")
    result = CliRunner().invoke(main, ["verify", str(own)])
    assert (result.exit_code, "code/__pycache__" in result.output) == (1, True)
    with pytest.raises(DamagedBundle, match=r"code/__pycache__/own_steps.*was added"):
        sign_bundle(own, private_key=keys / "private.pem")
    assert not (own / "model.sig").exists()


def test_planted_byte_code_does_not_run(own: Path, tmp_path: Path) -> None:
    """Not even what comes when the files were checked already."""
    program = (
        "import sys, shutil, pandas as pd; from pathlib import Path\n"
        "from pyfunc_packaging import load_bundle\n"
        "bundle = load_bundle(sys.argv[1])\n"
        "shutil.copytree(sys.argv[2], Path(sys.argv[1], 'code', '__pycache__'))\n"
        "print(bundle.predict(pd.DataFrame({'a': [0.5]})).round(9).tolist())\n"
    )
    plant(own, "own_steps", tmp_path / "sprung")
    plant(own, "own_lazy", tmp_path / "sprung")
    cache = (own / "code" / "__pycache__").rename(tmp_path / "cache")
    assert run(program, own, cache, cwd=tmp_path) == "[0.5]"
    assert not (tmp_path / "sprung").exists()


def test_a_signed_bundle_with_modules_starts_again_and_again(
    own: Path, keys: Path, start_server: Callable[..., Any]
) -> None:
    sign_bundle(own, private_key=keys / "private.pem")
    before = files(own)
    env = {"PYFUNC_TRUST": "signed", "PYFUNC_VERIFY_KEY": str(keys / "public.pem")}
    inputs = [{"name": "a", "shape": [1], "datatype": "FP64", "data": [0.5]}]
    for _ in range(2):
        server = start_server(own, env=env)
        answer = server.infer("own", {"inputs": inputs})
        assert answer.json["outputs"][0]["data"] == pytest.approx([0.5])
        assert server.stop() == 0
        assert files(own) == before


def test_what_mlflow_adds_to_a_registered_model_breaks_no_signature(own: Path, keys: Path) -> None:
    sign_bundle(own, private_key=keys / "private.pem")
    (own / "registered_model_meta").write_text("model_name: own\nmodel_version: '1'\n")
    signed = verify_signature(own, read_keys([keys / "public.pem"]))
    assert "registered_model_meta" not in signed.files
    sign_bundle(own, private_key=keys / "private.pem")
    verify_signature(own, read_keys([keys / "public.pem"]))


@pytest.mark.parametrize(
    "name", [".env", "model-settings.json", "code/evil.py", ".gitattributes", ".github/x"]
)
def test_nothing_is_signed_that_was_not_packaged(name: str, own: Path, keys: Path) -> None:
    (own / name).parent.mkdir(exist_ok=True)
    (own / name).write_text("surprise")
    with pytest.raises(DamagedBundle, match="was added after the"):
        sign_bundle(own, private_key=keys / "private.pem")


def test_a_signature_that_was_interrupted_leaves_nothing_that_matters(
    own: Path, keys: Path
) -> None:
    (own / ".model.sig.part").write_text("half")
    sign_bundle(own, private_key=keys / "private.pem")
    assert not (own / ".model.sig.part").exists()
    verify_signature(own, read_keys([keys / "public.pem"]))


def test_what_git_keeps_in_an_mlflow_model_is_not_signed_in_silence(own: Path, keys: Path) -> None:
    (own / "data" / "manifest.json").unlink()  # what is left is any MLflow model
    (own / ".gitignore").write_text("*.pkl")
    with pytest.raises(DamagedBundle, match=r"\.gitignore is of git's"):
        sign_bundle(own, private_key=keys / "private.pem")
