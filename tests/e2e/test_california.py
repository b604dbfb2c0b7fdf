"""The example served by a real server predicts what the pipeline predicts, bit for bit."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pyfunc_packaging import package_model

#: Where the real data lies on machines that have it; everywhere else the synthetic census serves.
REAL = Path(
    os.environ.get("CALIFORNIA_HOUSING_CSV")
    or Path(__file__).resolve().parents[3] / "shared" / "data" / "housing.csv"
)


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All 20,640 rows, real where they are: ``(pipeline, X, bundle)``."""
    from data import TARGET, load_housing
    from train import NAME, train

    rows, source = load_housing(REAL if REAL.is_file() else None)
    print(f"rows: {source}")
    pipeline, _ = train(rows)
    X, y = rows.drop(columns=TARGET), rows[TARGET]
    path = tmp_path_factory.mktemp("everything") / "bundle"
    return pipeline, X, package_model(pipeline, X, y=y, path=path, name=NAME)


def columns_request(rows: pd.DataFrame) -> dict[str, Any]:
    """The request as a client without this library would write it."""
    inputs = []
    for name in rows.columns:
        text = name == "ocean_proximity"
        cells = [None if pd.isna(cell) else cell for cell in rows[name].tolist()]
        datatype = "BYTES" if text else "FP64"
        inputs.append({"name": name, "shape": [len(rows)], "datatype": datatype, "data": cells})
    return {"inputs": inputs}


def test_served_predictions_equal_the_pipeline_bit_for_bit(
    everything: Any, start_server: Callable[..., Any]
) -> None:
    pipeline, rows, bundle = everything
    assert len(rows) == 20_640
    server = start_server(bundle.path)
    answer = server.infer(bundle.name, columns_request(rows))
    assert answer.status == 200
    output = answer.json["outputs"][0]
    assert output["name"] == "median_house_value"
    assert output["shape"] == [20_640]
    assert output["data"] == pipeline.predict(rows).tolist()
    assert server.stop() == 0


def test_a_million_rows_are_answered(california: Any, california_server: Any) -> None:
    pipeline, rows, bundle = california
    many = pd.concat([rows] * -(-1_000_000 // len(rows)), ignore_index=True).head(1_000_000)
    answer = california_server.infer(bundle.name, columns_request(many), timeout=300)
    assert answer.status == 200
    assert answer.json["outputs"][0]["data"] == pipeline.predict(many).tolist()
    assert california_server.request("/v2/health/ready").status == 200
