"""The processes: ``pyfunc serve``, how it ends and why, and plain ``mlserver start``."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model

#: Seconds within which a server that cannot serve has to say so, on a busy machine.
SOON = 60

BODY = {"inputs": [{"name": "rooms", "shape": [2], "datatype": "FP64", "data": [2.0, 4.0]}]}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle named ``houses`` whose prediction is ten times the rooms."""
    rows = pd.DataFrame({"rooms": [1.0, 2.0, 3.0, 5.0]})
    model = LinearRegression(fit_intercept=False).fit(rows, rows["rooms"] * 10)
    path = tmp_path_factory.mktemp("houses") / "bundle"
    return package_model(model, rows, path=path, name="houses").path


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to damage."""
    return Path(shutil.copytree(bundle, tmp_path / "copy"))


def serve(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    """Run ``pyfunc serve`` where it is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-Im", "pyfunc_packaging", "serve", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SOON,
        env={**os.environ, **env},
        check=False,
    )


def assert_answers(server: Any, name: str) -> None:
    answer = server.infer(name, BODY)
    assert answer.status == 200, answer.text
    assert answer.json["model_name"] == name
    assert answer.json["outputs"][0]["data"] == pytest.approx([20.0, 40.0])


# --- models that cannot be served ---------------------------------------------------------------


def remove(path: Path) -> None:
    shutil.rmtree(path)


def empty(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def alter_model(path: Path) -> None:
    file = path / "data" / "model.skops"
    file.write_bytes(file.read_bytes() + b"\0")


def remove_model(path: Path) -> None:
    (path / "data" / "model.skops").unlink()


def change_manifest(**fields: Any) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        file = path / "data" / "manifest.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))

    return change


def cut_manifest(path: Path) -> None:
    file = path / "data" / "manifest.json"
    file.write_bytes(file.read_bytes()[:100])


def forge_golden(path: Path) -> None:
    """Other golden predictions, and a manifest that vouches for them."""
    from pyfunc_packaging.bundle import file_digest

    file = path / "data" / "golden.json"
    golden = json.loads(file.read_text())
    golden["response"]["outputs"][0]["data"][0] += 1
    file.write_text(json.dumps(golden))
    manifest = json.loads((path / "data" / "manifest.json").read_text())
    change_manifest(files={**manifest["files"], "data/golden.json": file_digest(file)})(path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(remove, "copy", id="nothing there"),
        pytest.param(empty, "no model there", id="an empty directory"),
        pytest.param(alter_model, "data/model.skops is not the file that was", id="altered file"),
        pytest.param(remove_model, "data/model.skops is missing", id="missing file"),
        pytest.param(change_manifest(format_version=2), "upgrade mlserver-pyfunc", id="newer"),
        pytest.param(change_manifest(schema={}), "the schema is not one", id="no schema"),
        pytest.param(cut_manifest, "manifest.json: expected JSON", id="unreadable manifest"),
        pytest.param(forge_golden, "golden rows are not predicted", id="wrong predictions"),
    ],
)
def test_says_in_one_line_why_it_cannot_serve(
    copy: Path, damage: Callable[[Path], None], reason: str
) -> None:
    damage(copy)
    done = serve(copy, "--http-port", 0, "--grpc-port", 0, "--metrics-port", 0)
    assert done.returncode == 3, done.stdout
    (line,) = (line for line in done.stdout.splitlines() if "cannot serve: " in line)
    assert reason in line
    assert "Traceback" not in done.stdout
    assert len(done.stdout.splitlines()) <= 3


def test_wrong_usage() -> None:
    done = serve()
    assert done.returncode == 2
    assert "BUNDLE" in done.stdout


def test_remote_model() -> None:
    done = serve("s3://bucket/model")
    assert done.returncode == 2
    assert "BUNDLE should be a local directory, found 's3://bucket/model'" in done.stdout


@pytest.mark.parametrize("name", ["with space", "hash#1", "q?x=1", "ü"])
def test_any_folder_name(bundle: Path, name: str, tmp_path: Path, start_server: Any) -> None:
    path = shutil.copytree(bundle, tmp_path / name)
    assert start_server(path.as_uri() if name == "with space" else path).stop() == 0


