"""What a server counts: the same, exactly, whatever way a request takes."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pandas as pd
import pytest
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.dataplane_pb2_grpc import GRPCInferenceServiceStub
from prometheus_client.parser import text_string_to_metric_families
from sklearn.linear_model import LogisticRegression

from pyfunc_packaging import package_model
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.golden import make_request

NAME = "CaliforniaHousingRegressor"
PATIENCE = 60

#: So that a request of one row more is too large.
LIMITS = {"PYFUNC_MAX_ROWS": "1000"}

Counts = dict[tuple[str, ...], float]


def scrape(server: Any) -> Counts:
    """The counters and histograms ``pyfunc_…`` of a server's one model, by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        text = response.read().decode()
    return {
        (sample.name, *[f"{k}={v}" for k, v in sorted(sample.labels.items()) if k not in _MODEL]): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        if family.name.startswith("pyfunc_") and family.type != "gauge"
        for sample in family.samples
    }


_MODEL = ("model", "version")


def is_time(key: tuple[str, ...]) -> bool:
    """Whether a value says how long something took, not how often it happened."""
    return "duration" in key[0] and not key[0].endswith("_count")


def changes(server: Any, before: Counts) -> Counts:
    """What has been counted since, durations apart."""
    return {
        key: value - before.get(key, 0)
        for key, value in scrape(server).items()
        if value != before.get(key, 0) and not is_time(key)
    }


# --- the servers --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mlserver_start(
    california: Any, start_program: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Any]:
    """Start MLServer's own command with our runtime."""

    def start(**settings: Any) -> Any:
        folder = tmp_path_factory.mktemp("mlserver")
        model = {
            "name": NAME,
            "implementation": "mlserver_pyfunc.PyFuncRuntime",
            "parameters": {"uri": str(california[2].path)},
        }
        (folder / "model-settings.json").write_text(json.dumps(model))

        def command(ports: dict[str, int]) -> list[str]:
            found = {f"{name}_port": port for name, port in ports.items()}
            found |= {"host": "127.0.0.1", "debug": False, "parallel_workers": 0, **settings}
            (folder / "settings.json").write_text(json.dumps(found))
            return [str(Path(sys.executable).with_name("mlserver")), "start", str(folder)]

        server = start_program(command, env=lambda _: LIMITS)
        deadline = time.monotonic() + PATIENCE  # it says ready before it has a model
        while server.request(f"/v2/models/{NAME}/ready").status != 200:
            assert time.monotonic() < deadline, server.log
            time.sleep(0.05)
        return server

    return start


@pytest.fixture(scope="module", params=["fast lane", "ordinary way", "mlserver start"])
def server(
    request: pytest.FixtureRequest,
    california: Any,
    start_server: Callable[..., Any],
    mlserver_start: Callable[..., Any],
) -> Any:
    if request.param == "mlserver start":
        return mlserver_start()
    off = {} if request.param == "fast lane" else {"PYFUNC_FAST_LANE": "off"}
    return start_server(california[2].path, env={**LIMITS, **off})


# --- a known series of requests -----------------------------------------------------------------


@pytest.fixture(scope="module")
def good(california: Any) -> list[pd.DataFrame]:
    """Requests of one row, two and a thousand, with a known number of strange values."""
    rows = california[1].dropna().reset_index(drop=True)
    many = rows.sample(1000, replace=True, random_state=1).reset_index(drop=True)
    many.loc[:9, "total_bedrooms"] = np.nan
    many.loc[5:11, "ocean_proximity"] = "ATLANTIS"
    many.loc[3:22, "longitude"] = 7.5
    odd = rows.iloc[[1]].assign(ocean_proximity="MOON", median_income=1e6)
    return [rows.iloc[[0]], odd, rows.head(2), many]


def to_json(bundle: Any, rows: pd.DataFrame) -> dict[str, Any]:
    return make_request(bundle.schema.columns, from_frame(bundle.schema, rows))


def to_message(bundle: Any, rows: pd.DataFrame) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=NAME)
    for name, cells in from_frame(bundle.schema, rows).items():
        tensor = message.inputs.add(name=name, shape=[len(rows)])
        if cells.dtype == object:
            tensor.datatype = "BYTES"
            tensor.contents.bytes_contents.extend(text.encode() for text in cells)
        else:
            tensor.datatype = "FP64"
            tensor.contents.fp64_contents.extend(cells)
    return message


