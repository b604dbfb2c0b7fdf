"""Shared fixtures: the example's data and bundle, and real servers on loopback ports."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd
import pytest

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "models" / "california_housing"
sys.path.append(str(EXAMPLE))

# OpenMP threads that wait for one another take minutes for a small model when something else holds
# a core; read when scikit-learn is first imported, here and in every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Seconds that a server may take to become ready on a busy machine.
PATIENCE = 120


class NoProcess(contextlib.nullcontext[Any]):
    """Stands in for the process that loads a new bundle."""

    def __enter__(self) -> Self:
        return self

    def check(self, path: Path) -> None:
        """Take it for good."""


def _unchecked() -> Iterator[None]:
    """A mock: no bundle is loaded in a new process, which takes seconds; others do it for real."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyfunc_packaging.package.NewProcess", NoProcess)
        yield


unchecked = pytest.fixture(_unchecked, name="unchecked")
#: For fixtures of a module that package something.
all_unchecked = pytest.fixture(_unchecked, scope="module", name="all_unchecked")


@dataclass(frozen=True)
class Answer:
    """Status and JSON of a response; ``text`` is what came."""

    status: int
    text: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def error(self) -> str:
        return str(self.json["error"])


def _answer(status: int, response: Any) -> Answer:
    body = response.read()
    if response.headers["content-encoding"] == "gzip":
        body = gzip.decompress(body)
    return Answer(status, body.decode(), dict(response.headers))


class Server:
    """A real server process, its ports and its log."""

    def __init__(self, process: subprocess.Popen[bytes], ports: dict[str, int], log: Path) -> None:
        self.process = process
        self.ports = ports
        self._log = log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['http']}"

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    def request(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        timeout: float = 60,
    ) -> Answer:
        """Send a request; bytes as they are, everything else as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data,
            {"Content-Type": "application/json", **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout) as response:
                return _answer(response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error)

    def infer(self, model: str, body: Any, **options: Any) -> Answer:
        return self.request(f"/v2/models/{model}/infer", body, **options)

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(f"the server ended:\n{self.log}")
            try:
                if self.request("/v2/health/ready").status == 200:
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        raise AssertionError(f"the server was not ready after {PATIENCE} s:\n{self.log}")

    def stop(self) -> int:
        """Ask it to end, as Kubernetes does; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the server did not end after SIGTERM:\n{self.log}") from None


def pick_ports() -> dict[str, int]:
    """Three free ports, from a hundred that other test processes begin elsewhere than at.

    Ports that the system picks may be picked by another process before the server has them, and
    its server would answer in place of ours.
    """
    return {name: next(_free_ports) for name in ("http", "grpc", "metrics")}


def _find_free_ports() -> Iterator[int]:
    """Free ports below those that Linux gives to clients, one after the other."""
    first, count = 10_000, 20_000
    for step in itertools.count():
        port = first + (os.getpid() % 200 * 100 + step) % count
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        yield port


_free_ports = _find_free_ports()


@pytest.fixture(scope="session")
def start_program(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[..., Server]]:
    """Start a server program on free ports; every server ends with the session.

    ``command`` is a function of the ports, which may also write what the program reads.
    """
    servers: list[Server] = []

    def start(
        command: Callable[[dict[str, int]], list[str]],
        *,
        env: Callable[[dict[str, int]], dict[str, str]] = lambda _: {},
        wait: bool = True,
    ) -> Server:
        ports = pick_ports()
        folder = tmp_path_factory.mktemp("server")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                command(ports),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env={**os.environ, **env(ports)},
            )
        server = Server(process, ports, folder / "log")
        servers.append(server)
        if wait:
            server.wait_until_ready()
        return server

    yield start
    running = [server for server in servers if server.process.poll() is None]
    for server in running:  # all at once: each waits a second for its clients
        server.process.send_signal(signal.SIGTERM)
    for server in running:
        server.stop()


@pytest.fixture(scope="session")
def start_server(start_program: Callable[..., Server]) -> Callable[..., Server]:
    """Start ``pyfunc serve MODEL …``; see :func:`start_program`."""

    def start(
        model: Path | str,
        *arguments: str,
        env: dict[str, str] | None = None,
        wait: bool = True,
        wrap: tuple[str, ...] = (),
    ) -> Server:
        def command(ports: dict[str, int]) -> list[str]:
            options = [
                word for name, port in ports.items() for word in (f"--{name}-port", str(port))
            ]
            serve = [sys.executable, "-Im", "pyfunc_packaging", "serve", str(model)]
            return [*wrap, *serve, *options, *arguments]

        return start_program(command, env=lambda _: env or {}, wait=wait)

    return start


