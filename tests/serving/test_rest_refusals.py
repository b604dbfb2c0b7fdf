"""Bad requests over REST: the right status, a reason that names the input, and a healthy server."""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model

NAME = "CaliforniaHousingRegressor"
EXAMPLE = Path(__file__).parents[2] / "models" / "california_housing"
#: What must never come back: a value that a request held.
MARKER = "s3cr3t-v4lue"

Change = Callable[[Any], Any]


def alter(name: str, /, **fields: Any) -> Change:
    """Replace fields of one input; ``...`` takes a field away."""

    def change(body: Any) -> Any:
        (tensor,) = (tensor for tensor in body["inputs"] if tensor["name"] == name)
        tensor.update(fields)
        for field, value in fields.items():
            if value is ...:
                del tensor[field]
        return body

    return change


def add(*tensors: Any) -> Change:
    return lambda body: {**body, "inputs": [*body["inputs"], *tensors]}


def replace(**fields: Any) -> Change:
    """Replace fields of the whole request."""
    return lambda body: {**body, **fields}


def tensor(name: str, /, **fields: Any) -> dict[str, Any]:
    return {"name": name, "shape": [2], "datatype": "FP64", "data": [1.0, 2.0], **fields}


def nested(depth: int) -> Change:
    """Lists in lists as the data of one input; too deep for ``json.dumps`` of some Pythons."""

    def change(body: Any) -> bytes:
        text = json.dumps(alter("population", data="HERE")(body))
        return text.replace('"HERE"', "[" * depth + "1" + "]" * depth).encode()

    return change


def assert_refused(answer: Any, words: str | list[str], status: int = 400) -> None:
    assert answer.status == status, answer.text
    assert set(answer.json) == {"error"}
    for word in [words] if isinstance(words, str) else words:
        assert word in answer.error
    assert len(answer.error) < 1000