def expected(california: Any, good: list[pd.DataFrame]) -> Counts:
    """The same, counted by pandas."""
    pipeline, training, bundle = california
    rows = pd.concat(good, ignore_index=True)
    predicted = pipeline.predict(rows)
    found: Counts = {
        ("pyfunc_requests_total",): len(good),
        ("pyfunc_rows_total",): len(rows),
        ("pyfunc_request_duration_seconds_count",): len(good),
        ("pyfunc_prediction_count", "output=median_house_value"): len(rows),
        ("pyfunc_prediction_sum", "output=median_house_value"): predicted.sum(),
    }
    for stage in ("decode", "predict", "encode"):
        found["pyfunc_stage_duration_seconds_count", f"stage={stage}"] = len(good)
    for name in rows.columns:
        column, known = rows[name], training[name].dropna()
        found["pyfunc_column_missing_total", f"column={name}"] = column.isna().sum()
        if column.dtype.kind == "f":
            outside = column.notna() & ~column.between(known.min(), known.max())
            found["pyfunc_column_outside_range_total", f"column={name}"] = outside.sum()
        else:
            unseen = column.notna() & ~column.isin(known.unique())
            found["pyfunc_column_unseen_total", f"column={name}"] = unseen.sum()
    said = bundle.profile()["predictions"]["median_house_value"]["bounds"]
    for bound in [*said, np.inf]:
        key = "pyfunc_prediction_bucket", f"le={str(bound).replace('inf', '+Inf')}"
        found[(*key, "output=median_house_value")] = (predicted <= bound).sum()
    return {key: value for key, value in found.items() if value}


def test_good_requests_over_rest(california: Any, server: Any, good: list[pd.DataFrame]) -> None:
    before = scrape(server)
    for rows in good:
        assert server.infer(NAME, to_json(california[2], rows)).status == 200
    found = changes(server, before)
    assert found == pytest.approx(expected(california, good))
    assert found["pyfunc_column_unseen_total", "column=ocean_proximity"] == 8
    assert found["pyfunc_column_missing_total", "column=total_bedrooms"] == 10
    assert found["pyfunc_column_outside_range_total", "column=longitude"] == 20


def test_good_requests_over_grpc(california: Any, server: Any, good: list[pd.DataFrame]) -> None:
    before = scrape(server)
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        for rows in good:
            stub.ModelInfer(to_message(california[2], rows), timeout=PATIENCE)
    assert changes(server, before) == pytest.approx(expected(california, good))


def lacking(request: Any) -> None:
    del request["inputs"][2]


def extra(request: Any) -> None:
    request["inputs"].append({**request["inputs"][0], "name": "altitude"})


def both(request: Any) -> None:
    lacking(request)
    extra(request)


def text(request: Any) -> None:
    request["inputs"][0].update(datatype="BYTES", data=["west"])


def unlike(request: Any) -> None:
    request["inputs"][0]["data"] = ["west"]


def longer(request: Any) -> None:
    request["inputs"][0].update(shape=[2], data=[1.0, 2.0])


def shorter(request: Any) -> None:
    request["inputs"][0].update(shape=[2])


def twice(request: Any) -> None:
    request["inputs"].append(request["inputs"][0])


def nothing_there(request: Any) -> None:
    request["outputs"] = [{"name": "no such output"}]


def large(request: Any) -> None:
    for tensor in request["inputs"]:
        tensor.update(shape=[1001], data=tensor["data"] * 1001)


BAD = {
    lacking: "missing_input",
    extra: "unknown_input",
    both: "missing_input",
    twice: "unknown_input",
    text: "wrong_type",
    unlike: "wrong_type",
    longer: "ragged",
    shorter: "ragged",
    nothing_there: "malformed",
    large: "too_large",
}


def refused(**reasons: int) -> Counts:
    found: Counts = {("pyfunc_requests_total",): sum(reasons.values())}
    for reason, count in reasons.items():
        found["pyfunc_refusals_total", f"reason={reason}"] = count
    return found


@pytest.mark.parametrize("spoil", BAD, ids=lambda spoil: spoil.__name__)
def test_bad_requests(california: Any, server: Any, good: list[pd.DataFrame], spoil: Any) -> None:
    before = scrape(server)
    request = to_json(california[2], good[0])
    spoil(request)
    status = server.infer(NAME, request).status
    assert status == (413 if spoil is large else 400), spoil
    assert changes(server, before) == refused(**{BAD[spoil]: 1})


