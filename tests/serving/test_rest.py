"""Good requests over REST: every lossless way to say the same gives the pipeline's predictions."""

from __future__ import annotations

import gzip
import json
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlserver_pyfunc.json_pieces import LARGE
from pyfunc_packaging import package_model

NAME = "CaliforniaHousingRegressor"
INFER = f"/v2/models/{NAME}/infer"


def to_request(rows: pd.DataFrame, **fields: Any) -> dict[str, Any]:
    """A DataFrame as a V2 request; NaN becomes null."""
    inputs = []
    for name in rows.columns:
        text = rows[name].dtype.kind not in "fiu"
        cells = rows[name].astype(object)
        inputs.append(
            {
                "name": name,
                "shape": [len(rows)],
                "datatype": "BYTES" if text else "FP64",
                "data": cells.where(rows[name].notna(), None).tolist(),
            }
        )
    return {"inputs": inputs, **fields}


def predictions(answer: Any) -> list[float]:
    assert answer.status == 200, answer.text
    (output,) = answer.json["outputs"]
    assert output["name"] == "median_house_value"
    assert output["datatype"] == "FP64"
    assert output["shape"] == [len(output["data"])]
    return output["data"]


def frame(body: Any) -> pd.DataFrame:
    return pd.DataFrame({tensor["name"]: tensor["data"] for tensor in body["inputs"]})


@pytest.fixture
def expected(california: Any, request_body: Any) -> list[float]:
    """What the pipeline itself predicts for the example's request."""
    return california[0].predict(frame(request_body)).tolist()


def reorder(body: Any) -> Any:
    return {"inputs": body["inputs"][::-1]}


def for_each(**fields: Any) -> Any:
    def change(body: Any) -> Any:
        return {"inputs": [{**tensor, **fields} for tensor in body["inputs"]]}

    return change


def nest(body: Any) -> Any:
    for tensor in body["inputs"]:
        tensor.update(shape=[2, 1], data=[[cell] for cell in tensor["data"]])
    return body


def typed(body: Any) -> Any:
    """The content types that mlserver's pandas codec writes."""
    for tensor in body["inputs"]:
        tensor["parameters"] = {"content_type": "str" if tensor["datatype"] == "BYTES" else "np"}
    return {**body, "parameters": {"content_type": "pd"}}


def as_integers(body: Any) -> Any:
    for tensor in body["inputs"]:
        if tensor["datatype"] == "FP64" and all(cell == int(cell) for cell in tensor["data"]):
            tensor.update(datatype="INT64", data=[int(cell) for cell in tensor["data"]])
    assert sum(tensor["datatype"] == "INT64" for tensor in body["inputs"]) == 5
    return body


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda body: body, id="as it is"),
        pytest.param(reorder, id="inputs in another order"),
        pytest.param(for_each(shape=[2, 1]), id="[n, 1] flat"),
        pytest.param(nest, id="[n, 1] nested"),
        pytest.param(typed, id="content types np, pd and str"),
        pytest.param(as_integers, id="INT64 for doubles"),
        pytest.param(for_each(parameters={"colour": "blue"}), id="parameters of somebody else"),
        pytest.param(lambda body: {**body, "outputs": []}, id="empty outputs"),
        pytest.param(
            lambda body: {**body, "outputs": [{"name": "median_house_value"}]}, id="outputs"
        ),
    ],
)
def test_predicts_as_the_pipeline(
    california_server: Any, request_body: Any, expected: list[float], change: Any
) -> None:
    assert predictions(california_server.infer(NAME, change(request_body))) == expected


@pytest.mark.parametrize("path", [INFER, f"/v2/models/{NAME}/versions/7/infer"])
def test_with_and_without_version(
    versioned_server: Any, request_body: Any, expected: list[float], path: str
) -> None:
    answer = versioned_server.request(path, request_body)
    assert predictions(answer) == expected
    assert answer.json["model_version"] == "7"


@pytest.fixture(scope="module")
def versioned_server(california: Any, start_twins: Any) -> Any:
    return start_twins(california[2].path, env={"MLSERVER_MODEL_VERSION": "7"})


