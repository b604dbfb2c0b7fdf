"""The folder of the model is read-only, vanishes while it is served, or is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BODY = {"inputs": [{"name": "rooms", "shape": [2], "datatype": "FP64", "data": [4.0, 7.5]}]}


@pytest.mark.parametrize("engine", ["onnx", "pyfunc"])
def test_a_read_only_folder_that_vanishes(
    engine: str, price: Path, tmp_path: Path, start_server: Callable[..., Any]
) -> None:
    bundle = shutil.copytree(price, tmp_path / "price")
    for entry in (bundle, *bundle.rglob("*")):
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    # root may write anywhere, except where the mount is read-only; nobody else may anyway
    read_only = f'mount --bind -o ro "{bundle}" "{bundle}" && exec "$@"'
    wrap = ("unshare", "--mount", "sh", "-c", read_only, "sh") if os.getuid() == 0 else ()
    wrap = wrap if wrap and subprocess.run([*wrap, "true"], check=False).returncode == 0 else ()
    before = sorted(bundle.rglob("*"))
    server = start_server(bundle, env={"PYFUNC_ENGINE": engine}, wrap=wrap)
    first = server.infer("price", BODY)
    assert first.json["outputs"][0]["data"] == pytest.approx([40.0, 75.0])
    assert sorted(bundle.rglob("*")) == before

    for entry in (bundle, *bundle.rglob("*")):
        if entry.is_dir():
            entry.chmod(0o755)
    shutil.rmtree(bundle)
    again = server.infer("price", BODY)
    assert again.json["outputs"] == first.json["outputs"]
    assert server.request("/v2/health/ready").status == 200
    assert server.request("/v2/models/price").status == 200
    assert "Traceback" not in server.log
    assert server.stop() == 0


@pytest.mark.parametrize("gone", [".", "MLmodel", "data/manifest.json", "data/model.onnx"])
def test_what_is_gone_before_it_is_loaded_is_a_line(gone: str, price: Path, tmp_path: Path) -> None:
    bundle = shutil.copytree(price, tmp_path / "price")
    if gone == ".":
        shutil.rmtree(bundle)
    else:
        (bundle / gone).unlink()
    done = subprocess.run(
        [sys.executable, "-Im", "pyfunc_packaging", "serve", str(bundle)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            **{f"MLSERVER_{kind}_PORT": "0" for kind in ("HTTP", "GRPC", "METRICS")},
        },
    )
    said = done.stdout + done.stderr
    assert done.returncode == 3
    assert [line for line in said.splitlines() if "cannot serve: " in line and "price" in line]
    assert "Traceback" not in said