def test_bad_requests_over_grpc(california: Any, server: Any, good: list[pd.DataFrame]) -> None:
    before = scrape(server)
    message = to_message(california[2], good[0])
    lacks, ragged, wrong, unlike = (pb.ModelInferRequest() for _ in range(4))
    for copy in (lacks, ragged, wrong, unlike):
        copy.CopyFrom(message)
    del lacks.inputs[3]
    ragged.inputs[3].shape[0] = 2
    wrong.inputs[3].datatype = "BYTES"
    wrong.inputs[3].contents.bytes_contents.append(b"many")
    wrong.inputs[3].contents.ClearField("fp64_contents")
    unlike.inputs[8].contents.bytes_contents[0] = b"\xff"
    with grpc.insecure_channel(f"127.0.0.1:{server.ports['grpc']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        for bad in (lacks, ragged, wrong, unlike):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(bad, timeout=PATIENCE)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert changes(server, before) == refused(missing_input=1, ragged=1, wrong_type=2)


def test_what_is_for_no_model_is_not_counted(server: Any) -> None:
    before = scrape(server)
    assert server.infer("stranger", {"inputs": []}).status == 404
    assert server.request(f"/v2/models/{NAME}").status == 200
    assert changes(server, before) == {}


def test_metadata_of_the_bundle_and_the_queue(california: Any, server: Any) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        lines = response.read().decode().splitlines()
    [info] = [line for line in lines if line.startswith("pyfunc_bundle_info{")]
    for word in (f'digest="{california[2].digest}"', 'engine="onnx"', 'format="1"', "} 1.0"):
        assert word in info
    assert f'pyfunc_model_ready{{model="{NAME}",version=""}} 1.0' in lines
    assert f'pyfunc_queue_limit{{model="{NAME}",version=""}} 128.0' in lines


# --- what only our own server counts ------------------------------------------------------------


@pytest.fixture(scope="module", params=["on", "off"])
def own_server(
    request: pytest.FixtureRequest, california: Any, start_server: Callable[..., Any]
) -> Any:
    limits = {**LIMITS, "PYFUNC_MAX_BODY_BYTES": "300000"}
    return start_server(california[2].path, env={**limits, "PYFUNC_FAST_LANE": request.param})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", "malformed"),
        (b"[]", "malformed"),
        (b'{"inputs": [{"name": "x"}]}', "malformed"),
        (b" " * 300_001, "too_large"),
    ],
)
def test_bodies_that_are_no_requests(own_server: Any, body: bytes, reason: str) -> None:
    before = scrape(own_server)
    assert own_server.infer(NAME, body).status in (400, 413)
    assert changes(own_server, before) == refused(**{reason: 1})


def test_messages_that_are_no_requests(
    california: Any, own_server: Any, good: list[pd.DataFrame]
) -> None:
    before = scrape(own_server)
    message = to_message(california[2], good[0])
    message.raw_input_contents.append(b"")
    with grpc.insecure_channel(f"127.0.0.1:{own_server.ports['grpc']}") as channel:
        stub = GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError):
            stub.ModelInfer(message, timeout=PATIENCE)
        with pytest.raises(grpc.RpcError):
            list(stub.ModelStreamInfer(iter([message]), timeout=PATIENCE))
    assert changes(own_server, before) == refused(malformed=2)


def test_requests_that_are_predicted_together(
    california: Any, own_server: Any, good: list[pd.DataFrame]
) -> None:
    """64 connections at once, one of them with a mistake, ten times."""
    before = scrape(own_server)
    rows = [good[3].iloc[[position]].fillna(1.0) for position in range(63)]
    bodies = [json.dumps(to_json(california[2], row)).encode() for row in rows]
    spoilt = to_json(california[2], good[0])
    lacking(spoilt)
    bodies.insert(17, json.dumps(spoilt).encode())
    statuses = asyncio.run(_ask_at_once(own_server.ports["http"], bodies, times=10))
    assert (statuses.count(200), statuses.count(400)) == (630, 10)
    usual = expected(california, rows * 10)
    usual["pyfunc_requests_total",] += 10
    assert changes(own_server, before) == pytest.approx(
        {**usual, ("pyfunc_refusals_total", "reason=missing_input"): 10}
    )


async def _ask_at_once(port: int, bodies: list[bytes], times: int) -> list[int]:
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in bodies]
    statuses = []
    for _ in range(times):
        for (_, writer), body in zip(connections, bodies, strict=True):
            head = f"POST /v2/models/{NAME}/infer HTTP/1.1\r\nHost: x\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        for reader, _ in connections:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
            statuses.append(int(head.split()[1]))
    for _, writer in connections:
        writer.close()
        await writer.wait_closed()
    return statuses


