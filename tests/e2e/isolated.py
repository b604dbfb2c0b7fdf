"""Run by test_isolation.py in a network namespace of its own: serve a model, send one request.

``isolated.py MODEL NAME REQUEST``; the server is a process of its own with an audit hook that
writes down every connection it tries to open.
"""

from __future__ import annotations

import fcntl
import json
import os
import runpy
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path


def loopback_up() -> None:
    """Set IFF_UP | IFF_RUNNING on ``lo`` with SIOCSIFFLAGS; see netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        fcntl.ioctl(probe, 0x8914, struct.pack("16sh", b"lo", 0x1 | 0x40))


def serve_with_hook(log: str, arguments: list[str]) -> None:
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def hook(event: str, details: tuple[object, ...]) -> None:
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            os.write(out, f"{event} {details[1:]!r}\n".encode())

    sys.addaudithook(hook)
    sys.argv = ["mlserver_pyfunc", *arguments]
    runpy.run_module("mlserver_pyfunc", run_name="__main__")


def main(model: str, name: str, request: str) -> None:
    loopback_up()
    interfaces = [interface for _, interface in socket.if_nameindex()]
    connections = Path(request).with_suffix(".connections")
    command = [sys.executable, "-I", __file__, "--serve", str(connections), model, "--name", name]
    with Path(request).with_suffix(".log").open("wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    url = "http://127.0.0.1:8080/v2"
    curl = ["curl", "-s", "-S", "--max-time", "60"]
    try:
        for _ in range(600):
            ready = subprocess.run(
                [*curl, "-f", f"{url}/health/ready"], capture_output=True, check=False
            )
            if ready.returncode == 0 or server.poll() is not None:
                break
            time.sleep(0.1)
        infer = [*curl, "-H", "Content-Type: application/json", "-d", f"@{request}"]
        answer = subprocess.run(
            [*infer, f"{url}/models/{name}/infer"], capture_output=True, text=True, check=False
        )
    finally:
        server.terminate()
        status = server.wait(timeout=30)
    report = {
        "interfaces": interfaces,
        "answer": answer.stdout,
        "status": status,
        "connections": connections.read_text() if connections.exists() else None,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve_with_hook(sys.argv[2], sys.argv[3:])
    else:
        main(*sys.argv[1:])
