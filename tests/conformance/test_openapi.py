"""The documents that describe a model: complete, and with an example that works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec
from mlflow.types import Schema as MlflowSchema

NAME = "CaliforniaHousingRegressor"

pytestmark = pytest.mark.filterwarnings("ignore:.*An input example was not provided:UserWarning")

BASES = [f"/v2/models/{NAME}", f"/v2/models/{NAME}/versions/3"]


def find_post(document: Any, base: str) -> Any:
    return document["paths"][f"{base}/infer"]["post"]


@pytest.mark.parametrize("base", BASES)
def test_the_example_works(server: Any, california: Any, base: str) -> None:
    document = server.request(f"{base}/docs/dataplane.json").json
    body = find_post(document, base)["requestBody"]["content"]["application/json"]
    golden = california[2].golden()
    assert body["example"] == golden["request"]
    answer = server.request(f"{base}/infer", body["example"])
    assert answer.status == 200, answer.text
    (expected,) = golden["response"]["outputs"]
    assert answer.json["outputs"][0]["data"] == pytest.approx(expected["data"], rel=1e-12)


@pytest.mark.parametrize("base", BASES)
def test_the_document_says_what_metadata_say(server: Any, base: str) -> None:
    document = server.request(f"{base}/docs/dataplane.json").json
    metadata = server.request(base).json
    request = document["components"]["schemas"]["ModelRequest"]["properties"]["inputs"]
    assert request["minItems"] == request["maxItems"] == 9
    described = [
        (each["properties"]["name"]["enum"], each["properties"]["datatype"]["example"])
        for each in request["items"]["oneOf"]
    ]
    assert described == [([each["name"]], each["datatype"]) for each in metadata["inputs"]]
    outputs = document["components"]["schemas"]["ModelResponse"]["properties"]["outputs"]
    (output,) = outputs["items"]["oneOf"]
    assert output["title"] == "median_house_value"


@pytest.mark.parametrize("base", BASES)
def test_every_path_is_there_and_every_reference_leads_somewhere(server: Any, base: str) -> None:
    answer = server.request(f"{base}/docs/dataplane.json")
    assert set(answer.json["paths"]) == {base, f"{base}/ready", f"{base}/infer"}
    for path, route in answer.json["paths"].items():
        if "get" in route:
            assert server.request(path).status == 200
    for name in re.findall(r'"#/components/schemas/(\w+)"', answer.text):
        assert name in answer.json["components"]["schemas"]


@pytest.mark.parametrize("path", ["docs", "docs/dataplane.json"])
def test_no_such_model(server: Any, path: str) -> None:
    for base in ("/v2/models/nobody", f"/v2/models/{NAME}/versions/4"):
        assert server.request(f"{base}/{path}").status == 404


@pytest.mark.parametrize("base", BASES)
def test_the_page_needs_no_other_host(server: Any, base: str) -> None:
    page = server.request(f"{base}/docs")
    assert page.status == 200
    assert page.headers["content-type"].startswith("text/html")
    assert not re.search(r"(https?:)?//\w|@import", page.text)
    for part in ('id="request"', 'id="send"', 'fetch(base + "/infer"'):
        assert part in page.text


CODE = """
import mlflow
import pandas as pd


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return pd.DataFrame({"rows": [len(model_input)] * len(model_input)})


mlflow.models.set_model(Model())
"""

TYPES = ("boolean", "integer", "long", "float", "double", "string", "binary", "datetime")
COLUMNS = MlflowSchema([ColSpec(kind, f"a {kind}") for kind in TYPES])
ROWS = MlflowSchema([ColSpec("long", "rows")])
PARAMS = ParamSchema([ParamSpec("depth", "long", 3)])


def test_a_model_without_golden_rows_has_zeros(tmp_path: Path, start_server: Any) -> None:
    code = tmp_path / "model.py"
    code.write_text(CODE, encoding="utf-8")
    mlflow.pyfunc.save_model(
        tmp_path / "model",
        python_model=str(code),
        signature=ModelSignature(COLUMNS, ROWS, PARAMS),
        pip_requirements=["mlflow"],
    )
    server = start_server(tmp_path / "model", "--name", "zeros", env={"PYFUNC_TRUST": "code"})
    document = server.request("/v2/models/zeros/docs/dataplane.json").json
    post = find_post(document, "/v2/models/zeros")
    example = post["requestBody"]["content"]["application/json"]["example"]
    assert {tensor["name"]: tensor["data"] for tensor in example["inputs"]} == {
        "a boolean": [False],
        "a integer": [0],
        "a long": [0],
        "a float": [0.0],
        "a double": [0.0],
        "a string": [""],
        "a binary": [""],
        "a datetime": ["1970-01-01T00:00:00Z"],
    }
    answer = server.infer("zeros", example)
    assert answer.status == 200, answer.text
    assert answer.json["outputs"][0]["data"] == [1]
    request = document["components"]["schemas"]["ModelRequest"]["properties"]
    assert request["parameters"]["properties"]["depth"]["default"] == 3
