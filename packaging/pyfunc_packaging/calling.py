"""How to ask a served model for predictions: programs that work as they stand, for this model."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

#: Where ``pyfunc serve`` listens unless it is told otherwise.
REST = "127.0.0.1:8080"
GRPC = "127.0.0.1:8081"

_REQUESTS = """\
import requests

request = {request}
answer = requests.post({url!r}, json=request, timeout=10)
answer.raise_for_status()
for output in answer.json()["outputs"]:
    print(output["name"], output["data"])
"""

_TRITON = """\
import numpy as np
import tritonclient.{protocol} as triton
from tritonclient.utils import triton_to_np_dtype

row = {row}
inputs = []
for name, datatype, values in row:
    tensor = triton.InferInput(name, [len(values)], datatype)
    tensor.set_data_from_numpy(np.array(values, dtype=triton_to_np_dtype(datatype)))
    inputs.append(tensor)
with triton.InferenceServerClient({address!r}) as client:
    answer = client.infer({model!r}, inputs)
    for output in {outputs}:
        print(output, answer.as_numpy(output))
"""


@dataclass(frozen=True)
class Call:
    """A way to call a model.

    Parameters
    ----------
    key : str
        ``"curl"``, ``"requests"``, ``"http"`` or ``"grpc"``.
    title : str
        For people.
    code : str
        A shell command or a Python program.
    """

    key: str
    title: str
    code: str


def one_row(request: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a V2 request that has the fewest gaps, as a request of its own.

    Examples
    --------
    >>> x = {"name": "x", "shape": [2], "datatype": "FP64", "data": [None, 1.5]}
    >>> one_row({"inputs": [x]})["inputs"]
    [{'name': 'x', 'shape': [1], 'datatype': 'FP64', 'data': [1.5]}]
    """
    inputs = request["inputs"]
    gaps = [
        sum(cell is None for cell in row)
        for row in zip(*(tensor["data"] for tensor in inputs), strict=True)
    ]
    position = gaps.index(min(gaps))
    return {
        "inputs": [
            {**tensor, "shape": [1], "data": [tensor["data"][position]]} for tensor in inputs
        ]
    }


def make_curl(name: str, request: Mapping[str, Any]) -> str:
    r"""The command that sends a request, quoted for a shell.

    Examples
    --------
    >>> print(make_curl("price", {"inputs": []}))
    curl -H 'Content-Type: application/json' http://127.0.0.1:8080/v2/models/price/infer \
        -d '{"inputs": []}'
    """
    body = json.dumps(request, ensure_ascii=False)
    return (
        f"curl -H 'Content-Type: application/json' {shlex.quote(_url(name))} \\\n"
        f"    -d {shlex.quote(body)}"
    )


def _url(name: str) -> str:
    return f"http://{REST}/v2/models/{quote(name, safe='')}/infer"


def make_calls(name: str, request: Mapping[str, Any], response: Mapping[str, Any]) -> list[Call]:
    """Every way to call a model with one row of its golden request.

    Parameters
    ----------
    name : str
        Name of the served model.
    request, response : mapping
        The golden rows.

    Returns
    -------
    list of Call
        Without those that send tensors as bytes where the row has a gap that no bytes can say.

    Examples
    --------
    >>> x = {"name": "x", "shape": [1], "datatype": "FP64", "data": [1.5]}
    >>> [call.key for call in make_calls("price", {"inputs": [x]}, {"outputs": []})]
    ['curl', 'requests', 'http', 'grpc']
    """
    row = one_row(request)
    program = _REQUESTS.format(request=_literal(row), url=_url(name))
    calls = [
        Call("curl", "curl", make_curl(name, row)),
        Call("requests", "Python, requests", program),
    ]
    gaps = {tensor["datatype"] for tensor in row["inputs"] if None in tensor["data"]}
    if gaps <= {"FP16", "FP32", "FP64"}:  # there NaN stands for a missing value
        cells = [(each["name"], each["datatype"], each["data"]) for each in row["inputs"]]
        outputs = [output["name"] for output in response["outputs"]]
        for protocol, title, address in (("http", "REST", REST), ("grpc", "gRPC", GRPC)):
            code = _TRITON.format(
                protocol=protocol, row=_literal(cells), address=address, model=name, outputs=outputs
            )
            calls.append(Call(protocol, f"Python, tritonclient over {title}", code))
    return calls


def _literal(value: Any) -> str:
    return pprint.pformat(value, width=96, sort_dicts=False, compact=False)
