"""Files in, files out: ``pyfunc predict`` beside MLflow and plain scikit-learn; Spark, too.

python benchmarks/batch.py [--rows 1000000] [--spark .venv-spark] [--output FILE]

Every way is a process of its own that reads a file, predicts and writes a file, its start included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]

import mlflow.sklearn
import numpy as np
import pandas as pd
from data import TARGET, make_synthetic
from machine import describe_machine
from mlflow.models import infer_signature
from train import NAME, make_pipeline

from pyfunc_packaging import package_model

FOLDER = Path("build/bench/batch")
SPARK_JOB = HERE.parent / "tests" / "e2e" / "spark_job.py"

READ = {"csv": "pd.read_csv({!r})", "parquet": "pd.read_parquet({!r})"}
LOAD = {"mlflow.pyfunc": "mlflow.pyfunc.load_model", "scikit-learn": "mlflow.sklearn.load_model"}
WRITE = {"csv": "to_csv({!r}, index=False)", "parquet": "to_parquet({!r})"}


#: Runs a command and says what it took. It is small itself: a process inherits the memory that the
#: one before it had at most.
LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, check=True)
seconds = time.perf_counter() - start
used = resource.getrusage(resource.RUSAGE_CHILDREN)
took = {"s": seconds, "cpu_s": used.ru_utime + used.ru_stime, "peak_mb": used.ru_maxrss / 1024}
sys.stdout.buffer.write(done.stdout + b"\\n" + json.dumps(took).encode())
"""


def run(command: list[str], *, given: str = "") -> tuple[dict[str, float], bytes]:
    """What a process takes: seconds by the clock and of processor, MB of memory; what it says."""
    done = subprocess.run(
        [sys.executable, "-Ic", LAUNCHER, *command],
        input=given.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    said, _, took = done.stdout.rpartition(b"\n")
    return json.loads(took), said


def ours(bundle: Path, rows: Path, result: Path) -> list[str]:
    program = [sys.executable, "-Im", "pyfunc_packaging", "predict", str(bundle), "--overwrite"]
    return [*program, "--input", str(rows), "--output", str(result)]


def theirs(how: str, model: Path, rows: Path, result: Path) -> list[str]:
    kind = rows.suffix[1:]
    program = (
        "import warnings; warnings.simplefilter('ignore')\n"
        "import pandas as pd, mlflow.pyfunc, mlflow.sklearn\n"
        f"rows = {READ[kind].format(str(rows))}\n"
        f"rows[{TARGET!r}] = {LOAD[how]}({str(model)!r}).predict(rows)\n"
        f"rows.{WRITE[kind].format(str(result))}\n"
    )
    return [sys.executable, "-Ic", program]


def show(what: str, rows: int, found: dict[str, float]) -> None:
    print(
        f"  {what:<34} {rows / found['s']:>10,.0f} rows/s   {found['s']:6.1f} s"
        f"   processor {found['cpu_s']:6.1f} s   peak {found['peak_mb']:6,.0f} MB",
        flush=True,
    )


def bench_files(bundle: Path, model: Path, count: int, formats: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rows in (count // 4, count):
        table = make_synthetic(rows, seed=11).drop(columns=TARGET)
        table.insert(0, "id", [f"{number:010d}" for number in range(rows)])
        files = {kind: FOLDER / f"rows-{rows}.{kind}" for kind in formats}
        for kind, file in files.items():
            if kind == "csv":
                table.to_csv(file, index=False)
            elif kind == "parquet":
                table.to_parquet(file)
            else:
                table.to_json(file, orient="records", lines=True)
        del table
        print(f"{rows:,} rows")
        for kind, file in files.items():
            result = FOLDER / f"scored.{kind}"
            size = file.stat().st_size / 2**20
            ways = {"pyfunc predict": ours(bundle, file, result)}
            if kind in READ:
                ways["mlflow.pyfunc"] = theirs("mlflow.pyfunc", bundle, file, result)
                ways["scikit-learn"] = theirs("scikit-learn", model, file, result)
            for way, command in ways.items():
                took, _ = run(command)
                found[f"{way}, {kind}, {rows} rows"] = {**took, "input_mb": size}
                show(f"{way}, {kind} of {size:,.0f} MB", rows, took)
    return found


def bench_spark(python: Path, bundle: Path, model: Path, count: int) -> dict[str, Any]:
    rows = FOLDER / "spark.parquet"
    table = make_synthetic(count, seed=12).drop(columns=TARGET)
    table.assign(id=range(count)).to_parquet(rows)
    jobs = [
        {
            "model": str(path.absolute()),
            "rows": str(rows.absolute()),
            "output": str(output),
            "result_type": "double",
        }
        for path, output in (
            (bundle, FOLDER.absolute() / "spark-warm"),  # starts Python on the workers
            (bundle, FOLDER.absolute() / "spark-bundle"),
            (model, FOLDER.absolute() / "spark-sklearn"),
            (bundle, FOLDER.absolute() / "spark-bundle"),
            (model, FOLDER.absolute() / "spark-sklearn"),
        )
    ]
    _, said = run([str(python), "-I", str(SPARK_JOB)], given=json.dumps({"jobs": jobs}))
    seconds = json.loads(said.splitlines()[-1])["seconds"]
    found = {"bundle": min(seconds[1], seconds[3]), "sklearn flavor": min(seconds[2], seconds[4])}
    print(f"Spark, two workers of one core, {count:,} rows, the better of two runs each")
    for way, took in found.items():
        print(f"  {way:<34} {count / took:>10,.0f} rows/s   {took:6.1f} s")
    one, other = (
        pd.read_parquet(FOLDER / name).sort_values("id")["prediction"].to_numpy()
        for name in ("spark-bundle", "spark-sklearn")
    )
    difference = float(np.max(np.abs(one - other) / np.abs(other)))
    print(f"  largest relative difference between the two: {difference:.1e}")
    return {"rows": count, "seconds": found, "all": seconds, "largest difference": difference}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--spark", type=Path, help="environment with PySpark; also measures that")
    parser.add_argument(
        "--formats", nargs="*", default=["csv", "jsonl", "parquet"], help="of the files to measure"
    )
    parser.add_argument("--output", type=Path, default=Path("build/bench/batch.json"))
    options = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    table = make_synthetic(seed=10)
    X, y = table.drop(columns=TARGET), table[TARGET]
    pipeline = make_pipeline().fit(X, y)
    bundle, model = FOLDER / "bundle", FOLDER / "sklearn"
    package_model(pipeline, X, y=y, path=bundle, name=NAME, overwrite=True, report=False)
    subprocess.run(["rm", "-rf", str(model)], check=True)
    mlflow.sklearn.save_model(
        pipeline,
        str(model),
        signature=infer_signature(X, pipeline.predict(X)),
        serialization_format="cloudpickle",
        # the pipeline's own transformers, for the workers
        code_paths=[str(HERE.parent / "packaging" / "pyfunc_packaging")],
    )
    found: dict[str, Any] = {"machine": describe_machine()}
    if options.formats:
        found["files"] = bench_files(bundle, model, options.rows, options.formats)
    if options.spark:
        python = options.spark / "bin" / "python"
        found["spark"] = bench_spark(python, bundle, model, options.rows)
    options.output.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


if __name__ == "__main__":
    main()