@pytest.fixture(scope="module")
def good() -> Any:
    """The example's request, which no test changes."""
    return json.loads((EXAMPLE / "request.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def outputs_before(california_server: Any, good: Any) -> Any:
    return california_server.infer(NAME, good).json["outputs"]


@pytest.fixture
def still_answers(california_server: Any, good: Any, outputs_before: Any) -> Any:
    """After the test, the server gives the good request the answer it gave before."""
    yield
    assert california_server.infer(NAME, good).json["outputs"] == outputs_before


NAMES = {
    "missing column": (lambda body: {"inputs": body["inputs"][1:]}, ["missing: 'longitude'"]),
    "unknown column": (add(tensor("colour")), ["unknown: 'colour'", "'longitude'"]),
    "a thousand unknown columns": (
        add(*(tensor(f"unknown_{position}") for position in range(1000))),
        ["unknown: 'unknown_0'", "and 995 more"],
    ),
    "name of 100,000 letters": (alter("population", name="x" * 100_000), "missing: 'population'"),
    "repeated column": (add(tensor("longitude")), "input 'longitude': sent more than once"),
    "no inputs": (replace(inputs=[]), ["missing: 'longitude'", "and 4 more"]),
    "unknown output": (
        replace(outputs=[{"name": "price"}]),
        ["output 'price'", "'median_house_value'"],
    ),
    "repeated output": (
        replace(outputs=[{"name": "median_house_value"}] * 2),
        "outputs: expected each name once",
    ),
}

SHAPES = {
    "columns of different lengths": (
        alter("population", shape=[3], data=[1.0, 2.0, 3.0]),
        ["input 'population'", "expected 2 rows", "got 3"],
    ),
    "more data than shape": (alter("population", data=[1, 2, 3]), "means 2 values, data has 3"),
    "less data than shape": (alter("population", data=[1]), "means 2 values, data has 1"),
    "negative": (alter("population", shape=[-2]), ["non-negative", "got -2"]),
    "[1, n]": (alter("population", shape=[1, 2]), ["expected shape [n] or [n, 1]", "[1, 2]"]),
    "[]": (alter("population", shape=[]), ["expected shape [n] or [n, 1]", "got []"]),
    "[n, 1, 1]": (alter("population", shape=[2, 1, 1]), "expected shape [n] or [n, 1]"),
    "2**62": (alter("population", shape=[2**62]), ["expected 2 rows", str(2**62)]),
    "2**70": (alter("population", shape=[2**70]), "input 'population': expected 2 rows"),
    "fraction": (alter("population", shape=[2.5]), "input 'population', shape"),
    "text": (alter("population", shape="2"), "input 'population', shape"),
    "nested otherwise": (
        alter("population", data=[[1], [2, 3]]),
        "nested otherwise than shape [2]",
    ),
    "nested 900 deep": (nested(900), "input 'population'"),
}

VALUES = {
    "text in FP64": (alter("population", data=["1", "2"]), "expected a number for FP64, got text"),
    "boolean in FP64": (alter("population", data=[1, True]), "value 1: expected a number"),
    "list as a value": (alter("population", data=[1, [2]]), "value 1: expected a number"),
    "object as a value": (alter("population", data=[{"a": 1}, 2]), "got an object"),
    "integer beyond 2**53": (
        alter("population", data=[1, 2**53 + 1]),
        "value 1: an integer beyond",
    ),
    "INT32 overflow": (alter("population", datatype="INT32", data=[1, 2**40]), "outside INT32"),
    "fraction in INT64": (
        alter("population", datatype="INT64", data=[1, 2.5]),
        "expected an integer for INT64",
    ),
    "FP32 overflow": (alter("population", datatype="FP32", data=[1e300, 1]), "too large for FP32"),
    "BOOL for a number": (alter("population", datatype="BOOL", data=[1, 0]), "expected true"),
    "BYTES for a number": (alter("population", datatype="BYTES"), "expected datatype FP64"),
    "number for BYTES": (
        alter("ocean_proximity", datatype="FP64", data=[1, 2]),
        "input 'ocean_proximity': expected datatype BYTES, got 'FP64'",
    ),
    "number in BYTES": (alter("ocean_proximity", data=["INLAND", 5]), "value 1: expected text"),
    "bad base64": (
        alter("ocean_proximity", parameters={"content_type": "base64"}),
        "input 'ocean_proximity', value 0: expected base64",
    ),
    "unknown datatype": (
        alter("population", datatype="DOUBLE"),
        ["input 'population', datatype", "'FP64'"],
    ),
    "lower-case datatype": (alter("population", datatype="fp64"), "'FP64'"),
    "data null": (alter("population", data=None), "expected data to be a list"),
    "data text": (alter("population", data="12"), "expected data to be a list"),
    "data object": (alter("population", data={"0": 1}), "expected data to be a list"),
    "NaN literal": (alter("population", data=[float("nan"), 1]), "not JSON"),
    "Infinity literal": (alter("population", data=[float("inf"), 1]), "not JSON"),
}

FORMS = {
    "list": (lambda _: [], "expected a JSON object with inputs"),
    "number": (lambda _: 1, "expected a JSON object with inputs"),
    "text": (lambda _: "x", "expected a JSON object with inputs"),
    "null": (lambda _: b"null", "expected a JSON object with inputs"),
    "empty object": (lambda _: {}, "inputs: Field required"),
    "inputs an object": (lambda _: {"inputs": {}}, "inputs: Input should be a valid list"),
    "inputs null": (lambda _: {"inputs": None}, "inputs: Input should be a valid list"),
    "input a number": (lambda _: {"inputs": [1]}, "inputs, 0"),
    "input empty": (lambda _: {"inputs": [{}]}, "inputs, 0"),
    "name a number": (alter("population", name=5), "inputs, 5, name: Input should be"),
    "name null": (alter("population", name=None), "inputs, 5, name: Input should be"),
    "no name": (alter("population", name=...), "name: Field required"),
    "no shape": (alter("population", shape=...), "input 'population', shape: Field required"),
    "no datatype": (alter("population", datatype=...), "input 'population', datatype: Field"),
    "no data": (alter("population", data=...), "input 'population', data: Field required"),
    "id a number": (replace(id=5), "id: Input should be a valid string"),
    "parameters a number": (replace(parameters=5), "parameters: Input should be"),
    "output a number": (replace(outputs=[1]), "outputs, 0"),
    "not JSON": (lambda _: b"hello", "not JSON"),
    "cut off": (lambda body: json.dumps(body).encode()[:-5], "not JSON"),
    "two documents": (lambda body: json.dumps(body).encode() * 2, "not JSON"),
    "empty": (lambda _: b"", "expected a JSON object with inputs"),
    "100,000 brackets": (lambda _: b"[" * 100_000, "not JSON: depth limit"),
    "invalid UTF-8": (
        lambda body: json.dumps(body).encode().replace(b"NEAR BAY", b"\xff\xfe"),
        "not valid UTF-8",
    ),
    "lone surrogate": (alter("ocean_proximity", data=["\ud800", "INLAND"]), "not JSON"),
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(*case, id=f"{table}: {name}")
        for table, cases in {
            "names": NAMES,
            "shape": SHAPES,
            "values": VALUES,
            "body": FORMS,
        }.items()
        for name, case in cases.items()
    ],
)
@pytest.mark.usefixtures("still_answers")
def test_refused(california_server: Any, request_body: Any, change: Change, words: Any) -> None:
    assert_refused(california_server.infer(NAME, change(request_body)), words)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v2/models/nobody/infer", "Model nobody not found"),
        (f"/v2/models/{NAME}/versions/9/infer", "version 9 not found"),
        (f"/v1/models/{NAME}:predict", "this server speaks V2 only"),
        ("/v1/models", "this server speaks V2 only"),
        ("/invocations", "this server speaks V2 only"),
    ],
)
@pytest.mark.usefixtures("still_answers")
def test_not_there(california_server: Any, request_body: Any, path: str, words: str) -> None:
    assert_refused(california_server.request(path, request_body), words, 404)