@pytest.mark.parametrize("variable", ["PYFUNC_VERIFY_KEY", "PYFUNC_VERIFY_CERTIFICATES"])
def test_a_model_is_never_served_as_if_it_had_been_verified(
    bundle: Path, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "/etc/keys/verify-key.pem")
    ports = ("--http-port", "0", "--grpc-port", "0", "--metrics-port", "0")
    done = serve(bundle, *ports)
    assert done.returncode == 3, done.stdout
    assert "cannot serve: /etc/keys/verify-key.pem: expected a file in PEM" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("option", ["--http-port", "--grpc-port", "--metrics-port"])
def test_port_in_use(bundle: Path, option: str) -> None:
    free = {"--http-port": 0, "--grpc-port": 0, "--metrics-port": 0}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ports = {**free, option: taken.getsockname()[1]}
        done = serve(bundle, *(word for pair in ports.items() for word in pair))
    assert done.returncode == 2, done.stdout
    assert f"choose another {option}" in done.stdout
    assert "Traceback" not in done.stdout


def test_help() -> None:
    done = serve("--help")
    assert done.returncode == 0
    for option in ("--name", "--host", "--http-port", "--grpc-port", "--metrics-port"):
        assert option in done.stdout
    assert "Exit status" in done.stdout


# --- serving ------------------------------------------------------------------------------------


def test_name_and_sigterm(start_server: Any, bundle: Path) -> None:
    server = start_server(bundle, "--name", "villas")
    assert_answers(server, "villas")
    assert server.infer("houses", BODY).status == 404
    assert server.stop() == 0
    assert "Traceback" not in server.log


def test_sigterm_while_loading(start_server: Any, bundle: Path) -> None:
    server = start_server(bundle, wait=False)
    deadline = time.monotonic() + SOON
    while "asyncio" not in read_maps(server) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.stop() in (0, -15)
    assert "Traceback" not in server.log


def read_maps(server: Any) -> str:
    try:
        return Path(f"/proc/{server.process.pid}/maps").read_text()
    except OSError:
        return ""


def test_environment_instead_of_arguments(bundle: Path, start_program: Any) -> None:
    server = start_program(
        lambda _: [sys.executable, "-Im", "pyfunc_packaging", "serve"],
        env=lambda ports: {
            "MLSERVER_MODEL_URI": bundle.as_uri(),
            "MLSERVER_MODEL_NAME": "from-the-environment",
            **{f"MLSERVER_{name.upper()}_PORT": str(port) for name, port in ports.items()},
        },
    )
    assert_answers(server, "from-the-environment")


def test_mlserver_start(bundle: Path, start_program: Any, tmp_path: Path) -> None:
    """The runtime under MLServer's own command, as an existing deployment has it."""
    shutil.copytree(bundle, tmp_path / "bundle")
    model = {
        "name": "houses",
        "implementation": "mlserver_pyfunc.PyFuncRuntime",
        "parameters": {"uri": "./bundle"},
    }
    (tmp_path / "model-settings.json").write_text(json.dumps(model))

    def command(ports: dict[str, int]) -> list[str]:
        settings = {f"{name}_port": port for name, port in ports.items()}
        settings |= {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        (tmp_path / "settings.json").write_text(json.dumps(settings))
        return [str(Path(sys.executable).with_name("mlserver")), "start", str(tmp_path)]

    server = start_program(command)
    deadline = time.monotonic() + SOON  # MLServer itself says ready before it has a model
    while server.request("/v2/models/houses/ready").status != 200:
        assert time.monotonic() < deadline, server.log
        time.sleep(0.05)
    assert_answers(server, "houses")
    metadata = server.request("/v2/models/houses").json
    assert [each["name"] for each in metadata["inputs"]] == ["rooms"]
    bad = server.infer("houses", {"inputs": []})
    assert (bad.status, "missing: 'rooms'" in bad.error) == (400, True)
