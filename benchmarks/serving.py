"""Serve one model by several servers in turn, one core each, and compare.

python benchmarks/serving.py --stock .venv-stock [--data housing.csv] [--rounds 3] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import warnings
from math import nan
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import mlflow.sklearn
from data import CATEGORICAL, NUMERIC, TARGET, load_housing
from load import grpc_latency, latency, percentile, throughput
from machine import describe_machine
from plain import make_plain_pipeline
from rich.console import Console
from rich.table import Table
from servers import CLIENT_CORE, Running, Server, make_servers, running

from pyfunc_packaging import Bundle, package_model
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import make_request

#: What is measured: the column's title, and whether less is better.
MEASURES = {
    "c1 p50 ms": True,
    "c1 p99 ms": True,
    "c8 req/s": False,
    "c32 req/s": False,
    "1,000 rows p50 ms": True,
    "gRPC c1 p50 ms": True,
    "cold s": True,
    "RSS MB": True,
}
STOCK, BATCHING = "stock mlserver-mlflow", "stock, adaptive batching"
FLOOR, FASTER_FLOOR = "MLServer's floor", "MLServer's floor, httptools"
BARE = "bare uvicorn"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stock", type=Path, required=True, help="environment with mlserver-mlflow"
    )
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of each load, default: 4")
    parser.add_argument("--output", type=Path, default=Path("build/bench/serving.json"))
    options = parser.parse_args()
    os.sched_setaffinity(0, {int(CLIENT_CORE)} if os.cpu_count() > 1 else {0})

    rows, source = load_housing(options.data)
    X = rows.drop(columns=TARGET)
    pipeline = make_plain_pipeline(NUMERIC, CATEGORICAL).fit(X, rows[TARGET])
    with tempfile.TemporaryDirectory(prefix="pyfunc-bench-") as name:
        folder = Path(name)
        bundle = package_model(
            pipeline,
            X,
            y=rows[TARGET],
            path=folder / "bundle",
            name="california",
            compile="require",
        )
        save_plain(pipeline, X, folder / "plain")
        servers = make_servers(
            options.stock.absolute() / "bin" / "python", folder / "plain", bundle.path
        )
        complete = X.dropna()
        bodies = body(bundle, complete.head(1)), body(bundle, complete.head(1000))
        found: dict[str, list[dict[str, float]]] = {server.name: [] for server in servers}
        # each round starts every server once, so that a machine that slows down hits all alike;
        # the first only compiles byte code and fills the caches
        for number in range(options.rounds + 1):
            for server in servers:
                figures = measure(server, bodies, 1 if number == 0 else options.seconds, folder)
                if number > 0:
                    found[server.name].append(figures)
                print(f"round {number}: {server.name}: {show(figures)}", file=sys.stderr)
    medians = {
        name: {
            measure: statistics.median(figures[measure] for figures in rounds)
            for measure in MEASURES
        }
        for name, rounds in found.items()
    }
    report(medians, source)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {
        "machine": describe_machine(),
        "data": source,
        "rounds": found,
        "medians": medians,
        "compilation": dict(bundle.compilation),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


def body(bundle: Bundle, rows: Any) -> bytes:
    """A V2 request without any content-type hint, as curl would send it."""
    columns = bundle.schema.columns
    return json.dumps(make_request(columns, from_frame(bundle.schema, rows))).encode()


def save_plain(pipeline: Any, X: Any, path: Path) -> None:
    """The same pipeline as MLflow's own sklearn flavor, the way stock users log it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about integers and types; nothing that matters here
        signature = mlflow.models.infer_signature(X, pipeline.predict(X.head()))
        mlflow.sklearn.save_model(
            pipeline,
            path,
            signature=signature,
            serialization_format="cloudpickle",
            pip_requirements=[],
        )


def measure(
    server: Server, bodies: tuple[bytes, bytes], seconds: int, folder: Path
) -> dict[str, float]:
    one, thousand = bodies
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        running(server, one, Path(place)) as live,
    ):
        cold = live.cold
        latency(live, one, seconds=0.5)  # warm
        single = latency(live, one, seconds=seconds)
        return {
            "c1 p50 ms": percentile(single, 50),
            "c1 p99 ms": percentile(single, 99),
            "c8 req/s": _throughput(live, one, 8, seconds, place),
            "c32 req/s": _throughput(live, one, 32, seconds, place),
            "1,000 rows p50 ms": percentile(latency(live, thousand, seconds=seconds / 2), 50),
            "gRPC c1 p50 ms": nan
            if server.name == BARE
            else percentile(grpc_latency(live, one, seconds=seconds / 2), 50),
            "cold s": cold,
            "RSS MB": live.memory(),
        }


def _throughput(live: Running, body: bytes, clients: int, seconds: int, place: str) -> float:
    return throughput(live, body, clients=clients, seconds=seconds, folder=Path(place))


def show(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def report(medians: dict[str, dict[str, float]], source: str) -> None:
    machine = describe_machine()
    print(f"\n{source}; {machine['processor']}, {machine['cores']} cores, one for the server")
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("server")
    for measure in MEASURES:
        table.add_column(measure, justify="right")
    for name, figures in medians.items():
        table.add_row(name, *(f"{figures[measure]:.3g}" for measure in MEASURES))
    for base in (STOCK, BATCHING, FLOOR, FASTER_FLOOR, BARE):
        for name in ("ours, pyfunc engine", "ours, onnx engine"):
            table.add_row(
                f"{name} / {base}",
                *(f"{medians[name][key] / medians[base][key]:.2f}" for key in MEASURES),
            )
    Console(width=140, highlight=False).print(table)


if __name__ == "__main__":
    main()
