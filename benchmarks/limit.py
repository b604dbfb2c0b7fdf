"""Our server beside the limit for Python, bare uvicorn, asked in turns.

    python benchmarks/limit.py [--data housing.csv] [--blocks 40]

Both serve the same graph on one core, and both are up all the time: blocks of requests alternate
between them, so that the moods of the machine fall on both. `serving.py` starts one server after
the other, and compares what may be a quiet minute with a busy one.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
from data import CATEGORICAL, NUMERIC, TARGET, load_housing
from load import latency, throughput
from machine import describe_machine
from plain import make_plain_pipeline
from servers import CLIENT_CORE, NAME, Running, make_servers, running
from serving import BARE, body

from pyfunc_packaging import package_model

OURS = "ours, onnx engine"
#: Seconds of a block with one client, and with several.
ALONE, TOGETHER = 0.25, 1


@click.command()
@click.option("--data", help="The California housing CSV; default: synthetic data.")
@click.option("--blocks", default=40, show_default=True, help="Blocks of requests a server.")
def main(data: str | None, blocks: int) -> None:
    """Print what each server takes, and the median of the ratios block by block."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)} if (os.cpu_count() or 1) > 1 else {0})
    rows, source = load_housing(data)
    X = rows.drop(columns=TARGET)
    pipeline = make_plain_pipeline(NUMERIC, CATEGORICAL).fit(X, rows[TARGET])
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="pyfunc-limit-") as name:
        folder = Path(name)
        bundle = package_model(
            pipeline,
            X,
            y=rows[TARGET],
            path=folder / "bundle",
            name=NAME,
            compile="require",
            progress=False,
        )
        complete = X.dropna()
        one, thousand = body(bundle, complete.head(1)), body(bundle, complete.head(1000))
        servers = {
            server.name: server for server in make_servers(Path("unused"), folder, bundle.path)
        }
        for place in ("ours", "bare"):
            (folder / place).mkdir()

        def together(server: Running) -> float:
            return throughput(server, one, clients=32, seconds=TOGETHER, folder=folder)

        with (
            running(servers[OURS], one, folder / "ours") as ours,
            running(servers[BARE], one, folder / "bare") as bare,
        ):
            click.echo(f"{source}; {machine['processor']}, {machine['cores']} cores, one to serve")
            compare("one row, ms", ours, bare, blocks, lambda live: _median(live, one))
            compare(
                "one row, another header each time, ms",
                ours,
                bare,
                blocks,
                lambda live: _median(live, one, same_head=False),
            )
            compare("1,000 rows, ms", ours, bare, blocks, lambda live: _median(live, thousand))
            compare("32 clients, requests/s", ours, bare, blocks // 2, together)


def _median(server: Running, content: bytes, *, same_head: bool = True) -> float:
    return statistics.median(latency(server, content, seconds=ALONE, same_head=same_head))


def compare(
    what: str, ours: Running, bare: Running, blocks: int, measure: Callable[[Running], float]
) -> None:
    """Measure both in turns, and print."""
    measure(ours), measure(bare)  # to warm up
    found: dict[int, list[float]] = {ours.port: [], bare.port: []}
    for block in range(blocks):
        for server in (ours, bare) if block % 2 else (bare, ours):
            found[server.port].append(measure(server))
    mine, its = found.values()
    low, middle, high = statistics.quantiles(
        [one / other for one, other in zip(mine, its, strict=True)], n=4
    )
    click.echo(
        f"{what}: ours {statistics.median(mine):.4g}, bare {statistics.median(its):.4g};"
        f" ratio {middle:.2f} ({low:.2f} to {high:.2f})"
    )


if __name__ == "__main__":
    main()
