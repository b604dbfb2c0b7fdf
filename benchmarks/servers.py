"""The servers that are compared: how each is started, on one core, and when it answers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
NAME = "california"
PATIENCE = 120
#: One core for the server, the other for whoever asks.
SERVER_CORE, CLIENT_CORE = "0", "1"


@dataclass(frozen=True)
class Server:
    """How a server is started.

    Parameters
    ----------
    name : str
    command : sequence of str
    settings : mapping, optional
        MLServer's ``model-settings.json``, for servers started by ``mlserver start``.
    env : mapping of str to str
    """

    name: str
    command: Sequence[str]
    settings: Mapping[str, object] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def make_servers(stock_python: Path, plain: Path, bundle: Path) -> list[Server]:
    """Every server of the comparison, on the same model."""
    mlserver = [str(stock_python.with_name("mlserver")), "start"]
    stock = {
        "name": NAME,
        "implementation": "mlserver_mlflow.MLflowRuntime",
        "parameters": {"uri": str(plain)},
    }
    ours = [sys.executable, "-Im", "pyfunc_packaging", "serve", str(bundle), "--name", NAME]
    faster = [str(Path(sys.executable).with_name("mlserver")), "start"]
    constant = {"name": NAME, "implementation": "constant.Constant"}
    benchmarks = {"PYTHONPATH": str(HERE)}  # where the pickled pipeline finds its function
    return [
        Server("stock mlserver-mlflow", mlserver, stock, benchmarks),
        Server(
            "stock, adaptive batching",
            mlserver,
            {**stock, "max_batch_size": 32, "max_batch_time": 0.005},
            benchmarks,
        ),
        Server(
            "ours, pyfunc engine", ours, env={"PYFUNC_ENGINE": "pyfunc", "PYFUNC_TRUST": "code"}
        ),
        Server("ours, onnx engine", ours),
        Server("MLServer's floor", mlserver, constant, benchmarks),
        # with httptools, which our environment has and mlserver does not require
        Server("MLServer's floor, httptools", faster, constant, benchmarks),
        Server(
            "bare uvicorn",
            [sys.executable, str(HERE / "bare.py")],
            env={"MODEL": str(bundle / "data" / "model.onnx")},
        ),
    ]


@dataclass(frozen=True)
class Running:
    """A server that has answered its first request."""

    port: int
    grpc_port: int
    cold: float
    process: subprocess.Popen[bytes]

    @property
    def path(self) -> str:
        return f"/v2/models/{NAME}/infer"

    def memory(self) -> float:
        """Resident memory in MB, with that of the processes it started."""
        total = 0
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                lines = dict(
                    line.split(":", 1) for line in status.read_text().splitlines() if ":" in line
                )
                family = {int(lines["Pid"]), int(lines["PPid"])}
                if self.process.pid in family and "VmRSS" in lines:
                    total += int(lines["VmRSS"].split()[0])
        return total / 1024


@contextlib.contextmanager
def running(server: Server, request: bytes, folder: Path) -> Iterator[Running]:
    """Start a server, wait for its first right answer, and end it."""
    start = time.perf_counter()
    with starting(server, folder) as (process, ports):
        _first_answer(process, ports[0], request, folder / "log")
        yield Running(ports[0], ports[1], time.perf_counter() - start, process)


@contextlib.contextmanager
def starting(server: Server, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    """Start a server, which may fail, and end it; the process, and its REST and gRPC ports."""
    ports = _free_ports(3)
    env = {
        **os.environ,
        "MLSERVER_HTTP_PORT": str(ports[0]),
        "MLSERVER_GRPC_PORT": str(ports[1]),
        "MLSERVER_METRICS_PORT": str(ports[2]),
        "MLSERVER_HOST": "127.0.0.1",
        "MLSERVER_DEBUG": "false",
        "MLSERVER_PARALLEL_WORKERS": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # as in an image: byte code is compiled once, by whoever starts first
        "PYTHONDONTWRITEBYTECODE": "",
        **server.env,
    }
    command = list(server.command)
    if server.settings is not None:
        (folder / "model-settings.json").write_text(json.dumps(server.settings))
        command.append(str(folder))
    with (folder / "log").open("wb") as output:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=folder,
            start_new_session=True,
        )
    try:
        yield process, ports
    finally:
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _first_answer(process: subprocess.Popen[bytes], port: int, body: bytes, log: Path) -> None:
    url = f"http://127.0.0.1:{port}/v2/models/{NAME}/infer"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended:\n{log.read_text()}")
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                if json.load(response)["outputs"]:
                    return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.02)
    raise SystemExit(f"no answer within {PATIENCE} s:\n{log.read_text()}")


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports
