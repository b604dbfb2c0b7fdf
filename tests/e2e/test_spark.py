"""``mlflow.pyfunc.spark_udf`` on a bundle, on a real cluster of two workers on this machine."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
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

pytestmark = pytest.mark.usefixtures("all_unchecked")

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("spark_job.py")
#: 127.0.0.1 as /proc/net/tcp and /proc/net/tcp6 write it.
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}
PAGE = (ROOT / "docs" / "batch.md").read_text("utf-8")


@pytest.fixture(scope="session")
def spark_python(make_environment: Callable[[str], Path]) -> Path:
    """Python with PySpark and MLflow, without this project: a bundle brings what it needs."""
    return make_environment("spark")


@pytest.fixture(scope="session")
def run_spark(spark_python: Path) -> Callable[..., str]:
    """Run a program in that environment until all its processes ended; what it printed."""

    def run(script: Path, folder: Path, asked: Any) -> str:
        process = subprocess.Popen(
            [str(spark_python), "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            start_new_session=True,
        )
        out, errors = process.communicate(json.dumps(asked), timeout=280)
        # the JVM says much more than Python's reason, and says it last
        assert process.returncode == 0, errors[errors.find("Traceback") :][:5000]
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


@dataclass(frozen=True)
class Scored:
    """What one cluster did: its tables in a folder, and what it found out."""

    folder: Path
    rows: pd.DataFrame
    report: dict[str, Any]

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.folder / name).sort_values("id", ignore_index=True)


@pytest.fixture(scope="module")
def scored(
    run_spark: Callable[..., str],
    california: Any,
    levels: Bundle,
    mixed: tuple[Bundle, pd.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
) -> Scored:
    """All of it on one cluster, whose start takes most of the time."""
    folder = tmp_path_factory.mktemp("scored")
    rows = pd.concat([california[1]] * 10, ignore_index=True).sample(frac=1, random_state=0)
    rows = rows.reset_index(drop=True).assign(id=range(len(rows)))
    # columns in another order than in training
    rows[[*reversed(list(rows))]].to_parquet(folder / "many.parquet")
    # moments, which Spark shows in the time zone of the session
    X = mixed[1].assign(id=range(len(mixed[1])), at=mixed[1]["at"].dt.tz_localize("UTC"))
    X.to_parquet(folder / "moments.parquet", coerce_timestamps="us")
    moments = {
        "model": str(mixed[0].path),
        "rows": str(folder / "moments.parquet"),
        "result_type": "array<double>",
    }
    many = str(folder / "many.parquet")
    jobs = [
        {"model": str(california[2].path), "rows": many, "output": str(folder / "price")},
        {
            "model": str(levels.path),
            "rows": many,
            "output": str(folder / "level"),
            "result_type": "struct<label:string,probability:array<double>>",
        },
        {**moments, "output": str(folder / "here")},
        {**moments, "output": str(folder / "there"), "zone": "Asia/Tokyo"},
    ]
    # what the program on the page reads
    shutil.copytree(california[2].path, folder / "bundle")  # MLflow follows no link
    california[1].to_parquet(folder / "rows.parquet")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    said = run_spark(SCRIPT, folder, {"jobs": jobs, "program": program})
    return Scored(folder, rows, json.loads(said.splitlines()[-1]))


def test_there_are_two_workers_that_only_this_machine_can_reach(scored: Scored) -> None:
    assert scored.report["workers"] == 2
    assert scored.report["listening"]
    assert set(scored.report["listening"]) <= LOOPBACK


def test_predictions_are_the_bundles_own(scored: Scored, california: Any) -> None:
    price = scored.read("price")
    assert price["id"].tolist() == list(range(len(scored.rows)))
    np.testing.assert_array_equal(price["prediction"], california[2].predict(scored.rows))


def test_a_classifier_has_its_label_and_its_probabilities(scored: Scored, levels: Bundle) -> None:
    level, expected = scored.read("level")["prediction"], levels.predict(scored.rows)
    assert [each["label"] for each in level] == expected["label"].tolist()
    np.testing.assert_array_equal(
        np.stack([each["probability"] for each in level]), expected["probability"]
    )


def test_datetimes_are_those_of_the_session(
    scored: Scored, mixed: tuple[Bundle, pd.DataFrame]
) -> None:
    bundle, X = mixed
    here, there = (np.stack(scored.read(name)["prediction"]) for name in ("here", "there"))
    np.testing.assert_array_equal(here, bundle.predict(X))
    # what the page warns of: nine hours later, and nobody says so
    later = bundle.predict(X.assign(at=X["at"] + pd.Timedelta(hours=9)))
    np.testing.assert_array_equal(there, later)
    assert np.abs(there - here).max() > 1


def test_the_program_of_the_page(scored: Scored, california: Any) -> None:
    found = pd.read_parquet(scored.folder / "scored.parquet")
    X, names = california[1], list(california[1])
    expected = X.assign(median_house_value=california[2].predict(X))
    pd.testing.assert_frame_equal(
        found.sort_values(names, ignore_index=True),
        expected.sort_values(names, ignore_index=True),
        check_exact=True,
        check_dtype=False,
    )
