"""Coverage-guided fuzzing of what reads requests: bodies with and without bytes, and gRPC messages.

Run ``make fuzz``, or this file with libFuzzer's options: ``-max_total_time=60``. The law: whatever
comes is read, or refused as a client's mistake. Anything else ends the run with a traceback and
leaves the input in a file.
"""

from __future__ import annotations

import json
import struct
import sys
import tempfile
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["mlserver_pyfunc"]):
    from mlserver_pyfunc import binary_tensors, bodies, decode, envelope, infer_endpoint, plain, raw

from google.protobuf.message import DecodeError
from mlserver.errors import MLServerError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter

from mlserver_pyfunc.params import read_extras
from mlserver_pyfunc.status import to_mlserver_error
from pyfunc_packaging.errors import PyFuncError
from pyfunc_packaging.schema import Column, Schema

SCHEMA = Schema(
    (
        Column("x", "double", nullable=True),
        Column("n", "long"),
        Column("t", "string"),
        Column("b", "boolean"),
        Column("d", "datetime"),
    )
)
PLAIN = plain.PlainReader(SCHEMA)
DECODER = decode.Decoder(SCHEMA, PLAIN)
LIMIT = 1 << 20


def read_body(body: bytes, headers: bodies.BodyHeaders) -> None:
    """Both ways to read a body."""
    content = bodies.parse_body(body, headers, LIMIT)
    short = envelope.read_envelope(content, PLAIN)
    if short is not None and not isinstance(short.inputs, plain.Decoded):
        DECODER.decode(short.inputs)
    payload = infer_endpoint._validate(bodies.parse_body(body, headers, LIMIT))
    infer_endpoint._read_wishes(payload)
    read_extras(payload.parameters)
    DECODER.decode(payload.inputs)


def read_message(data: bytes) -> None:
    """A gRPC request, up to what the model gets."""
    try:
        request = pb.ModelInferRequest.FromString(data)
    except DecodeError:
        return
    raw.check_request(request)
    payload = ModelInferRequestConverter.to_types(request)
    read_extras(payload.parameters)
    DECODER.decode(payload.inputs)


NAMES = [*(column.name for column in SCHEMA.inputs), "", "y"]
DATATYPES = ["FP64", "INT64", "BYTES", "BOOL", "FP32", "FP16", "BF16", "INT8", "UINT64", "", 5]
SIZES = [0, 1, 2, -1, 2**31, 2**62, 2**70, 1.0, True, None, "1"]
CELLS = [None, True, 0, 1, -1, 0.5, 2**53 + 1, 2**64, 1e308, "", "a", "\0", "2024-01-01", [1], {}]
FIELDS = ["name", "shape", "datatype", "data", "parameters"]


def make_body(data: bytes) -> tuple[bytes, bodies.BodyHeaders]:
    """A body that is JSON, and nearly a request, whatever the bytes are."""
    source = atheris.FuzzedDataProvider(data)

    def pick(choices: list[Any]) -> Any:
        return choices[source.ConsumeIntInRange(0, len(choices) - 1)]

    inputs, tails = [], []
    for name in NAMES[: source.ConsumeIntInRange(0, len(NAMES))]:
        shape = [pick(SIZES) for _ in range(source.ConsumeIntInRange(0, 2))]
        tensor = {"name": name, "datatype": pick(DATATYPES), "shape": shape}
        if source.ConsumeBool():
            tail = source.ConsumeBytes(source.ConsumeIntInRange(0, 24))
            tails.append(tail)
            tensor["parameters"] = {"binary_data_size": len(tail)}
        else:
            tensor["data"] = [pick(CELLS) for _ in range(source.ConsumeIntInRange(0, 3))]
        if source.ConsumeProbability() > 0.9:
            tensor[pick(FIELDS)] = pick([*CELLS, *SIZES])
        inputs.append(tensor)
    text = json.dumps({"inputs": inputs, "parameters": pick([None, {}, {"a": 1}, 5])}).encode()
    if not tails:
        return text, bodies.BodyHeaders("application/json")
    return text + b"".join(tails), bodies.BodyHeaders(json_length=str(len(text)))


def fuzz(data: bytes) -> None:
    """One input: its first byte says how the rest is read."""
    kind, data = data[:1], data[1:]
    try:
        if kind == b"g":
            read_message(data)
        elif kind == b"b":  # two bytes of length, JSON, bytes of tensors
            length = int.from_bytes(data[:2], "little")
            read_body(data[2:], bodies.BodyHeaders(json_length=str(length)))
        elif kind == b"r":
            read_body(*make_body(data))
        elif kind == b"z":
            read_body(data, bodies.BodyHeaders(content_encoding="gzip"))
        elif kind == b"s":
            binary_tensors.split_elements("t", data[1:], data[0] if data else 0)
        else:
            read_body(data, bodies.BodyHeaders("application/json"))
    except PyFuncError as error:
        if to_mlserver_error(error).status_code >= 500:
            raise
    except MLServerError as error:
        if error.status_code >= 500:
            raise


def make_seeds() -> list[bytes]:
    """Good requests, to be spoiled."""
    cells = [("x", "FP64", 0.5), ("n", "INT64", 7), ("t", "BYTES", "a"), ("b", "BOOL", True)]
    cells.append(("d", "BYTES", "2024-02-29T12:00:00Z"))
    inputs = [
        {"name": name, "shape": [1], "datatype": datatype, "data": [cell]}
        for name, datatype, cell in cells
    ]
    seeds = [b"r" + bytes(range(256)), b"r" + bytes(300), b"r" + b"\x80\x01" * 200]
    seeds += [b"j" + json.dumps({"inputs": inputs, "id": "i"}).encode()]
    tails = [struct.pack("<d", 0.5), struct.pack("<q", 7), b"\1\0\0\0a", b"\1"]
    tails.append(b"\x14\0\0\0" + b"2024-02-29T12:00:00Z")
    for tensor, tail in zip(inputs, tails, strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(tail)}
    text = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    seeds.append(b"b" + len(text).to_bytes(2, "little") + text + b"".join(tails))
    message = pb.ModelInferRequest(
        model_name="m",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(name=name, shape=[1], datatype=datatype)
            for name, datatype, _ in cells
        ],
        raw_input_contents=tails,
    )
    seeds.append(b"g" + message.SerializeToString())
    del message.raw_input_contents[:]
    for tensor, (name, _, cell) in zip(message.inputs, cells, strict=True):
        contents = tensor.contents
        if name == "x":
            contents.fp64_contents.append(cell)
        elif name == "n":
            contents.int64_contents.append(cell)
        elif name == "b":
            contents.bool_contents.append(cell)
        else:
            contents.bytes_contents.append(cell.encode())
    seeds.append(b"g" + message.SerializeToString())
    return seeds


def main() -> None:
    """Fuzz until the time is over."""
    for seed in make_seeds():
        fuzz(seed)
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(make_seeds()):
            Path(folder, str(number)).write_bytes(seed)
        options = ["-timeout=10", "-rss_limit_mb=2048", "-max_len=4096", "-print_final_stats=1"]
        atheris.Setup([*sys.argv, *options, folder], fuzz)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
