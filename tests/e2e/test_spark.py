"""``mlflow.pyfunc.spark_udf`` on a bundle, on a real cluster of two workers on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pyfunc_packaging import Bundle, build_pipeline, package_model

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("spark_job.py")
#: 127.0.0.1 as /proc/net/tcp and /proc/net/tcp6 write it.
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
STRUCT = "struct<label:string,probability:array<double>>"


@pytest.fixture(scope="session")
def spark_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with PySpark and MLflow, without this project: a bundle brings what it needs."""
    folder = tmp_path_factory.mktemp("spark")
    uv = str(Path(sys.executable).with_name("uv"))
    python = folder / "venv" / "bin" / "python"
    lock = str(ROOT / "constraints" / "spark.txt")
    install = [uv, "pip", "install", "--quiet", "--system-certs", "--require-hashes"]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(folder / "venv")],
        [*install, "--python", str(python), "-r", lock],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="session")
def run_spark(spark_python: Path) -> Callable[..., str]:
    """Run a program in that environment until all its processes ended; what it printed."""

    def run(script: Path, folder: Path, asked: Any = None, **env: str) -> str:
        process = subprocess.Popen(
            [str(spark_python), "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            start_new_session=True,
            env={**os.environ, "PYSPARK_PYTHON": str(spark_python), **env},
        )
        out, errors = process.communicate(json.dumps(asked), timeout=280)
        assert process.returncode == 0, errors[-5000:]
        deadline = time.monotonic() + 60
        while left := session_of(process.pid):
            assert time.monotonic() < deadline, f"still there: {left}"
            time.sleep(0.1)
        return out

    return run


def session_of(leader: int) -> list[str]:
    """Processes of a session; the daemons of PySpark leave the group, but not the session."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = file.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it just ended
        if int(words[3]) == leader and words[0] != "Z":
            found.append(file.parent.name)
    return found


@pytest.fixture(scope="module")
def levels(
    california: Any, synthetic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A classifier of three levels."""
    X = california[1]
    level = pd.cut(synthetic["median_house_value"], 3, labels=["low", "middle", "high"]).astype(str)
    numeric = list(X.select_dtypes("number"))
    model = build_pipeline(
        HistGradientBoostingClassifier(max_iter=10, random_state=0),
        numeric=numeric,
        categorical=["ocean_proximity"],
    ).fit(X, level)
    path = tmp_path_factory.mktemp("levels") / "bundle"
    return package_model(model, X, path=path, name="levels", report=False)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, pd.DataFrame]:
    """Two predictions a row, from integers with gaps and the hour; a pickle, without a graph."""
    rng = np.random.default_rng(3)
    count = 400
    rooms = np.where(rng.random(count) < 0.2, None, rng.integers(1, 9, count))
    X = pd.DataFrame(
        {
            "rooms": pd.array(rooms, dtype="Int64"),
            "weight": rng.random(count).astype("float32"),
            "at": pd.Timestamp("2026-01-01")
            + pd.to_timedelta(rng.integers(0, 10**7, count), unit="s"),
        }
    )
    features = FunctionTransformer(
        lambda rows: np.column_stack(
            [rows["rooms"].astype("float64").fillna(0), rows["weight"], rows["at"].dt.hour]
        )
    )
    y = features.transform(X)[:, [0, 2]] * 3.0
    model = make_pipeline(features, LinearRegression()).fit(X, y)
    path = tmp_path_factory.mktemp("mixed") / "bundle"
    return package_model(model, X, path=path, name="mixed", report=False), X


def test_a_cluster_predicts_what_the_bundle_predicts(
    run_spark: Callable[..., str],
    california: Any,
    levels: Bundle,
    mixed: tuple[Bundle, pd.DataFrame],
    tmp_path: Path,
) -> None:
    rows = pd.concat([california[1]] * 30, ignore_index=True).sample(frac=1, random_state=0)
    rows = rows.reset_index(drop=True)
    # columns in another order than in training
    rows[[*reversed(california[1].columns)]].assign(id=range(len(rows))).to_parquet(
        tmp_path / "rows.parquet"
    )
    jobs = [
        {"model": str(california[2].path), "output": str(tmp_path / "price")},
        {"model": str(levels.path), "output": str(tmp_path / "level"), "result_type": STRUCT},
    ]
    jobs = [{**job, "rows": str(tmp_path / "rows.parquet")} for job in jobs]
    # a moment, which Spark shows in the time zone of the session
    bundle, X = mixed
    X.assign(id=range(len(X)), at=X["at"].dt.tz_localize("UTC")).to_parquet(
        tmp_path / "mixed.parquet", coerce_timestamps="us"
    )
    for zone in ("UTC", "Asia/Tokyo"):
        job = {"model": str(bundle.path), "rows": str(tmp_path / "mixed.parquet"), "zone": zone}
        jobs.append({**job, "output": str(tmp_path / zone), "result_type": "array<double>"})
    found = json.loads(run_spark(SCRIPT, tmp_path, {"jobs": jobs}).splitlines()[-1])
    assert found["workers"] == 2
    assert found["listening"]
    assert set(found["listening"]) <= LOOPBACK

    price = pd.read_parquet(tmp_path / "price").sort_values("id")
    assert price["id"].tolist() == list(range(len(rows)))
    np.testing.assert_array_equal(price["prediction"], california[2].predict(rows))

    level = pd.read_parquet(tmp_path / "level").sort_values("id")["prediction"]
    expected = levels.predict(rows)
    assert [each["label"] for each in level] == expected["label"].tolist()
    np.testing.assert_array_equal(
        np.stack([each["probability"] for each in level]), expected["probability"]
    )

    here, there = (
        np.stack(pd.read_parquet(tmp_path / zone).sort_values("id")["prediction"])
        for zone in ("UTC", "Asia/Tokyo")
    )
    np.testing.assert_array_equal(here, bundle.predict(X))
    # what docs/batch.md warns of: nine hours later, and nobody says so
    later = bundle.predict(X.assign(at=X["at"] + pd.Timedelta(hours=9)))
    np.testing.assert_array_equal(there, later)
    assert np.abs(there - here).max() > 1


def test_the_program_of_the_page(
    run_spark: Callable[..., str], california: Any, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "batch.md").read_text("utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "program.py").write_text(program, "utf-8")
    (tmp_path / "bundle").symlink_to(california[2].path)
    california[1].to_parquet(tmp_path / "rows.parquet")
    # what a cluster's own configuration says
    settings = {
        "spark.master": "local-cluster[2,1,1024]",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.hadoop.fs.defaultFS": "file:///",
    }
    lines = [f"{name} {value}\n" for name, value in settings.items()]
    (tmp_path / "spark-defaults.conf").write_text("".join(lines), "utf-8")
    run_spark(
        tmp_path / "program.py",
        tmp_path,
        SPARK_CONF_DIR=str(tmp_path),
        SPARK_LOCAL_IP="127.0.0.1",
        OMP_NUM_THREADS="1",
    )
    found = pd.read_parquet(tmp_path / "scored.parquet")
    names = list(california[1])
    expected = california[1].assign(median_house_value=california[2].predict(california[1]))
    pd.testing.assert_frame_equal(
        found.sort_values(names, ignore_index=True),
        expected.sort_values(names, ignore_index=True),
        check_exact=True,
        check_dtype=False,
    )
