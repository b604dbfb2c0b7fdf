"""The binary tensor extension over REST, on both lanes, by hand and by tritonclient."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as http_client

NAME = "CaliforniaHousingRegressor"
HEADER = "Inference-Header-Content-Length"


@pytest.fixture(scope="module")
def good() -> Any:
    example = Path(__file__).parents[2] / "models" / "california_housing" / "request.json"
    return json.loads(example.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def expected(california_server: Any, good: Any) -> Any:
    return california_server.infer(NAME, good).json["outputs"][0]["data"]


def to_array(tensor: Any) -> Any:
    return np.array(tensor["data"], dtype=object if tensor["datatype"] == "BYTES" else float)


def make_inputs(body: Any, *, binary: bool) -> list[Any]:
    inputs = []
    for tensor in body["inputs"]:
        made = http_client.InferInput(tensor["name"], tensor["shape"], tensor["datatype"])
        made.set_data_from_numpy(to_array(tensor), binary_data=binary)
        inputs.append(made)
    return inputs


@pytest.fixture(params=["fast", "ordinary"])
def client(request: Any, california_server: Any) -> Any:
    server = getattr(california_server, request.param)
    with http_client.InferenceServerClient(f"127.0.0.1:{server.ports['http']}") as client:
        yield client


def test_tritonclient_with_default_settings(client: Any, good: Any, expected: Any) -> None:
    result = client.infer(NAME, make_inputs(good, binary=True))
    assert result.as_numpy("median_house_value").tolist() == expected
    (output,) = result.get_response()["outputs"]
    assert output["parameters"] == {"binary_data_size": 16}


@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize("outputs", [True, False])
@pytest.mark.parametrize("compression", [None, "gzip"])
def test_tritonclient(
    client: Any, good: Any, expected: Any, inputs: bool, outputs: bool, compression: Any
) -> None:
    result = client.infer(
        NAME,
        make_inputs(good, binary=inputs),
        outputs=[http_client.InferRequestedOutput("median_house_value", binary_data=outputs)],
        request_id="7",
        request_compression_algorithm=compression,
        response_compression_algorithm=compression,
    )
    assert result.as_numpy("median_house_value").tolist() == expected
    assert result.get_response()["id"] == "7"


def test_many_rows(client: Any, good: Any, expected: Any) -> None:
    body = {
        "inputs": [
            {**tensor, "shape": [10_000, 1], "data": [[cell] for cell in tensor["data"] * 5000]}
            for tensor in good["inputs"]
        ]
    }
    result = client.infer(
        NAME, make_inputs(body, binary=True), response_compression_algorithm="gzip"
    )
    assert result.as_numpy("median_house_value").tolist() == expected * 5000


def test_nan_is_a_missing_value(client: Any, california_server: Any, good: Any) -> None:
    inputs = make_inputs(good, binary=True)
    for made in inputs:
        if made.name() == "total_bedrooms":
            made.set_data_from_numpy(np.array([np.nan, 1106.0]))
    result = client.infer(NAME, inputs)
    missing = json.loads(json.dumps(good))
    (tensor,) = (each for each in missing["inputs"] if each["name"] == "total_bedrooms")
    tensor["data"][0] = None
    served = california_server.infer(NAME, missing).json["outputs"][0]["data"]
    assert result.as_numpy("median_house_value").tolist() == served


def binary_body(body: Any) -> tuple[bytes, dict[str, str]]:
    """The request with one column as bytes, and its headers."""
    first, *others = body["inputs"]
    tail = to_array(first).tobytes()
    described = {key: value for key, value in first.items() if key != "data"}
    described["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps({"inputs": [described, *others]}).encode()
    return head + tail, {"Content-Type": "application/octet-stream", HEADER: str(len(head))}


def test_by_hand(california_server: Any, good: Any, expected: Any) -> None:
    body, headers = binary_body(good)
    answer = california_server.infer(NAME, body, headers=headers)
    assert answer.json["outputs"][0]["data"] == expected


@pytest.mark.parametrize(
    ("cut", "length", "message"),
    [
        (-1, 0, "only 15 bytes are left behind the JSON"),
        (-16, 0, "only 0 bytes are left behind the JSON"),
        (None, 1, "the body is not JSON"),
        (None, 10_000, "and the body has"),
        (None, -1, "the body is not JSON"),
    ],
)
def test_truncated(california_server: Any, good: Any, cut: Any, length: int, message: str) -> None:
    body, headers = binary_body(good)
    headers[HEADER] = str(int(headers[HEADER]) + length)
    answer = california_server.infer(NAME, body[:cut], headers=headers)
    assert answer.status == 400
    assert message in answer.error


def test_invalid_utf8(california_server: Any, good: Any) -> None:
    tail = b"\x02\0\0\0\xff\xfe\0\0\0\0"
    last = {"name": "ocean_proximity", "shape": [2], "datatype": "BYTES"}
    last["parameters"] = {"binary_data_size": len(tail)}
    head = json.dumps({"inputs": [*good["inputs"][:-1], last]}).encode()
    answer = california_server.infer(NAME, head + tail, headers={HEADER: str(len(head))})
    assert answer.status == 400
    assert "input 'ocean_proximity', value 0: expected text in UTF-8" in answer.error


def test_a_wish_that_is_no_boolean(california_server: Any, good: Any) -> None:
    answer = california_server.infer(NAME, {**good, "parameters": {"binary_data_output": "yes"}})
    assert answer.status == 400
    assert "parameter 'binary_data_output': expected true or false" in answer.error


def test_a_body_beyond_the_limit(start_twins: Any, california: Any, good: Any) -> None:
    limited = start_twins(california[2].path, env={"PYFUNC_MAX_BODY_BYTES": "3000"})
    assert limited.infer(NAME, good).status == 200
    answer = limited.infer(NAME, b" " * 3000 + json.dumps(good).encode())
    assert answer.status == 413
    assert "larger than 3000 bytes" in answer.error
    assert limited.infer(NAME, good).status == 200
