"""``pyfunc predict``: files in, files out, whatever happens in between."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from pyfunc_packaging import Bundle, package_model

pytestmark = pytest.mark.usefixtures("all_unchecked")

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "batch.md").read_text("utf-8")
PREDICT = [sys.executable, "-Im", "pyfunc_packaging", "predict"]
LINE = "0,1.5,{},a text that nobody reads and that is passed through as it is\n"

Run = subprocess.CompletedProcess[str]


def predict(bundle: Bundle, *options: Any, env: dict[str, str] | None = None, **more: Any) -> Run:
    command = [*PREDICT, str(bundle.path), *map(str, options)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(env or {})},
        **more,
    )


def refused(bundle: Bundle, *options: Any, **more: Any) -> str:
    """The one line that a refusal is."""
    done = predict(bundle, *options, **more)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    return line.removeprefix("Error: ")


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """y = 2 x + 1 of one column, which costs nothing to predict."""
    X = pd.DataFrame({"x": [0.0, 1.0, 2.0, 3.0]})
    model = LinearRegression().fit(X, 2 * X["x"] + 1)
    path = tmp_path_factory.mktemp("line") / "bundle"
    return package_model(model, X, path=path, name="line", output_name="y", report=False)


@pytest.fixture
def rows(california: Any) -> pd.DataFrame:
    rows = california[1].copy()
    rows["id"] = [f"{number:07d}" for number in range(len(rows))]
    return rows


def write(rows: pd.DataFrame, path: Path) -> Path:
    kind = path.suffix[1:]
    if kind == "csv":
        rows.to_csv(path, index=False)
    elif kind == "jsonl":
        rows.to_json(path, orient="records", lines=True, double_precision=15)
    elif kind == "parquet":
        rows.to_parquet(path)
    else:
        rows.to_feather(path)
    return path


def read(path: Path) -> pd.DataFrame:
    kind = path.suffix[1:]
    if kind == "csv":
        return pd.read_csv(path, dtype={"id": str})
    if kind == "jsonl":
        return pd.DataFrame(map(json.loads, path.read_text("utf-8").splitlines()))
    return pd.read_parquet(path) if kind == "parquet" else pd.read_feather(path)


@pytest.mark.parametrize("source", ["csv", "jsonl", "parquet", "feather"])
@pytest.mark.parametrize("result", ["csv", "jsonl", "parquet", "arrow"])
def test_predictions_are_the_bundles_own_in_the_rows_own_order(
    california: Any, rows: pd.DataFrame, tmp_path: Path, source: str, result: str
) -> None:
    bundle = california[2]
    given = write(rows, tmp_path / f"rows.{source}")
    done = predict(bundle, "--input", given, "--output", tmp_path / f"scored.{result}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nobody watches
    assert done.stdout.startswith(f"predicted: {tmp_path}/scored.{result} (3,000 rows in ")
    found = read(tmp_path / f"scored.{result}")
    assert list(found) == [*rows, "median_house_value"]
    assert found["id"].tolist() == rows["id"].tolist()
    pd.testing.assert_frame_equal(
        found[list(rows)], rows, check_dtype=False, check_exact=True, check_column_type=False
    )
    np.testing.assert_array_equal(found["median_house_value"], bundle.predict(rows))


def test_a_classifier_has_a_label_and_a_probability_for_each_class(
    california: Any, synthetic: pd.DataFrame, tmp_path: Path
) -> None:
    X = california[1].select_dtypes("number")
    level = pd.cut(synthetic["median_house_value"], 3, labels=["low", "middle", "high"]).astype(str)
    model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(X, level)
    bundle = package_model(model, X, path=tmp_path / "bundle", name="level", report=False)
    given = write(X, tmp_path / "rows.parquet")
    options = ["--input", given, "--only-predictions", "--prefix", "my_"]
    done = predict(bundle, *options, "--output", tmp_path / "scored.csv")
    assert done.returncode == 0, done.stderr
    found, expected = read(tmp_path / "scored.csv"), bundle.predict(X)
    classes = ["high", "low", "middle"]
    assert list(found) == ["my_label", *(f"my_probability_{name}" for name in classes)]
    assert found["my_label"].tolist() == expected["label"].tolist()
    np.testing.assert_array_equal(found.iloc[:, 1:], expected["probability"])


def test_pipes_and_cells_that_pass_as_they_came(line: Bundle) -> None:
    given = 'id,x,note\n007,1.50,"a, b"\n,2e0,""\n'
    options = ["--input", "-", "--output", "-", "--input-format", "csv", "--output-format"]
    done = predict(line, *options, "csv", input=given)
    assert done.returncode == 0, done.stderr
    assert done.stdout == 'id,x,note,y\n007,1.50,"a, b",4\n,2e0,"",5\n'
    assert done.stderr.startswith("predicted: - (2 rows in ")
    done = predict(line, *options, "jsonl", input=given)
    assert [json.loads(row) for row in done.stdout.splitlines()] == [
        {"id": "007", "x": 1.5, "note": "a, b", "y": 4},
        {"id": None, "x": 2, "note": "", "y": 5},
    ]
    assert "cannot go through a pipe" in refused(
        line, "--input", "-", "--output", "-", "--input-format", "parquet", "--output-format", "csv"
    )


@pytest.mark.parametrize("result", ["csv", "jsonl", "parquet", "arrow"])
def test_no_rows_make_a_file_without_rows(line: Bundle, tmp_path: Path, result: str) -> None:
    (tmp_path / "rows.csv").write_text("x,id\n", "utf-8")
    output = tmp_path / f"scored.{result}"
    done = predict(line, "--input", tmp_path / "rows.csv", "--output", output)
    assert done.returncode == 0, done.stderr
    assert "(0 rows in" in done.stdout
    assert output.is_file()
    if result != "jsonl":
        assert list(read(output)) == ["x", "id", "y"]


def test_the_commands_of_the_page(
    california: Any, synthetic: pd.DataFrame, rows: pd.DataFrame, tmp_path: Path
) -> None:
    commands = "".join(re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))
    assert commands.count("pyfunc predict") == 4
    (tmp_path / "bundle").symlink_to(california[2].path)
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "rows.csv.gz").write_bytes(gzip.compress(rows.to_csv(index=False).encode()))
    synthetic.to_csv(tmp_path / "housing.csv", index=False)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(r"```text\n(predicted.*\n)```", PAGE)

    def without_times(line: str) -> str:
        return re.sub(r"rows in .* a second", "", line)

    assert without_times(done.stdout.splitlines(keepends=True)[0]) == without_times(shown)
    expected = california[2].predict(rows)
    for name, column in {
        "scored.parquet": "median_house_value",
        "scored.jsonl": "median_house_value",
        "scored.csv": "predicted_median_house_value",
        "predictions.csv": "median_house_value",
    }.items():
        np.testing.assert_array_equal(read(tmp_path / name)[column], expected, err_msg=name)
    assert list(read(tmp_path / "predictions.csv")) == ["median_house_value"]


# --- refusals -------------------------------------------------------------------------------


def make_lines(path: Path, count: int, *, bad: int | None = None) -> Path:
    """``count`` rows, of which number ``bad`` has text where a number should be."""
    with path.open("w", encoding="utf-8") as file:
        file.write("id,x,n,note\n")
        for start in range(1, count + 1, 10_000):
            numbers = range(start, min(start + 10_000, count + 1))
            file.write("".join(map(LINE.format, numbers)))
    if bad is not None:
        content = path.read_bytes()
        row = LINE.format(bad).encode()
        assert content.count(row) == 1
        path.write_bytes(content.replace(row, row.replace(b"1.5", b"l.5")))
    return path


def test_a_bad_cell_is_found_with_its_row_and_column(line: Bundle, tmp_path: Path) -> None:
    given = make_lines(tmp_path / "rows.csv", 1_300_000, bad=1_234_567)
    message = refused(line, "--input", given, "--output", tmp_path / "scored.parquet")
    assert message == f"{given}: row 1,234,567: column 'x': expected a number, found 'l.5'"
    assert f"\nError: rows.csv{message.removeprefix(str(given))}\n" in PAGE
    assert list(tmp_path.iterdir()) == [given]


def test_a_bad_cell_is_found_in_every_format(line: Bundle, tmp_path: Path) -> None:
    rows = pd.DataFrame({"x": np.arange(20_000.0)})
    rows.loc[12_345, "x"] = np.inf
    for kind in ("csv", "parquet", "arrow"):
        given = write(rows, tmp_path / f"rows.{kind}")
        message = refused(line, "--input", given, "--output", tmp_path / "scored.csv")
        assert message.startswith(f"{given}: row 12,346: column 'x': expected a finite number")


def test_a_row_that_the_model_itself_refuses_is_found(tmp_path: Path) -> None:
    X = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0]})
    model = make_pipeline(FunctionTransformer(np.exp), LinearRegression()).fit(X, X["x"])
    bundle = package_model(model, X, path=tmp_path / "bundle", name="exp", report=False)
    rows = pd.DataFrame({"x": np.linspace(1, 4, 20_000)})
    rows.loc[17_000, "x"] = 5000.0
    for engine in ("onnx", "pyfunc"):
        given = write(rows, tmp_path / "rows.parquet")
        options = ["--input", given, "--output", tmp_path / "scored.csv"]
        done = predict(bundle, *options, env={"PYFUNC_ENGINE": engine})
        assert done.returncode == 1
        assert f"Error: {given}: row 17,001: the model " in done.stderr.splitlines()[-1]
        assert not (tmp_path / "scored.csv").exists()


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("id\n1\n", [], "the column(s) 'x' are not there; the model takes x, the file has id"),
        ("x,y\n1,2\n", [], "the column 'y' is there already"),
        ("x\n1\n\n1,2\n", [], "row 2: expected 1 columns, found 2"),
        ("x\n1\n", ["--output-format", "csv", "--prefix", "x"], None),
        ("", [], "expected CSV with a line of names, found none"),
    ],
)
def test_what_does_not_fit_is_said_at_once(
    line: Bundle, tmp_path: Path, content: str, options: list[str], message: str | None
) -> None:
    given, output = tmp_path / "rows.csv", tmp_path / "scored.csv"
    given.write_text(content, "utf-8")
    if message is None:
        assert predict(line, "--input", given, "--output", output, *options).returncode == 0
        return
    found = refused(line, "--input", given, "--output", output, *options)
    assert found.startswith(f"{given}: {message}")
    assert list(tmp_path.iterdir()) == [given]


def test_paths_that_cannot_be(line: Bundle, tmp_path: Path) -> None:
    given = make_lines(tmp_path / "rows.csv", 3)
    output = tmp_path / "scored.csv"
    assert "expected a name that ends in .csv" in refused(
        line, "--input", tmp_path / "rows.xls", "--output", output
    )
    assert "No such file" in refused(line, "--input", tmp_path / "no.csv", "--output", output)
    assert "the folder" in refused(line, "--input", given, "--output", tmp_path / "no" / "a.csv")
    output.write_text("precious", "utf-8")
    assert refused(line, "--input", given, "--output", output).endswith(
        "scored.csv: is there already; --overwrite replaces it"
    )
    assert output.read_text("utf-8") == "precious"
    assert predict(line, "--input", given, "--output", output, "--overwrite").returncode == 0
    # a table may even be replaced by itself with predictions
    assert predict(line, "--input", given, "--output", given, "--overwrite").returncode == 0
    assert given.read_bytes() == output.read_bytes()


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "arrow"])
def test_a_full_disk_is_said_in_a_line(line: Bundle, tmp_path: Path, kind: str) -> None:
    given, output = make_lines(tmp_path / "rows.csv", 50_000), tmp_path / f"scored.{kind}"
    # files may have 100 kB; what a full disk says differs in its number only
    limited = ["bash", "-c", 'ulimit -f 100; exec "$@"', "bash", *PREDICT, str(line.path)]
    done = subprocess.run(
        [*limited, "--input", str(given), "--output", str(output)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(
        rf"Error: {output}: cannot be written \(.*File too large.*\n", done.stderr
    ), done.stderr
    assert list(tmp_path.iterdir()) == [given]


def test_a_pickle_needs_trust_as_it_does_in_a_server(tmp_path: Path) -> None:
    X = pd.DataFrame({"x": [1.0, 2.0, 3.0]})
    model = make_pipeline(FunctionTransformer(lambda rows: rows * 3), LinearRegression())
    model.fit(X, X["x"])
    bundle = package_model(
        model, X, path=tmp_path / "bundle", name="lambda", report=False, compile="off"
    )
    options = ["--input", write(X, tmp_path / "rows.csv"), "--output", tmp_path / "scored.csv"]
    message = refused(bundle, *options, env={"PYFUNC_TRUST": "data"})
    assert "a pickle, which runs code when it is loaded, and PYFUNC_TRUST is data" in message
    assert predict(bundle, *options, env={"PYFUNC_TRUST": "code"}).returncode == 0


# --- processes that die, and memory ---------------------------------------------------------


def start(bundle: Bundle, given: Path, output: Path) -> subprocess.Popen[bytes]:
    options = ["--input", str(given), "--output", str(output), "--overwrite"]
    return subprocess.Popen([*PREDICT, str(bundle.path), *options], stdout=subprocess.DEVNULL)


def wait_for(process: subprocess.Popen[bytes], true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert process.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture(scope="module")
def many(line: Bundle, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """400,000 rows, and what is made of them."""
    folder = tmp_path_factory.mktemp("many")
    given = make_lines(folder / "rows.csv", 400_000)
    done = predict(line, "--input", given, "--output", folder / "scored.csv")
    assert done.returncode == 0, done.stderr
    return given, (folder / "scored.csv").read_bytes()


@pytest.mark.parametrize("old", [None, b"the old one"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.8])
def test_kill_9_leaves_the_old_file_or_none(
    line: Bundle, many: tuple[Path, bytes], tmp_path: Path, share: float, old: bytes | None
) -> None:
    given, expected = many
    output, beside = tmp_path / "scored.csv", tmp_path / ".scored.csv.partial"
    if old is not None:
        output.write_bytes(old)
    process = start(line, given, output)
    wait_for(process, lambda: beside.exists() and beside.stat().st_size >= share * len(expected))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert beside.is_file()
    assert (output.read_bytes() if output.exists() else None) == old
    done = predict(line, "--input", given, "--output", output, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [output]


def test_two_processes_do_not_write_one_file(
    line: Bundle, many: tuple[Path, bytes], tmp_path: Path
) -> None:
    given, expected = many
    output, beside = tmp_path / "scored.csv", tmp_path / ".scored.csv.partial"
    process = start(line, given, output)
    wait_for(process, lambda: beside.exists() and beside.stat().st_size > 0)
    process.send_signal(signal.SIGSTOP)
    try:
        message = refused(line, "--input", given, "--output", output)
    finally:
        process.send_signal(signal.SIGCONT)
    assert message == f"{output}: another process is writing it; wait for that"
    assert process.wait(timeout=60) == 0
    assert output.read_bytes() == expected


def test_ctrl_c_leaves_nothing_behind(
    line: Bundle, many: tuple[Path, bytes], tmp_path: Path
) -> None:
    beside = tmp_path / ".scored.csv.partial"
    process = start(line, many[0], tmp_path / "scored.csv")
    wait_for(process, lambda: beside.exists() and beside.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert list(tmp_path.iterdir()) == []


def peak_memory(bundle: Bundle, given: Path, output: Path) -> float:
    """MB that a run has resident at most."""
    process = start(bundle, given, output)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss / 1024


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_file(line: Bundle, tmp_path: Path, kind: str) -> None:
    sizes = []
    for count in (200_000, 2_000_000):
        given = make_lines(tmp_path / f"{count}.csv", count)
        sizes.append(given.stat().st_size / 2**20)
        if kind == "parquet":
            table = pyarrow.csv.read_csv(given)
            given = tmp_path / f"{count}.parquet"
            # one row group of all rows is the worst case
            pyarrow.parquet.write_table(
                table, given, row_group_size=count, compression="none", use_dictionary=False
            )
            del table
    assert sizes[1] - sizes[0] > 120
    small, large = (
        peak_memory(line, tmp_path / f"{count}.{kind}", tmp_path / f"scored.{kind}")
        for count in (200_000, 2_000_000)
    )
    assert large < small + 60
