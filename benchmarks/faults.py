"""The same faults for our server and for stock mlserver-mlflow, on the same model.

python benchmarks/faults.py --stock .venv-stock [--data housing.csv] [--requests 20000]
    [--seconds 10] [--endings 5] [--output FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import fault_load
from data import CATEGORICAL, NUMERIC, TARGET, load_housing
from fault_load import Body, Tally
from machine import describe_machine
from plain import make_plain_pipeline
from rich.console import Console
from rich.table import Table
from servers import CLIENT_CORE, Running, Server, make_servers, running, starting
from serving import STOCK, body, save_plain

from pyfunc_packaging import package_model

OURS = "ours, onnx engine"
#: Seconds in which a server whose model cannot be loaded may end by itself.
LOAD_PATIENCE = 40.0

Found = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--stock", type=Path, required=True, help="environment with mlserver-mlflow"
    )
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    parser.add_argument("--requests", type=int, default=20_000, help="of the mixture")
    parser.add_argument("--seconds", type=int, default=10, help="of each load")
    parser.add_argument("--endings", type=int, default=5, help="SIGTERMs under load")
    parser.add_argument("--output", type=Path, default=Path("build/bench/faults.json"))
    options = parser.parse_args()
    os.sched_setaffinity(0, {int(CLIENT_CORE)} if os.cpu_count() > 1 else {0})

    rows, source = load_housing(options.data)
    X = rows.drop(columns=TARGET)
    pipeline = make_plain_pipeline(NUMERIC, CATEGORICAL).fit(X, rows[TARGET])
    with tempfile.TemporaryDirectory(prefix="pyfunc-faults-") as name:
        folder = Path(name)
        bundle = package_model(
            pipeline, X, path=folder / "bundle", name="california", compile="require"
        )
        save_plain(pipeline, X, folder / "plain")
        one = X.dropna().head(1)
        good = fault_load.expect(json.loads(body(bundle, one)), pipeline.predict(one).tolist())
        found: dict[str, dict[str, Found]] = {}
        for kind in (OURS, STOCK):
            trial = Trial(kind, folder, options.stock.absolute(), good)
            found[kind] = trial.run(options.requests, options.seconds, options.endings)
            print(f"{kind}: done", file=sys.stderr)
    report(found)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    done = {"requests": options.requests, "seconds": options.seconds, "endings": options.endings}
    result = {"machine": describe_machine(), "data": source, "done": done, "found": found}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


class Trial:
    """Every fault for one server."""

    def __init__(self, kind: str, folder: Path, stock: Path, good: Body) -> None:
        self._kind = kind
        self._folder = folder
        self._python = stock / "bin" / "python"
        self._good = good

    def run(self, requests: int, seconds: int, endings: int) -> dict[str, Found]:
        found: dict[str, Found] = {}
        bad = mistakes(json.loads(self._good[0]))
        with self._live() as live:
            found["each mistake of a client"] = {
                name: describe(asyncio.run(self._mixed(live, [wrong], 20)))
                for name, wrong in bad.items()
            }
        with self._live() as live:
            # half of them good: what a server answers after a mistake counts as well
            bodies = [self._good] * len(bad) + list(bad.values())
            asyncio.run(self._mixed(live, bodies, max(requests // 10, 100)))
            before = live.memory()
            tally = asyncio.run(self._mixed(live, bodies, requests))
            growth = 100 * (live.memory() / before - 1)
            found["good and bad requests"] = {**describe(tally), "RSS growth %": growth}
        with self._live() as live:
            load = fault_load.crowd(
                live.port, live.path, self._good, clients=200, broken=60, seconds=seconds
            )
            found["200 clients, 60 of them slow or broken"] = describe(asyncio.run(load))
        with self._live() as live:
            probing = fault_load.probes(
                live.port, live.path, self._good, clients=16, seconds=seconds
            )
            probed, tally = asyncio.run(probing)
            found["probes during load"] = {**describe(probed), "load": describe(tally)}
        found["SIGTERM under load"] = self._end(endings)
        found["the model's folder is gone after loading"] = self._lose_folder()
        found["the model's folder is gone before loading"] = self._load_nothing()
        return found

    def _server(self, model: Path | None = None) -> Server:
        plain, bundle = self._folder / "plain", self._folder / "bundle"
        if model is not None:
            plain = bundle = model
        servers = make_servers(self._python, plain, bundle)
        server = next(server for server in servers if server.name == self._kind)
        # the pipeline holds a function of its author, so its bundle holds a pickle
        return replace(server, env={**server.env, "PYFUNC_TRUST": "code"})

    @contextmanager
    def _live(self, model: Path | None = None) -> Iterator[Running]:
        with (
            tempfile.TemporaryDirectory(dir=self._folder) as place,
            running(self._server(model), self._good[0], Path(place)) as live,
        ):
            yield live

    async def _mixed(self, live: Running, bodies: list[Body], requests: int) -> Tally:
        return await fault_load.mixed(live.port, live.path, bodies, requests=requests)

    def _end(self, times: int) -> Found:
        total, statuses = Tally(), []
        for _ in range(times):
            with self._live() as live:
                ending = fault_load.ending(
                    live.port, live.path, self._good, clients=16, end=live.process.terminate
                )
                tally = asyncio.run(ending)
                statuses.append(live.process.wait(timeout=60))
            total.statuses.update(tally.statuses)
            total.wrong += tally.wrong
            total.wrong_200 += tally.wrong_200
            total.lost += tally.lost
            total.closed += tally.closed
            total.milliseconds += tally.milliseconds
        return {**describe(total), "exit statuses": statuses}

    def _lose_folder(self) -> Found:
        model = self._folder / "lost"
        shutil.copytree(self._folder / ("bundle" if self._kind == OURS else "plain"), model)
        with self._live(model) as live:
            shutil.rmtree(model)
            return describe(asyncio.run(self._mixed(live, [self._good], 50)))

    def _load_nothing(self) -> Found:
        """What the server says of its readiness, and how it ends."""
        ready: set[int] = set()
        with tempfile.TemporaryDirectory(dir=self._folder) as place:
            nothing = self._server(self._folder / "nothing")
            start = time.monotonic()
            with starting(nothing, Path(place)) as (process, ports):
                while process.poll() is None and time.monotonic() < start + LOAD_PATIENCE:
                    status = probe(ports[0])
                    ready |= {status} if status else set()
                    time.sleep(0.1)
                seconds, status = time.monotonic() - start, process.poll()
            log = (Path(place) / "log").read_text(encoding="utf-8", errors="replace")
        return {
            "exit status": status,
            "seconds": seconds,
            "statuses of /v2/health/ready": sorted(ready),
            "tracebacks in the log": log.count("Traceback"),
            "lines in the log": len(log.splitlines()),
        }


def mistakes(good: Mapping[str, Any]) -> dict[str, Body]:
    """Requests with one mistake each, which only their client can mend."""

    def change(position: int = 0, **fields: Any) -> bytes:
        inputs = list(good["inputs"])
        inputs[position] = {**inputs[position], **fields}
        return json.dumps({"inputs": inputs}).encode()

    text = next(
        position for position, tensor in enumerate(good["inputs"]) if tensor["datatype"] == "BYTES"
    )
    wires = {
        "no body": b"",
        "half of the JSON": json.dumps(good).encode()[:-20],
        "no inputs": b'{"inputs": []}',
        "a column is missing": json.dumps({"inputs": good["inputs"][1:]}).encode(),
        "a column has another name": change(name="longitud"),
        "a column comes twice": json.dumps(
            {"inputs": [*good["inputs"], good["inputs"][0]]}
        ).encode(),
        "text for a number": change(data=["abc"], datatype="BYTES"),
        "a number for text": change(text, data=[5], datatype="INT64"),
        "shape 2, one value": change(shape=[2]),
        "shape -1": change(shape=[-1]),
        "unknown datatype": change(datatype="FP63"),
        "no UTF-8": b"\xff" * 100,
    }
    return {name: fault_load.refuse(wire) for name, wire in wires.items()}


def probe(port: int) -> int | None:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/v2/health/ready", timeout=5
        ) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:
        return None


def describe(tally: Tally) -> Found:
    return {
        "statuses": {str(status): number for status, number in sorted(tally.statuses.items())},
        "wrong": tally.wrong,
        "wrong with 200": tally.wrong_200,
        "5xx": tally.faults,
        "lost": tally.lost,
        "closed": tally.closed,
        "refused": tally.refused,
        "p99 ms": tally.p99 if tally.milliseconds else None,
        "max ms": max(tally.milliseconds, default=None),
    }


def report(found: dict[str, dict[str, Found]]) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    table.add_column("fault")
    for kind in found:
        table.add_column(kind)
    for fault, cells in next(iter(found.values())).items():
        if fault == "each mistake of a client":
            for mistake in cells:
                statuses = [found[kind][fault][mistake]["statuses"] for kind in found]
                table.add_row(mistake, *(" ".join(each) or "no answer" for each in statuses))
        else:
            table.add_row(fault, *(show(found[kind][fault]) for kind in found))
    Console(width=160, highlight=False).print(table)


def show(cells: Found) -> str:
    kept = {
        name: value
        for name, value in cells.items()
        if value not in (0, None, {}) or name == "exit status"
    }
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in kept.items()
        if name != "load"
    )


if __name__ == "__main__":
    main()