def test_base64_text(california_server: Any, request_body: Any, expected: list[float]) -> None:
    request_body["inputs"][-1].update(
        data=["TkVBUiBCQVk=", "TkVBUiBCQVk="], parameters={"content_type": "base64"}
    )
    assert predictions(california_server.infer(NAME, request_body)) == expected


def test_gzip_body(california_server: Any, request_body: Any, expected: list[float]) -> None:
    body = gzip.compress(json.dumps(request_body).encode())
    answer = california_server.infer(NAME, body, headers={"Content-Encoding": "gzip"})
    assert predictions(answer) == expected


def test_id_comes_back(california_server: Any, request_body: Any) -> None:
    assert (
        california_server.infer(NAME, {**request_body, "id": "order 66"}).json["id"] == "order 66"
    )


def test_id_is_made_up_when_none_came(california_server: Any, request_body: Any) -> None:
    answers = [california_server.infer(NAME, request_body) for _ in range(2)]
    assert all(answer.json["id"] for answer in answers)
    assert answers[0].json["id"] != answers[1].json["id"]


# --- rows ---------------------------------------------------------------------------------------


def test_zero_rows(california_server: Any, california: Any) -> None:
    assert predictions(california_server.infer(NAME, to_request(california[1].head(0)))) == []


def test_one_row(california_server: Any, california: Any) -> None:
    pipeline, rows, _ = california
    answer = california_server.infer(NAME, to_request(rows.head(1)))
    assert predictions(answer) == pipeline.predict(rows.head(1)).tolist()


@pytest.mark.parametrize("column", ["total_bedrooms", "median_income", "ocean_proximity"])
def test_null_is_a_missing_value(california_server: Any, california: Any, column: str) -> None:
    pipeline, rows, _ = california
    rows = rows.head(5).copy()
    rows.loc[[0, 3], column] = np.nan
    expected = pipeline.predict(rows).tolist()
    body = to_request(rows)
    (sent,) = (tensor["data"] for tensor in body["inputs"] if tensor["name"] == column)
    assert sent.count(None) == 2
    assert predictions(california_server.infer(NAME, body)) == expected


def test_a_column_of_nulls_only(california_server: Any, california: Any) -> None:
    pipeline, rows, _ = california
    rows = rows.head(2).assign(total_bedrooms=np.nan)
    answer = california_server.infer(NAME, to_request(rows))
    assert predictions(answer) == pipeline.predict(rows).tolist()


def test_unseen_category(california_server: Any, california: Any) -> None:
    pipeline, rows, _ = california
    rows = rows.head(3).assign(ocean_proximity=["MOON", "", "Ünïcödé 🌊"])
    answer = california_server.infer(NAME, to_request(rows))
    assert predictions(answer) == pipeline.predict(rows).tolist()


def test_ten_thousand_rows_bit_for_bit(california_server: Any, california: Any) -> None:
    pipeline, rows, _ = california
    many = rows.sample(10_000, replace=True, random_state=1, ignore_index=True)
    numeric = many.select_dtypes("number").columns
    many[numeric] *= np.random.default_rng(1).uniform(0.9, 1.1, (len(many), len(numeric)))
    body = to_request(many)
    assert len(json.dumps(body)) > LARGE  # so that it is read in pieces
    answer = california_server.infer(NAME, body)
    assert predictions(answer) == pipeline.predict(many).tolist()


def test_one_wrong_cell_in_ten_thousand_rows(california_server: Any, california: Any) -> None:
    rows = california[1].sample(10_000, replace=True, random_state=1, ignore_index=True)
    rows["longitude"] += np.random.default_rng(1).uniform(0.0, 1.0, len(rows))
    body = to_request(rows)
    for tensor in body["inputs"]:
        tensor["data"] = [cell if cell is None else f"{cell}" for cell in tensor["data"]]
    answer = california_server.infer(NAME, body)
    assert answer.status == 400
    assert "'longitude'" in answer.json["error"]
    text = json.dumps(to_request(rows)) + " " * LARGE
    for broken in (text.replace("], ", ",], ", 1), text[:-LARGE] + "]" + " " * LARGE):
        answer = california_server.infer(NAME, broken.encode())
        assert answer.status == 400
        assert answer.json["error"].startswith("the body is not JSON: ")


