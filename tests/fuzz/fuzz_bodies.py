"""Coverage-guided fuzzing of what reads requests: bodies with and without bytes, and gRPC messages.

Run ``make fuzz``, or this file with libFuzzer's options: ``-max_total_time=60``. The law: whatever
comes is read, or refused as a client's mistake; ways that are quicker read what the others read.
Anything else ends the run with a traceback and leaves the input in a file.
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
    from mlserver_pyfunc import (
        binary_tensors,
        bodies,
        decode,
        envelope,
        exact_json,
        grpc_lane,
        infer_endpoint,
        json_pieces,
        packed_texts,
        plain,
        raw,
    )

import orjson
from google.protobuf.message import DecodeError
from mlserver.errors import MLServerError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.converters import ModelInferRequestConverter

from mlserver_pyfunc.params import read_extras
from mlserver_pyfunc.status import to_mlserver_error
from pyfunc_packaging.errors import InvalidRequest, PyFuncError
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
    short = envelope.read_request(body, headers, LIMIT, PLAIN)
    if short is not None and not isinstance(short.inputs, plain.Decoded):
        DECODER.decode(short.inputs)
    payload = infer_endpoint._validate(bodies.parse_body(body, headers, LIMIT))
    infer_endpoint._read_wishes(payload)
    read_extras(payload.parameters)
    DECODER.decode(payload.inputs)


class Model:
    """As much of a model as the lane asks for while it reads; a mock, as none predicts here."""

    plain = PLAIN
    prompt_rows = 100


def read_message(request: pb.ModelInferRequest) -> None:
    """A gRPC request, up to what the model gets; what the lane takes, the other way takes too."""
    found = read_in_lane(request)
    raw.check_request(request)
    payload = ModelInferRequestConverter.to_types(request)
    read_extras(payload.parameters)
    decoded = DECODER.decode(payload.inputs)
    if found is not None and not same(found, decoded):
        raise AssertionError(f"the lane reads {found}, the ordinary way {decoded}")


def read_in_lane(request: pb.ModelInferRequest) -> plain.Decoded | None:
    """What the lane reads of a request; None where the ordinary way has to explain a mistake."""
    if request.parameters or not request.inputs:
        return None
    try:
        if not request.raw_input_contents:
            return grpc_lane._read_plain(request, Model)
        inputs = grpc_lane._read_raw(request)
        return None if inputs is None else DECODER.decode(inputs)
    except InvalidRequest:
        return None


def same(one: plain.Decoded, other: plain.Decoded) -> bool:
    """Whether two readings of a request are alike; NaN is NaN."""
    return repr(one) == repr(other)


def read_in_pieces(data: bytes) -> None:
    """JSON in pieces of a few bytes says what it says as a whole."""
    json_pieces._PIECE = 1 + (data[0] if data else 0) % 16
    found: list[Any] = []
    for parse in (exact_json.parse_exactly, json_pieces.parse_large):
        try:
            found.append(repr(parse(data[1:])))
        except orjson.JSONDecodeError:
            found.append(orjson.JSONDecodeError)
    if found[0] != found[1]:
        raise AssertionError(f"as a whole {found[0]}, in pieces {found[1]}")


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


def read_texts(data: bytes) -> None:
    """Texts that repeat are read at once, and are those that are read one by one."""
    content, count = data[1:] * 150, 150 * (data[0] if data else 0)
    found = packed_texts.read_repeated(content, count)
    if found is not None:
        expected = [text.decode() for text in binary_tensors.split_elements("t", content, count)]
        if found.tolist() != expected:
            raise AssertionError(f"at once {found[:9]}, one by one {expected[:9]}")


CONTENTS = ["fp64_contents", "int64_contents", "bytes_contents", "bool_contents", "fp32_contents"]


def make_message(data: bytes) -> pb.ModelInferRequest:
    """A gRPC request that is nearly right, whatever the bytes are."""
    source = atheris.FuzzedDataProvider(data)
    request = pb.ModelInferRequest(model_name="m", id="i")
    for name in NAMES[: source.ConsumeIntInRange(0, len(NAMES))]:
        tensor = request.inputs.add(name=name)
        tensor.datatype = str(DATATYPES[source.ConsumeIntInRange(0, len(DATATYPES) - 1)])
        for _ in range(source.ConsumeIntInRange(0, 3)):
            tensor.shape.append([0, 1, 1, 2, -1, 2**62][source.ConsumeIntInRange(0, 5)])
        if source.ConsumeBool():
            tail = source.ConsumeBytes(source.ConsumeIntInRange(0, 24))
            request.raw_input_contents.append(tail)
            continue
        kind = CONTENTS[source.ConsumeIntInRange(0, len(CONTENTS) - 1)]
        cells = getattr(tensor.contents, kind)
        for _ in range(source.ConsumeIntInRange(0, 2)):
            if kind == "bytes_contents":
                cells.append(source.ConsumeBytes(source.ConsumeIntInRange(0, 6)))
            elif kind.startswith("fp"):
                cells.append(source.ConsumeFloat())
            else:
                cells.append(source.ConsumeIntInRange(0, 1))
    return request


def fuzz(data: bytes) -> None:
    """One input: its first byte says how the rest is read."""
    kind, data = data[:1], data[1:]
    try:
        if kind == b"g":
            read_message(pb.ModelInferRequest.FromString(data))
        elif kind == b"m":
            read_message(make_message(data))
        elif kind == b"t":
            read_texts(data)
        elif kind == b"p":
            read_in_pieces(data)
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
    except DecodeError:
        return
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
    seeds += [b"m" + bytes(range(256)), b"m" + bytes(300), b"m" + b"\x80\x01" * 200]
    pieces = b'{"inputs":[{"data":[1,-2.5,null,true]},{"data":["a","]"]}],"data":[[1],[2]]}'
    seeds += [b"p" + bytes([size]) + pieces for size in (0, 3, 15)]
    seeds += [b"t\2\1\0\0\0a\2\0\0\0\xc3\xa9", b"t\1\4\0\0\0Rome"]
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
