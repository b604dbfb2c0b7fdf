"""Real peers on loopback: an S3 service, MLflow servers, KServe's storage initializer."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 120
BUCKET = "mlflow"
# rclone refuses short keys
KEY, SECRET = "TESTACCESSKEY", "TESTSECRETKEY"
#: A browser that talks to nobody by itself.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as held:
        return int(held.getsockname()[1])


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that leads a group of its own, and the group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=30)


@dataclass(frozen=True)
class S3:
    """A running S3 service, and the environment of its clients."""

    url: str
    bucket: str

    @property
    def env(self) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
            # nothing from this machine, and nothing from a cloud's metadata service
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        import boto3

        session = boto3.Session(KEY, SECRET, region_name="us-east-1")
        return session.client("s3", endpoint_url=self.url)


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """``rclone serve s3`` with credentials, and one bucket."""
    folder = tmp_path_factory.mktemp("s3")
    (folder / "data" / BUCKET).mkdir(parents=True)
    port = _free_port()
    program = Path(sys.executable).with_name("rclone")
    command = [str(program), "serve", "s3", "--config", os.devnull, "--vfs-cache-mode", "off"]
    command += ["--addr", f"127.0.0.1:{port}", "--auth-key", f"{KEY},{SECRET}"]
    log = folder / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, str(folder / "data")],
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def ready() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return True
        except OSError:
            return False

    try:
        _wait(process, log, ready)
        yield S3(f"http://127.0.0.1:{port}", BUCKET)
    finally:
        _stop(process)


@pytest.fixture(scope="session")
def s3_environment(s3: S3) -> Iterator[None]:
    """This process is a client of the S3 service, and knows no MLflow server."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "MLFLOW_S3_ENDPOINT_URL"):
            patch.delenv(name, raising=False)
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_ARTIFACT_ROOT_S3"):
            patch.delenv(name, raising=False)
        for name, value in s3.env.items():
            patch.setenv(name, value)
        yield


class MlflowServer:
    """A running MLflow server; ``artifact_root`` is what its proxy hides, None without proxy."""

    def __init__(self, url: str, artifact_root: str | None, process: Any) -> None:
        self.url = url
        self.artifact_root = artifact_root
        self._process = process

    def stop(self) -> None:
        _stop(self._process)


@pytest.fixture(scope="session")
def start_mlflow(
    tmp_path_factory: pytest.TempPathFactory, s3: S3, s3_environment: None
) -> Iterator[Callable[..., MlflowServer]]:
    """Start ``mlflow server`` on sqlite, with artifacts direct to S3 or proxied."""
    servers: list[MlflowServer] = []

    def start(mode: str) -> MlflowServer:
        folder = tmp_path_factory.mktemp(mode)
        port = _free_port()
        root = f"s3://{s3.bucket}/{folder.name}"
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db"]
        if mode == "proxied":
            command += ["--artifacts-destination", root]
        else:
            command += ["--no-serve-artifacts", "--default-artifact-root", root]
        log = folder / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                command,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # its eight processes for jobs, which we never send, take a minute to start
                env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        server = MlflowServer(url, root if mode == "proxied" else None, process)
        servers.append(server)

        def ready() -> bool:
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2):
                    return True
            except OSError:
                return False

        _wait(process, log, ready)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def kserve_python(make_environment: Callable[[str], Path]) -> Path:
    """Python with KServe's storage library: an environment, as it is an image in the cluster."""
    return make_environment("kserve-storage")


@pytest.fixture(scope="session")
def storage_initializer(
    tmp_path_factory: pytest.TempPathFactory, s3: S3, kserve_python: Path
) -> Callable[[str, Path], subprocess.CompletedProcess[str]]:
    """KServe's storage initializer: called with a storage URI and a destination."""
    folder = tmp_path_factory.mktemp("storage-initializer")
    # what the image's entry point does: pairs of source URI and destination
    entry_point = folder / "initializer-entrypoint"
    entry_point.write_text(
        "import sys\n"
        "from kserve_storage import Storage, configure_logging\n"
        "if __name__ == '__main__':\n"
        "    configure_logging()\n"
        "    Storage.download_files(sys.argv[1::2], sys.argv[2::2])\n",
        encoding="utf-8",
    )
    # what KServe's webhook makes of the secret in docker/kserve/s3-secret.yaml
    env = {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": s3.url,
        "S3_ENDPOINT": s3.url.removeprefix("http://"),
        "S3_USE_HTTPS": "0",
        "awsAnonymousCredential": "false",
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }

    def run(uri: str, destination: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(kserve_python), str(entry_point), uri, str(destination)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=env,
        )

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, without a window.

    An event loop runs as long as it is there, beside which other tests cannot run theirs.
    """
    program = shutil.which("chromium")
    assert program, "expected chromium (Debian package chromium), found none; install it"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture
def numbers() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame({"a": rng.normal(size=40), "b": rng.normal(size=40)})


@pytest.fixture
def target(numbers: pd.DataFrame) -> pd.Series:
    return (2 * numbers["a"] - numbers["b"]).rename("price")
