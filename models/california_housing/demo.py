"""The whole path on this machine: train, package, serve, request, predictions.

python models/california_housing/demo.py [--data housing.csv]
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
#: Seconds for the server to start on a slow machine.
PATIENCE = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    options = parser.parse_args()
    # lines of this program and of those that it runs come out in their order
    sys.stdout.reconfigure(line_buffering=True)
    if shutil.which("curl") is None:
        raise SystemExit("the demo sends its request with curl, which is not installed")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="pyfunc-demo-") as folder:
        bundle = Path(folder) / "bundle"
        step("1. train and package")
        data = ["--data", options.data] if options.data else []
        run([sys.executable, str(HERE / "train.py"), "--output", str(bundle), *data])
        serve_and_ask(bundle, Path(folder) / "server.log")
    print(f"\ndone in {time.perf_counter() - started:.1f} s")


def serve_and_ask(bundle: Path, log: Path) -> None:
    http, grpc, metrics = free_ports(3)
    command = [sys.executable, "-m", "pyfunc_packaging", "serve", str(bundle)]
    command += ["--http-port", http, "--grpc-port", grpc, "--metrics-port", metrics]
    step("2. serve: " + " ".join(["pyfunc", *command[3:5], "--http-port", http]))
    start = time.perf_counter()
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        wait_until_ready(f"http://127.0.0.1:{http}/v2/health/ready", server, log)
        print(f"ready     in {time.perf_counter() - start:.1f} s")
        url = f"http://127.0.0.1:{http}/v2/models/CaliforniaHousingRegressor/infer"
        request = HERE / "request.json"
        step(f"3. curl -H 'Content-Type: application/json' -d @{request.name} {url}")
        print(request.read_text(encoding="utf-8"))
        start = time.perf_counter()
        ask = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "60"]
        run([*ask, "-H", "Content-Type: application/json", "-d", f"@{request}", url])
        print(f"\n\nanswered  in {1000 * (time.perf_counter() - start):.0f} ms, curl included")
    finally:
        step("4. stop")
        server.terminate()
        status = server.wait(timeout=60)
    print(f"stopped   with exit status {status}")
    if status != 0:
        raise SystemExit(log.read_text(encoding="utf-8"))


def step(title: str) -> None:
    print(f"\n== {title}", flush=True)


def run(command: list[str]) -> None:
    done = subprocess.run(command, check=False)
    if done.returncode != 0:
        raise SystemExit(f"failed with status {done.returncode}: {' '.join(command)}")


def free_ports(count: int) -> list[str]:
    """Ports that were free a moment ago, held together so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(held.getsockname()[1]) for held in sockets]
    for held in sockets:
        held.close()
    return ports


def wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server ended:\n{log.read_text(encoding='utf-8')}")
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise SystemExit(f"the server was not ready after {PATIENCE} s:\n{log.read_text('utf-8')}")


if __name__ == "__main__":
    main()
