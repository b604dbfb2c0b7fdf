"""What counting costs: this version's server beside another revision's, asked in turns.

    python benchmarks/metrics.py --against main

Both serve the same bundle on one core. Blocks of requests alternate between them, so that the
machine's moods fall on both. What is compared is the median over blocks: of what a client waits
(``waiting``), of the fastest tenth, which nothing else on the machine disturbed (``fastest``), and
of the time that the server's thread is on a processor (``working``). ``--against HEAD`` says what
is noise.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from load import latency, percentile
from machine import describe_machine
from servers import NAME, Running, Server, running

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "models" / "california_housing"
SIZES = (1, 100)


@click.command()
@click.option("--against", default="main", show_default=True, help="A revision of this repository.")
@click.option("--blocks", default=30, show_default=True, help="Blocks of requests a server.")
@click.option("--seconds", default=0.5, show_default=True, help="Seconds a block.")
def main(against: str, blocks: int, seconds: float) -> None:
    """Compare single requests, over one connection, and print a table."""
    # one core to ask from, the other to serve: as in servers.py
    os.sched_setaffinity(0, {1 % (os.cpu_count() or 1)})
    with tempfile.TemporaryDirectory() as folder:
        bundle = _package(Path(folder) / "bundle")
        sources = _check_out(against, Path(folder) / "sources")
        command = [sys.executable, "-m", "mlserver_pyfunc", str(bundle), "--name", NAME]
        servers = [
            Server("this version", command),
            Server(against, command, env={"PYTHONPATH": sources}),
        ]
        bodies = {rows: _make_body(bundle, rows) for rows in SIZES}
        first = bodies[SIZES[0]]
        logs = [Path(folder) / str(number) for number in range(2)]
        for log in logs:
            log.mkdir()
        with running(servers[0], first, logs[0]) as ours, running(servers[1], first, logs[1]) as it:
            _warm_up(ours, it, first)
            click.echo(json.dumps(describe_machine()))
            for rows, body in bodies.items():
                found = [_Found(), _Found()]
                for block in range(blocks):
                    pairs = list(zip((ours, it), found, strict=True))
                    for server, block_found in pairs if block % 2 else reversed(pairs):
                        block_found.measure(server, body, seconds)
                for what in ("fastest", "waiting", "working"):
                    mine, yours = (getattr(each, what) for each in found)
                    ratios = [one / other for one, other in zip(mine, yours, strict=True)]
                    low, middle, high = statistics.quantiles(ratios, n=4)
                    one, other = statistics.median(mine), statistics.median(yours)
                    click.echo(
                        f"{rows:>4} rows, {what}: this version {one:.1f} µs, {against}"
                        f" {other:.1f} µs, {one - other:+.1f} µs; ratio by block {middle:.3f}"
                        f" ({low:.3f} to {high:.3f})"
                    )


class _Found:
    """Microseconds a request, block by block."""

    def __init__(self) -> None:
        self.waiting: list[float] = []
        self.fastest: list[float] = []
        self.working: list[float] = []

    def measure(self, server: Running, body: bytes, seconds: float) -> None:
        before = _processor_time(server)
        taken = latency(server, body, seconds=seconds)
        self.waiting.append(1e3 * statistics.median(taken))
        self.fastest.append(1e3 * percentile(taken, 10))
        self.working.append(1e6 * (_processor_time(server) - before) / len(taken))


def _processor_time(server: Running) -> float:
    """Seconds that the thread of the event loop has been on a processor."""
    text = Path(f"/proc/{server.process.pid}/schedstat").read_text(encoding="ascii")
    return int(text.split()[0]) / 1e9


def _warm_up(ours: Running, it: Running, body: bytes) -> None:
    for server in (ours, it):
        latency(server, body, seconds=1)


def _package(path: Path) -> Path:
    """The example's model, on its synthetic rows."""
    sys.path.append(str(EXAMPLE))
    from data import TARGET, make_synthetic
    from train import make_pipeline

    from pyfunc_packaging import package_model

    rows = make_synthetic(5000, seed=7)
    target = rows.pop(TARGET)
    model = make_pipeline().fit(rows, target)
    package_model(model, rows, y=target, path=path, name=NAME, report=False, progress=False)
    return path


def _check_out(revision: str, folder: Path) -> str:
    """The sources of a revision, as a PYTHONPATH."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "archive", revision, "packaging", "runtime"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode != 0:
        raise click.UsageError(archive.stderr.decode().strip())
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    return os.pathsep.join(str(folder / name) for name in ("packaging", "runtime"))


def _make_body(bundle: Path, rows: int) -> bytes:
    golden = json.loads((bundle / "data" / "golden.json").read_text(encoding="utf-8"))
    inputs = [
        {**tensor, "shape": [rows], "data": (tensor["data"][:1] * rows)}
        for tensor in golden["request"]["inputs"]
    ]
    return json.dumps({"inputs": inputs}).encode()


if __name__ == "__main__":
    main()
