"""Scoring alone, without a server: the compiled graph beside scikit-learn, one thread each.

python benchmarks/scoring.py [--data housing.csv] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np
from data import CATEGORICAL, NUMERIC, TARGET, load_housing
from machine import describe_machine
from sklearn.ensemble import RandomForestRegressor
from train import FEATURES, make_pipeline

from pyfunc_packaging import build_pipeline
from pyfunc_packaging.compilation import compile_model
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.session import OnnxSession
from pyfunc_packaging.trial import make_schema


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    parser.add_argument("--output", type=Path, default=Path("build/bench/scoring.json"))
    options = parser.parse_args()
    rows, source = load_housing(options.data)
    X, y = rows.drop(columns=TARGET), rows[TARGET]
    forest = build_pipeline(
        RandomForestRegressor(n_estimators=500, random_state=0),
        numeric=NUMERIC,
        categorical=CATEGORICAL,
        features=FEATURES,
    )
    found = {}
    for name, model in (("California", make_pipeline()), ("500-tree forest", forest)):
        model.fit(X, y)
        schema = make_schema(model, X, y, None)
        start = time.perf_counter()
        compilation = compile_model(model, schema, X, mode="require")
        taken = time.perf_counter() - start
        assert compilation.graph is not None
        session = OnnxSession(compilation.graph, schema.columns)
        values = from_frame(schema, X)
        one = {column: cells[:1] for column, cells in values.items()}
        found[name] = {
            "compiled and proven s": taken,
            "rows compared": compilation.facts["rows"],
            "largest relative difference": compilation.facts["max_relative"],
            "graph MB": len(compilation.graph) / 1e6,
            "one row, onnx µs": 1e6 * _median(lambda: session.run(one), 500),
            "one row, pipeline µs": 1e6 * _median(lambda: model.predict(X.head(1)), 20),
            f"{len(X):,} rows, onnx ms": 1e3 * _median(lambda: session.run(values), 5),
            f"{len(X):,} rows, pipeline ms": 1e3 * _median(lambda: model.predict(X), 5),
        }
        print(f"{name}, {source}")
        for measure, value in found[name].items():
            print(f"  {measure:<28} {value:,.4g}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": describe_machine(), "data": source, "models": found}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


def _median(function: Callable[[], object], times: int) -> float:
    function()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        taken.append(time.perf_counter() - start)
    return float(np.median(taken))


if __name__ == "__main__":
    main()
