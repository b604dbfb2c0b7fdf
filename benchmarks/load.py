"""Requests to a running server: latency of one client, throughput of several."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
from mlserver.grpc import dataplane_pb2 as pb
from servers import CLIENT_CORE, NAME, Running


def latency(
    server: Running, body: bytes, *, seconds: float, at_least: int = 20, same_head: bool = True
) -> list[float]:
    """Milliseconds of requests one after the other, over one connection that is kept alive.

    Without ``same_head``, each has an identity among its headers, as proxies add them.
    """
    head = (
        f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
    ).encode()
    taken = []
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(taken) < at_least:
            identity = b"" if same_head else b"x-request-id: %b\r\n" % str(uuid4()).encode()
            request = head + identity + b"\r\n" + body
            start = time.perf_counter()
            connection.sendall(request)
            _read_response(connection)
            taken.append(1000 * (time.perf_counter() - start))
    return taken


def grpc_latency(server: Running, body: bytes, *, seconds: float) -> list[float]:
    """Milliseconds of gRPC requests one after the other, with the same tensors."""
    request = _to_grpc(json.loads(body))
    taken = []
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            answer = infer(request)
            taken.append(1000 * (time.perf_counter() - start))
    if not pb.ModelInferResponse.FromString(answer).outputs:
        raise SystemExit("expected outputs over gRPC, got none")
    return taken


def _to_grpc(body: dict[str, Any]) -> bytes:
    """A V2 request as gRPC has it, serialised."""
    request = pb.ModelInferRequest(model_name=NAME)
    for tensor in body["inputs"]:
        data = tensor["data"]
        texts = tensor["datatype"] == "BYTES"
        contents = (
            pb.InferTensorContents(bytes_contents=[cell.encode() for cell in data])
            if texts
            else pb.InferTensorContents(fp64_contents=data)
        )
        request.inputs.add(
            name=tensor["name"],
            datatype=tensor["datatype"],
            shape=tensor["shape"],
            contents=contents,
        )
    return bytes(request.SerializeToString())


def _read_response(connection: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(65536)
    head, _, rest = data.partition(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise SystemExit(f"expected status 200, got:\n{data.decode(errors='replace')}")
    length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
    if length is None:
        raise SystemExit("expected a response with Content-Length")
    missing = int(length[1]) - len(rest)
    while missing > 0:
        missing -= len(connection.recv(65536))


def throughput(server: Running, body: bytes, *, clients: int, seconds: int, folder: Path) -> float:
    """Requests a second with several connections, by wrk."""
    script = folder / "request.lua"
    content = body.decode().replace("]]", "] ]")  # a Lua long text ends with two brackets
    script.write_text(
        f'wrk.method = "POST"\nwrk.headers["Content-Type"] = "application/json"\n'
        f"wrk.body = [[{content}]]\n",
        encoding="utf-8",
    )
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{clients}", f"-d{seconds}s"]
    url = f"http://127.0.0.1:{server.port}{server.path}"
    done = subprocess.run(
        [*command, "--timeout", "30s", "-s", str(script), url],
        capture_output=True,
        text=True,
        check=True,
    )
    if "Non-2xx" in done.stdout:
        raise SystemExit(f"some requests failed:\n{done.stdout}")
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if found is None:
        raise SystemExit(f"wrk said nothing of requests:\n{done.stdout}")
    return float(found[1])


def percentile(values: list[float], share: float) -> float:
    return float(np.percentile(values, share))