def test_a_model_that_is_loaded_again_begins_at_zero(
    california: Any, start_server: Callable[..., Any], good: list[pd.DataFrame]
) -> None:
    server = start_server(california[2].path)
    assert server.infer(NAME, to_json(california[2], good[0])).status == 200
    assert scrape(server)["pyfunc_rows_total",] == 1
    assert server.request(f"/v2/repository/models/{NAME}/load", {}).status == 200
    assert scrape(server)["pyfunc_rows_total",] == 0
    assert server.infer(NAME, to_json(california[2], good[0])).status == 200
    assert scrape(server)["pyfunc_rows_total",] == 1
    assert server.request(f"/v2/repository/models/{NAME}/unload", {}).status == 200
    assert scrape(server) == {}


# --- models that fail ---------------------------------------------------------------------------

MODEL = """
import time

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin


class Odd(RegressorMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def predict(self, X):
        cells = X["x"].to_numpy(dtype=float)
        if cells[0] == -1:
            raise ZeroDivisionError("minus one")
        time.sleep(max(cells[0], 0.0))
        return cells
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "odd_model.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        from odd_model import Odd

        rows = pd.DataFrame({"x": [0.0, 0.001]})
        return package_model(Odd().fit(rows), rows, path=folder / "bundle", name="odd").path


def ask(value: float) -> Any:
    return {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [value]}]}


@pytest.mark.parametrize("lane", ["on", "off"])
def test_faults_of_the_model_and_of_the_queue(
    odd: Path, start_server: Callable[..., Any], lane: str
) -> None:
    settings = {"PYFUNC_MAX_QUEUE": "1", "PYFUNC_PREDICT_TIMEOUT": "3", "PYFUNC_TRUST": "code"}
    server = start_server(odd, env={**settings, "PYFUNC_FAST_LANE": lane})
    assert server.infer("odd", ask(-1)).status == 500
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(server.infer, "odd", ask(2)) for _ in range(4)]
        statuses = sorted(each.result().status for each in slow)
    assert statuses == [200, 200, 503, 503]
    assert server.infer("odd", ask(6)).status == 504
    found = {key: value for key, value in scrape(server).items() if value and not is_time(key)}
    assert found["pyfunc_requests_total",] == 6
    reasons = {key[1]: value for key, value in found.items() if key[0] == "pyfunc_refusals_total"}
    assert reasons == {"reason=model_error": 1, "reason=queue_full": 2, "reason=timeout": 1}
    assert found["pyfunc_request_duration_seconds_count",] == 2


# --- classifiers, parallel workers --------------------------------------------------------------


@pytest.mark.parametrize("labels", [["no", "yes"], [3, 8], [False, True]])
def test_labels_are_counted(
    labels: list[Any], start_server: Callable[..., Any], tmp_path: Path
) -> None:
    rows = pd.DataFrame({"x": np.linspace(-1, 1, 40)})
    target = pd.Series(np.where(rows["x"] > 0.5, labels[1], labels[0]))
    bundle = package_model(
        LogisticRegression(C=1e6).fit(rows, target), rows, path=tmp_path / "b", name="kinds"
    )
    server = start_server(bundle.path)
    data = [-0.5] * 5 + [0.9] * 3
    request = {"inputs": [{"name": "x", "shape": [8], "datatype": "FP64", "data": data}]}
    assert server.infer("kinds", request).json["outputs"][0]["data"] == (
        [labels[0]] * 5 + [labels[1]] * 3
    )
    found = scrape(server)
    counted = {k[1]: v for k, v in found.items() if k[0] == "pyfunc_predicted_labels_total"}
    assert counted == {f"label={labels[0]}": 5, f"label={labels[1]}": 3}
    request["inputs"][0]["data"][7] = None  # which this model cannot handle
    assert server.infer("kinds", request).status == 400
    assert changes(server, found) == refused(missing_value=1)


@pytest.fixture
def with_workers(mlserver_start: Callable[..., Any], tmp_path: Path) -> Iterator[Any]:
    server = mlserver_start(parallel_workers=1, metrics_dir=str(tmp_path))
    yield server
    server.stop()


def test_parallel_workers_answer_and_have_mlservers_metrics(
    california: Any, with_workers: Any, good: list[pd.DataFrame]
) -> None:
    for rows in good:
        assert with_workers.infer(NAME, to_json(california[2], rows)).status == 200
    port = with_workers.ports["metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as response:
        text = response.read().decode()
    assert f'model_infer_request_success_total{{model="{NAME}"' in text
    assert "pyfunc_" not in text