class Container:
    """The command of an image, running; see tests/image/container.py."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """The image's own first process; what we started is ``unshare``, its parent."""
        family = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return int(family.read_text().split()[0])

    def curl(self, path: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Ask from inside its network, where ``path`` is on port 8080."""
        network = f"--net=/proc/{self.process.pid}/ns/net"
        curl = ["curl", "--silent", "--show-error", "--max-time", "60", *options]
        return subprocess.run(
            ["nsenter", network, *curl, f"http://127.0.0.1:8080{path}"],
            capture_output=True,
            text=True,
            check=False,
        )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.curl("/v2/health/ready", "--fail").returncode != 0:
            assert self.process.poll() is None, f"the container ended:\n{self.log}"
            assert time.monotonic() < deadline, f"the container is not ready:\n{self.log}"
            time.sleep(0.05)

    def stop(self) -> int:
        """Ask it to end, as Kubernetes does; the exit status."""
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"the container did not end:\n{self.log}") from None


class Image:
    """One target of the image that ``make image-test`` built; ``facts`` are what it found out."""

    def __init__(self, images: Path, target: str, folder: Path) -> None:
        self._images = images
        self._folder = folder
        self.containers: list[Container] = []
        self.target = target
        self.facts: dict[str, Any] = json.loads(images.read_text(encoding="utf-8"))[target]
        self.config: dict[str, Any] = self.facts["config"]
        self.rootfs = Path(self.facts["rootfs"])

    def _enter(
        self, command: tuple[str, ...], bundle: Path | None, env: dict[str, str] | None
    ) -> list[str]:
        spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        script = str(ROOT / "tests" / "image" / "container.py")
        options = [f"--env={name}={value}" for name, value in (env or {}).items()]
        options += [f"--bundle={bundle}"] if bundle else []
        program = [sys.executable, "-I", script, *options, str(self._images), self.target]
        return [*spaces, *program, "--", *command]

    def run(
        self, *command: str, bundle: Path | None = None, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, or the image's own, to its end."""
        return subprocess.run(
            self._enter(command, bundle, env),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def start(self, *, bundle: Path, env: dict[str, str] | None = None) -> Container:
        """Start the image's own command."""
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(
                self._enter((), bundle, env), stdout=log, stderr=subprocess.STDOUT
            )
        self.containers.append(Container(process, self._folder / "log"))
        return self.containers[-1]


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Image]]:
    """The built image, by target: ``slim`` or ``full``; every container ends with the session."""
    images = os.environ.get("PYFUNC_IMAGES")
    if not images:
        pytest.fail("PYFUNC_IMAGES does not say where the image is; run `make image-test`")
    entered: list[Image] = []

    def enter(target: str) -> Image:
        entered.append(Image(Path(images), target, tmp_path_factory.mktemp(target)))
        return entered[-1]

    yield enter
    for each in entered:
        for container in each.containers:
            container.process.kill()
            container.process.wait()


@pytest.fixture(scope="session")
def synthetic() -> pd.DataFrame:
    """3,000 rows of the example's synthetic census, target included."""
    from data import make_synthetic

    return make_synthetic(3000, seed=7)


@pytest.fixture(scope="session")
def california(synthetic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The example model on synthetic rows: ``(pipeline, X, bundle)``."""
    from data import TARGET
    from train import NAME, make_pipeline

    from pyfunc_packaging import package_model

    rows, target = synthetic.drop(columns=TARGET), synthetic[TARGET]
    pipeline = make_pipeline().fit(rows, target)
    path = tmp_path_factory.mktemp("california") / "bundle"
    return pipeline, rows, package_model(pipeline, rows, y=target, path=path, name=NAME)


@pytest.fixture(scope="session")
def california_server(california: Any, start_server: Callable[..., Server]) -> Server:
    """A running server of the example bundle; tests share it, so none may break it."""
    return start_server(california[2].path)


@pytest.fixture
def request_body() -> Any:
    """The example's request of two rows, to change at will."""
    return json.loads((EXAMPLE / "request.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Make an environment of what ``constraints/NAME.txt`` locks; returns its Python.

    For programs whose libraries have other versions than ours.
    """

    def make(name: str) -> Path:
        folder = tmp_path_factory.mktemp(name) / "venv"
        uv, python = str(Path(sys.executable).with_name("uv")), folder / "bin" / "python"
        install = [uv, "pip", "install", "--quiet", "--system-certs", "--require-hashes"]
        for command in (
            [uv, "venv", "--quiet", "--python", sys.executable, str(folder)],
            [*install, "--python", str(python), "-r", str(ROOT / "constraints" / f"{name}.txt")],
        ):
            done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
            assert done.returncode == 0, done.stderr
        return python

    return make