@pytest.mark.parametrize(
    ("headers", "words"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, "Content-Type: application/json"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "Content-Type: application/json"),
        ({"Content-Type": "text/csv"}, "Content-Type: application/json"),
        ({"Content-Encoding": "gzip"}, "Content-Encoding says 'gzip'"),
    ],
    ids=["form", "multipart", "CSV", "gzip that is none"],
)
@pytest.mark.usefixtures("still_answers")
def test_wrong_headers(
    california_server: Any, request_body: Any, headers: dict[str, str], words: str
) -> None:
    assert_refused(california_server.infer(NAME, request_body, headers=headers), words)


@pytest.mark.usefixtures("still_answers")
def test_damaged_gzip(california_server: Any, request_body: Any) -> None:
    body = gzip.compress(json.dumps(request_body).encode())[:-20]
    answer = california_server.infer(NAME, body, headers={"Content-Encoding": "gzip"})
    assert_refused(answer, "Content-Encoding says 'gzip'")


@pytest.mark.usefixtures("still_answers")
def test_get_is_no_way_to_infer(california_server: Any) -> None:
    assert_refused(california_server.request(f"/v2/models/{NAME}/infer"), "Not Allowed", 405)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(alter("population", data=[MARKER, 2.0]), id="text in a number"),
        pytest.param(alter("population", data=[[MARKER], [2, 3]]), id="nested"),
        pytest.param(alter("population", data=[{MARKER: MARKER}, 2]), id="object"),
        pytest.param(alter("population", data=MARKER), id="data"),
        pytest.param(alter("population", shape=[MARKER]), id="shape"),
        pytest.param(
            alter("ocean_proximity", data=[MARKER, 2], parameters={"content_type": "base64"}),
            id="base64",
        ),
        pytest.param(alter("ocean_proximity", data=[MARKER]), id="too few"),
        pytest.param(
            lambda body: add(tensor("x"))(alter("ocean_proximity", data=[MARKER, "b"])(body)),
            id="another column is wrong",
        ),
        pytest.param(lambda _: [MARKER], id="no object"),
        pytest.param(lambda _: MARKER.encode(), id="not JSON"),
        pytest.param(lambda _: {"inputs": [MARKER]}, id="no input"),
        pytest.param(lambda _: {"inputs": MARKER}, id="no inputs"),
    ],
)
def test_values_are_not_echoed(california_server: Any, request_body: Any, change: Change) -> None:
    answer = california_server.infer(NAME, change(request_body))
    assert_refused(answer, [])
    assert MARKER not in answer.text
    assert MARKER not in california_server.log


def test_refusals_leave_no_traceback(california_server: Any, request_body: Any) -> None:
    assert california_server.infer(NAME, replace(inputs=[])(request_body)).status == 400
    assert "Traceback" not in california_server.log


# --- a model that takes integers, and no missing values ----------------------------------------


@pytest.fixture(scope="module")
def strict_server(start_twins: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A linear regression on an integer and a float column."""
    rows = pd.DataFrame({"rooms": np.arange(40), "income": np.arange(40) % 7 / 2})
    model = LinearRegression().fit(rows, rows["rooms"] * 2 + rows["income"])
    path: Path = tmp_path_factory.mktemp("strict") / "bundle"
    return start_twins(package_model(model, rows, path=path, name="strict").path)


@pytest.mark.parametrize(
    ("name", "datatype", "cell", "words"),
    [
        pytest.param("rooms", "FP64", 2.5, "FP64 that is no integer", id="2.5 as FP64"),
        pytest.param("rooms", "FP32", 2.5, "FP32 that is no integer", id="2.5 as FP32"),
        pytest.param("rooms", "INT64", 2.5, "expected an integer for INT64", id="2.5 as INT64"),
        pytest.param("rooms", "UINT64", 2**64 - 1, "too large for int64", id="2**64 - 1"),
        pytest.param("rooms", "INT64", 10**30 - 1, "outside INT64", id="30 digits as INT64"),
        pytest.param("rooms", "FP64", 10**30 - 1, "FP64 cannot hold", id="30 digits as FP64"),
        pytest.param("rooms", "INT64", -(2**63) - 1, "outside INT64", id="-2**63 - 1"),
        pytest.param("rooms", "FP64", 2**63, "too large for int64", id="2**63 as FP64"),
        pytest.param("rooms", "UINT8", -1, "outside UINT8", id="-1 as UINT8"),
        pytest.param("rooms", "INT64", True, "expected a number", id="true as INT64"),
        pytest.param("rooms", "INT64", None, "expected INT64, got null", id="null integer"),
        pytest.param("income", "FP64", None, "expected FP64, got null", id="null float"),
    ],
)
def test_refused_by_the_strict_model(
    strict_server: Any, name: str, datatype: str, cell: Any, words: str
) -> None:
    fine = [tensor("rooms", datatype="INT64", data=[3, 4]), tensor("income")]
    bad = alter(name, datatype=datatype, data=[cell, cell])({"inputs": copy.deepcopy(fine)})
    assert_refused(strict_server.infer("strict", bad), [f"input '{name}', value 0", words])
    answer = strict_server.infer("strict", {"inputs": fine})
    assert np.allclose(answer.json["outputs"][0]["data"], [7.0, 10.0])
