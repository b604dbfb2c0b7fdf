"""Decoding and encoding alone: many rows as JSON and as binary tensors, without engine or server.

python benchmarks/codec.py [--data housing.csv] [--rows 100000] [--output FILE]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "models" / "california_housing")]

import numpy as np
from data import TARGET, load_housing
from machine import describe_machine
from train import make_pipeline

from mlserver_pyfunc.binary_tensors import HEADER, SIZE, to_bytes
from mlserver_pyfunc.bodies import parse_body, read_headers
from mlserver_pyfunc.decode import Decoder
from mlserver_pyfunc.encode import Encoder
from mlserver_pyfunc.envelope import read_envelope
from mlserver_pyfunc.plain import Decoded, PlainReader
from mlserver_pyfunc.responses import make_answer
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import make_request
from pyfunc_packaging.trial import make_schema

Header = tuple[bytes, bytes]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--output", type=Path, default=Path("build/bench/codec.json"))
    options = parser.parse_args()
    rows, source = load_housing(options.data)
    X, y = rows.drop(columns=TARGET), rows[TARGET]
    schema = make_schema(make_pipeline().fit(X, y), X, y, None)
    many = X.dropna().sample(options.rows, replace=True, random_state=0)
    request = make_request(schema.columns, from_frame(schema, many))
    predictions = {schema.outputs[0].name: y.sample(options.rows, replace=True).to_numpy(float)}
    plain = PlainReader(schema)
    decoder, encoder = Decoder(schema, plain), Encoder(schema.outputs)

    def answer(body: bytes, headers: Sequence[Header]) -> None:
        """Everything between the body of a request and that of its answer, but predicting."""
        content = parse_body(body, read_headers(headers), 10**9)
        envelope = read_envelope(content, plain)
        assert envelope is not None
        inputs = envelope.inputs
        decoded = inputs if isinstance(inputs, Decoded) else decoder.decode(inputs)
        outputs = encoder.encode(predictions, rows=decoded.rows)
        make_answer({"model_name": "california"}, outputs, envelope.wishes, compress=None)

    as_json = json.dumps(request).encode(), [(b"content-type", b"application/json")]
    found = {"JSON ms": _median(answer, *as_json), "binary ms": _median(answer, *_binary(request))}
    found["JSON / binary"] = found["JSON ms"] / found["binary ms"]
    print(f"{options.rows:,} rows, {source}")
    for measure, value in found.items():
        print(f"  {measure:<14} {value:,.4g}")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": describe_machine(), "data": source, "rows": options.rows, **found}
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"written to {options.output}")


def _binary(request: Any) -> tuple[bytes, list[Header]]:
    """The same request as tritonclient sends it."""
    inputs, tails = [], []
    for tensor in request["inputs"]:
        tails.append(to_bytes(tensor["datatype"], tensor["data"]))
        fields = {name: tensor[name] for name in ("name", "shape", "datatype")}
        inputs.append({**fields, "parameters": {SIZE: len(tails[-1])}})
    parameters = {"binary_data_output": True}
    head = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    return b"".join([head, *tails]), [(HEADER.encode(), str(len(head)).encode())]


def _median(function: Any, *arguments: Any) -> float:
    function(*arguments)
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        function(*arguments)
        taken.append(1000 * (time.perf_counter() - start))
    return float(np.median(taken))


if __name__ == "__main__":
    main()
