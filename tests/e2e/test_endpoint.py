"""Bundle.serve(): a real server for the length of a with-block."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from pyfunc_packaging import load_bundle, package_model
from pyfunc_packaging.errors import (
    InvalidRequest,
    MissingDependency,
    ServerNotStarted,
    UnsuitableData,
)

pytestmark = pytest.mark.usefixtures("all_unchecked")


@pytest.fixture(scope="module")
def endpoint(california: Any) -> Any:
    with california[2].serve() as endpoint:
        yield endpoint


def test_it_predicts_what_the_pipeline_predicts(california: Any, endpoint: Any) -> None:
    pipeline, rows, _ = california
    np.testing.assert_array_equal(endpoint.predict(rows), pipeline.predict(rows))


def test_gaps_and_no_rows(california: Any, endpoint: Any) -> None:
    pipeline, rows, _ = california
    gaps = rows.head(5).assign(total_rooms=np.nan)
    np.testing.assert_array_equal(endpoint.predict(gaps), pipeline.predict(gaps))
    assert endpoint.predict(rows.head(0)).shape == (0,)


def test_mistakes_are_named(california: Any, endpoint: Any) -> None:
    rows = california[1].head(2)
    with pytest.raises(UnsuitableData, match="lack the column"):
        endpoint.predict(rows.drop(columns="latitude"))
    with pytest.raises(UnsuitableData, match="infinite"):
        endpoint.predict(rows.assign(latitude=np.inf))
    with pytest.raises(InvalidRequest, match="inputs"):
        endpoint._post("/v2/models/CaliforniaHousingRegressor/infer", b"{}")


def test_afterwards_nothing_is_left(california: Any) -> None:
    bundle = california[2]
    with bundle.serve() as endpoint:
        pid = endpoint._process.pid
        port = int(endpoint.url.rpartition(":")[2])
        folder = Path(endpoint._folder.name)
        assert endpoint.start() is endpoint
        assert endpoint._process.pid == pid
        assert "CaliforniaHousingRegressor" in endpoint.log
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert not folder.exists()
    with pytest.raises(ServerNotStarted, match=r"within `with bundle\.serve"):
        endpoint.predict(california[1])
    endpoint.stop()


def test_an_error_within_ends_the_server(california: Any) -> None:
    with pytest.raises(ZeroDivisionError), california[2].serve() as endpoint:  # noqa: PT012
        process = endpoint._process
        raise ZeroDivisionError
    assert process.returncode == 0


def test_a_server_that_dies_is_no_riddle(california: Any) -> None:
    with california[2].serve() as endpoint:
        endpoint._process.kill()
        endpoint._process.wait()
        with pytest.raises(ServerNotStarted, match="does not answer"):
            endpoint.predict(california[1].head(1))


def test_a_bundle_that_cannot_be_served_says_why(california: Any, tmp_path: Path) -> None:
    bundle = load_bundle(shutil.copytree(california[2].path, tmp_path / "bundle"))
    (bundle.path / "data" / "model.onnx").write_bytes(b"damaged")
    with (
        pytest.raises(ServerNotStarted, match=r"(?s)exit status 3:.*cannot serve: .*model\.onnx"),
        bundle.serve(),
    ):
        pass


def test_classifiers_and_several_targets(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"a": rng.normal(size=60), "b": rng.normal(size=60)})
    labels = np.where(rows["a"] > 0, "yes", "no")
    classifier = LogisticRegression().fit(rows, labels)
    with package_model(classifier, rows, path=tmp_path / "c", name="c").serve() as endpoint:
        found = endpoint.predict(rows)
    assert found["label"].tolist() == classifier.predict(rows).tolist()
    np.testing.assert_allclose(found["probability"], classifier.predict_proba(rows), rtol=1e-9)
    targets = rows.rename(columns={"a": "low", "b": "high"})
    several = LinearRegression().fit(rows, targets)
    bundle = package_model(several, rows, y=targets, path=tmp_path / "s", name="s")
    shifted = rows.set_index(rows.index + 5)
    with bundle.serve() as endpoint:
        table = endpoint.predict(shifted)
    pd.testing.assert_frame_equal(table, bundle.predict(shifted))


def test_without_mlserver_it_says_what_to_install(
    california: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a mock: MLServer is installed wherever the tests run
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mlserver" else find_spec(name)
    )
    with pytest.raises(MissingDependency, match=r"mlserver-pyfunc\[runtime\]"):
        california[2].serve()
