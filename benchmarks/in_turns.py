"""Our server beside bare uvicorn, the limit for Python, and beside mlserver-mlflow, asked in turns.

    python benchmarks/in_turns.py --stock .venv-stock [--data housing.csv] [--blocks 40]

All serve the same model on one core and are up all the time: blocks of requests alternate between
two of them, so that the moods of the machine fall on both. `serving.py` starts one server after the
other, and compares what may be a quiet minute with a busy one.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
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
from serving import BARE, BATCHING, STOCK, body, save_plain

from pyfunc_packaging import package_model

OURS = "ours, onnx engine"
#: Seconds of a block with one client, and with several.
ALONE, TOGETHER = 0.25, 1


@click.command()
@click.option("--stock", type=Path, required=True, help="Environment with mlserver-mlflow.")
@click.option("--data", help="The California housing CSV; default: synthetic data.")
@click.option("--blocks", default=40, show_default=True, help="Blocks of requests a server.")
def main(stock: Path, data: str | None, blocks: int) -> None:
    """Print what each server takes, and the median of the ratios block by block."""
    os.sched_setaffinity(0, {int(CLIENT_CORE)} if (os.cpu_count() or 1) > 1 else {0})
    rows, source = load_housing(data)
    X = rows.drop(columns=TARGET)
    pipeline = make_plain_pipeline(NUMERIC, CATEGORICAL).fit(X, rows[TARGET])
    machine = describe_machine()
    click.echo(f"{source}; {machine['processor']}, {machine['cores']} cores, one to serve")
    with tempfile.TemporaryDirectory(prefix="pyfunc-turns-") as name, ExitStack() as stack:
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
        save_plain(pipeline, X, folder / "plain")
        complete = X.dropna()
        one, thousand = body(bundle, complete.head(1)), body(bundle, complete.head(1000))
        live: dict[str, Running] = {}
        for server in make_servers(
            stock.absolute() / "bin" / "python", folder / "plain", bundle.path
        ):
            if server.name in (OURS, BARE, STOCK, BATCHING):
                place = Path(tempfile.mkdtemp(dir=folder))
                live[server.name] = stack.enter_context(running(server, one, place))

        def together(server: Running) -> float:
            return throughput(server, one, clients=32, seconds=TOGETHER, folder=folder)

        measures: list[tuple[str, int, str, Callable[[Running], float]]] = [
            ("one row, ms", blocks, STOCK, lambda server: _median(server, one)),
            ("1,000 rows, ms", blocks, STOCK, lambda server: _median(server, thousand)),
            ("32 clients, requests/s", blocks // 4, BATCHING, together),
            ("one row, ms", blocks, BARE, lambda server: _median(server, one)),
            (
                "one row, another header each time, ms",
                blocks,
                BARE,
                lambda server: _median(server, one, same_head=False),
            ),
            ("1,000 rows, ms", blocks, BARE, lambda server: _median(server, thousand)),
            ("32 clients, requests/s", blocks // 2, BARE, together),
        ]
        for what, times, other, measure in measures:
            found = compare(live[OURS], live[other], times, measure)
            click.echo(f"{what}: ours {found[0]:.4g}, {other} {found[1]:.4g}; ratio {found[2]}")


def _median(server: Running, content: bytes, *, same_head: bool = True) -> float:
    return statistics.median(latency(server, content, seconds=ALONE, same_head=same_head))


def compare(
    ours: Running, other: Running, blocks: int, measure: Callable[[Running], float]
) -> tuple[float, float, str]:
    """Medians of both, and of the ratios block by block, with their quartiles."""
    measure(ours), measure(other)  # to warm up
    found: dict[int, list[float]] = {ours.port: [], other.port: []}
    for block in range(blocks):
        for server in (ours, other) if block % 2 else (other, ours):
            found[server.port].append(measure(server))
    mine, its = found.values()
    low, middle, high = statistics.quantiles(
        [one / another for one, another in zip(mine, its, strict=True)], n=4
    )
    ratio = f"{middle:.3g} ({low:.3g} to {high:.3g})"
    return statistics.median(mine), statistics.median(its), ratio


if __name__ == "__main__":
    main()