def test_concurrent_clients_get_their_own_answers(california_server: Any, california: Any) -> None:
    pipeline, rows, _ = california
    clients = 16
    parts = [rows.iloc[position::clients].head(1 + position) for position in range(clients)]
    together = threading.Barrier(clients)

    def ask(position: int) -> Any:
        together.wait()
        body = to_request(parts[position], id=str(position))
        return [california_server.infer(NAME, body) for _ in range(3)]

    with ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(ask, range(clients)))
    for position, (part, theirs) in enumerate(zip(parts, answers, strict=True)):
        expected = pipeline.predict(part).tolist()
        for answer in theirs:
            assert answer.json["id"] == str(position)
            assert predictions(answer) == expected


# --- metadata and probes ------------------------------------------------------------------------


def test_metadata_is_what_infer_takes_and_returns(california_server: Any, california: Any) -> None:
    metadata = california_server.request(f"/v2/models/{NAME}").json
    assert metadata["name"] == NAME
    assert [tensor["name"] for tensor in metadata["inputs"]] == list(california[1].columns)
    examples = {"FP64": 1.0, "BYTES": "INLAND"}
    answer = california_server.infer(
        NAME,
        {
            "inputs": [
                {
                    "name": tensor["name"],
                    "datatype": tensor["datatype"],
                    "shape": [3 if size == -1 else size for size in tensor["shape"]],
                    "data": [examples[tensor["datatype"]]] * 3,
                }
                for tensor in metadata["inputs"]
            ]
        },
    )
    assert answer.status == 200, answer.text
    described = [(each["name"], each["datatype"], each["shape"]) for each in metadata["outputs"]]
    assert described == [("median_house_value", "FP64", [-1])]
    assert [
        (each["name"], each["datatype"], [-1, *each["shape"][1:]])
        for each in answer.json["outputs"]
    ] == described


@pytest.mark.parametrize(
    "path",
    ["/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{NAME}/ready"],
)
def test_probes(california_server: Any, path: str) -> None:
    assert california_server.request(path).status == 200


def test_metrics(california_server: Any, request_body: Any) -> None:
    assert california_server.infer(NAME, request_body).status == 200
    url = f"http://127.0.0.1:{california_server.ports['metrics']}/metrics"
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    assert f'model_infer_request_success_total{{model="{NAME}"' in text


# --- a slow model -------------------------------------------------------------------------------

SLOW = '''
import time

from sklearn.base import BaseEstimator, RegressorMixin


class SlowRegressor(RegressorMixin, BaseEstimator):
    """Sleeps as many seconds as the first value says, and predicts it."""

    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        time.sleep(float(X["seconds"].iloc[0]))
        return X["seconds"].to_numpy(dtype=float)
'''


@pytest.fixture
def slow_server(start_twins: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "slow_regressor.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    from slow_regressor import SlowRegressor

    rows = pd.DataFrame({"seconds": [0.0, 1.0]})
    model = SlowRegressor().fit(rows)
    bundle = package_model(model, rows, path=tmp_path / "bundle", name="slow")
    return start_twins(bundle.path, env={"PYFUNC_TRUST": "code"})  # it is a pickle


def test_probes_answer_during_a_slow_predict(slow_server: Any) -> None:
    body = to_request(pd.DataFrame({"seconds": [2.0]}))
    times: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(slow_server.infer, "slow", body)
        while not slow.done():
            start = time.monotonic()
            for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/slow/ready"):
                assert slow_server.request(path).status == 200
                times.append(time.monotonic() - start)
                start = time.monotonic()
    assert slow.result().json["outputs"][0]["data"] == [2.0]
    assert len(times) > 10
    assert max(times) < 0.5
