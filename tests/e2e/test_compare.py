"""``pyfunc compare``, on small bundles whose predictions are known by heart."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression
from sklearn.tree import DecisionTreeClassifier

from pyfunc_packaging import package_model
from pyfunc_packaging.cli import main
from pyfunc_packaging.signing import sign_bundle

pytestmark = pytest.mark.usefixtures("all_unchecked")

ROWS = pd.DataFrame({"rooms": [1.0, 2.0, 3.0, 5.0], "age": [4.0, 3.0, 2.0, 9.0]})


class Constant(RegressorMixin, BaseEstimator):
    """An estimator of this test's own, which only a pickle can hold."""

    def fit(self, rows: Any, y: Any) -> Constant:
        self.n_features_in_ = rows.shape[1]
        return self

    def predict(self, rows: Any) -> Any:
        return np.full(len(rows), 7.0)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """``ten`` and ``twenty`` times the rooms; ``more`` columns; trees; a pickle."""
    folder = tmp_path_factory.mktemp("bundles")

    def times(factor: float, *columns: str) -> Any:
        rows = ROWS[list(columns)]
        target = rows["rooms"].rename("price") * factor
        return LinearRegression(fit_intercept=False).fit(rows, target), rows

    def trees(split: float) -> Any:
        labels = np.where(ROWS["rooms"] > split, "large", "small")
        return DecisionTreeClassifier(random_state=0).fit(ROWS, labels), ROWS

    models = {
        "ten": times(10, "rooms"),
        "twenty": times(20, "rooms"),
        "more": times(10, "rooms", "age"),
        "early": trees(1.5),
        "late": trees(2.5),
    }
    for name, (model, rows) in models.items():
        y = rows["rooms"].rename("price") * 10 if isinstance(model, LinearRegression) else None
        package_model(model, rows, y=y, path=folder / name, name=f"model-{name}")
    gaps = ROWS[["rooms"]].where(ROWS[["rooms"]] > 1)
    package_model(
        HistGradientBoostingRegressor().fit(gaps, ROWS["rooms"]),
        gaps,
        path=folder / "gaps",
        name="model-gaps",
    )
    constant = Constant().fit(ROWS[["rooms"]], None)
    package_model(constant, ROWS[["rooms"]], path=folder / "pickle", name="model-pickle")
    return {path.name: path for path in folder.iterdir()}


def compare(bundles: dict[str, Path], a: str, b: str, *options: str, status: int = 0) -> Any:
    arguments = ["compare", str(bundles[a]), str(bundles[b]), *options]
    result = CliRunner().invoke(main, [*arguments, "--json"])
    assert result.exit_code == status, result.output
    return json.loads(result.stdout)


@pytest.fixture
def ten_rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    pd.DataFrame({"rooms": np.arange(10.0), "note": "x"}).to_csv(path, index=False)
    return path


def test_a_bundle_and_itself(bundles: dict[str, Path]) -> None:
    facts = compare(bundles, "ten", "ten", "--fail-on", "breaking", "--fail-on", "predictions")
    assert facts["identical"] is True
    assert facts["a"] == facts["b"]
    assert facts["signature"] == {"breaking": False, "changes": []}
    assert [each["better"] for each in facts["metrics"]] == [None] * 4
    (output,) = facts["predictions"]["outputs"]
    assert (output["rows"], output["differing"], output["largest"]) == (4, 0, 0.0)


def test_other_predictions(bundles: dict[str, Path], ten_rows: Path) -> None:
    facts = compare(bundles, "ten", "twenty", "--input", str(ten_rows))
    # programs rely on these, and docs/cli.md names them: none may go
    parts = ["a", "b", "identical", "signature", "metrics", "speed", "predictions"]
    assert list(facts) == parts
    assert list(facts["a"]) == ["name", "path", "digest", "engine", "bytes", "versions"]
    assert list(facts["predictions"]) == [
        *("source", "engines", "rows", "refused", "reason", "outputs")
    ]
    assert set(facts["metrics"][0]) == {
        *("target", "figure", "a", "b", "difference", "better", "rows")
    }
    assert set(facts["speed"]["recorded"][0]) == {"rows", "engine", "a", "b"}
    assert set(facts["speed"]["measured"][0]) == {"rows", "a", "b"}
    assert set(facts["predictions"]["outputs"][0]) == {
        *("name", "kind", "rows", "differing", "largest", "mean", "relative", "row")
    }
    assert facts["identical"] is False
    assert facts["a"]["name"] == "model-ten"
    assert facts["b"]["path"] == str(bundles["twenty"])
    assert facts["a"]["engine"] == "onnx"
    predictions = facts["predictions"]
    assert (predictions["source"], predictions["rows"]) == (str(ten_rows), 10)
    assert predictions["reason"] is None
    assert predictions["engines"] == {"a": "onnx", "b": "onnx"}
    (output,) = predictions["outputs"]
    assert (output["name"], output["kind"], output["differing"]) == ("price", "number", 9)
    assert output["largest"] == pytest.approx(90)
    assert output["mean"] == pytest.approx(45)
    assert output["relative"] == pytest.approx(0.5)
    assert output["row"] == 10
    figures = {each["figure"]: each for each in facts["metrics"]}
    assert figures["mae"]["a"] == pytest.approx(0, abs=1e-9)
    assert figures["mae"]["b"] == pytest.approx(27.5)
    assert figures["mae"]["difference"] == pytest.approx(27.5)
    assert {each["better"] for each in facts["metrics"]} == {"a"}
    assert figures["r2"]["rows"] == {"a": 4, "b": 4}
    recorded = facts["speed"]["recorded"]
    assert {each["engine"] for each in recorded} == {"onnx", "pyfunc"}
    assert all(each["a"] > 0 and each["b"] > 0 for each in recorded)
    assert [each["rows"] for each in facts["speed"]["measured"]] == [1, 10]
    assert all(0 < each["a"] < 10 and 0 < each["b"] < 10 for each in facts["speed"]["measured"])


def test_labels(bundles: dict[str, Path]) -> None:
    facts = compare(bundles, "early", "late")
    assert facts["signature"]["changes"] == []
    label, chances = facts["predictions"]["outputs"]
    assert label == {
        "name": "label",
        "kind": "label",
        "rows": 4,
        "differing": 1,
        "changes": [{"from": "large", "to": "small", "rows": 1}],
    }
    assert chances["kind"] == "probability"
    assert chances["classes"] == ["large", "small"]
    assert (chances["differing"], chances["largest"], chances["mean"]) == (1, 1.0, 0.25)


def test_a_signature_that_breaks_callers(bundles: dict[str, Path], ten_rows: Path) -> None:
    options = ("--input", str(ten_rows), "--fail-on", "breaking")
    facts = compare(bundles, "ten", "more", *options, status=3)
    assert facts["signature"]["breaking"] is True
    (change,) = facts["signature"]["changes"]
    assert (change["name"], change["what"], change["after"]) == ("age", "added", "double")
    assert facts["predictions"]["rows"] == 0
    reason = facts["predictions"]["reason"]
    assert reason.startswith(f"B refuses the rows: {ten_rows}: the column(s) 'age' are not there")
    assert facts["speed"]["measured"] == []
    # without --fail-on it is a finding, and no failure; the rows of "more" are rows for both
    assert compare(bundles, "ten", "more")["predictions"]["refused"] == 4


def test_the_golden_rows_that_both_take(bundles: dict[str, Path]) -> None:
    """Rows of the one with more columns are rows for both; they predict the same there."""
    facts = compare(bundles, "more", "ten")
    assert facts["predictions"]["source"] == "the golden rows that both take"
    assert facts["predictions"]["rows"] == 4
    assert facts["predictions"]["refused"] == 0
    (output,) = facts["predictions"]["outputs"]
    assert output["differing"] == 0


@pytest.mark.parametrize(
    ("b", "options", "line"),
    [
        ("twenty", ["predictions"], "Failed: predictions differ\n"),
        ("more", ["breaking"], "Failed: the signature breaks callers of A\n"),
        ("early", ["breaking", "predictions"], "Failed: the signature breaks callers of A; "),
        ("pickle", ["predictions"], "Failed: predictions cannot be compared\n"),
    ],
)
def test_fail_on(bundles: dict[str, Path], b: str, options: list[str], line: str) -> None:
    words = [word for option in options for word in ("--fail-on", option)]
    result = CliRunner().invoke(
        main, ["compare", str(bundles["ten"]), str(bundles[b]), *words], env={"COLUMNS": "80"}
    )
    assert result.exit_code == 3
    assert result.stderr.startswith(line)
    assert result.stdout.startswith("     ")


def test_a_pickle_is_loaded_only_when_it_is_trusted(
    bundles: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = compare(bundles, "ten", "pickle")
    assert facts["predictions"]["outputs"] == []
    reason = facts["predictions"]["reason"]
    assert reason.startswith("B is not loaded: ")
    assert "a pickle, which runs code when it is loaded, and PYFUNC_TRUST is data" in reason
    monkeypatch.setenv("PYFUNC_TRUST", "signed")
    assert compare(bundles, "ten", "pickle")["predictions"]["outputs"] == []
    monkeypatch.setenv("PYFUNC_TRUST", "code")
    (output,) = compare(bundles, "ten", "pickle")["predictions"]["outputs"]
    assert output["largest"] == pytest.approx(43)


def test_with_a_key_both_have_to_be_signed(
    bundles: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then ``PYFUNC_TRUST=signed`` loads their pickles."""
    for command in (
        "ecparam -genkey -name prime256v1 -noout -out private.pem",
        "ec -in private.pem -pubout -out public.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
    a, b = (Path(shutil.copytree(bundles["pickle"], tmp_path / name)) for name in "ab")
    monkeypatch.setenv("PYFUNC_VERIFY_KEY", str(tmp_path / "public.pem"))
    monkeypatch.setenv("PYFUNC_TRUST", "signed")
    sign_bundle(a, private_key=tmp_path / "private.pem")
    result = CliRunner().invoke(main, ["compare", str(a), str(b)])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: {b}: not signed")
    sign_bundle(b, private_key=tmp_path / "private.pem")
    facts = compare({"a": a, "b": b}, "a", "b", "--fail-on", "predictions")
    assert facts["predictions"]["engines"] == {"a": "pyfunc", "b": "pyfunc"}


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "arrow"])
def test_rows_of_any_format_and_number(
    bundles: dict[str, Path], tmp_path: Path, ending: str
) -> None:
    """More rows than are held at a time: the one that differs most is found in the second block."""
    rows = pd.DataFrame({"rooms": np.ones(20_000), "note": "x"})
    rows.loc[12_344, "rooms"] = 5.0
    path = tmp_path / f"rows.{ending}"
    if ending == "csv":
        rows.to_csv(path, index=False)
    elif ending == "jsonl":
        rows.to_json(path, orient="records", lines=True)
    elif ending == "parquet":
        rows.to_parquet(path)
    else:
        rows.to_feather(path)
    facts = compare(bundles, "ten", "twenty", "--input", str(path))
    (output,) = facts["predictions"]["outputs"]
    assert (facts["predictions"]["rows"], output["differing"]) == (20_000, 20_000)
    assert (output["largest"], output["row"]) == (pytest.approx(50), 12_345)
    assert [each["rows"] for each in facts["speed"]["measured"]] == [1, 8192]


def test_how_a_file_is_read_can_be_said(bundles: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "rows.txt"
    path.write_text("rooms\n1\n-\n")
    arguments = ["compare", str(bundles["gaps"]), str(bundles["gaps"]), "--input", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "or --input-format with one of csv, jsonl, parquet, arrow" in result.stderr
    options = ("--input", str(path), "--input-format", "csv", "--missing", "-")
    assert compare(bundles, "gaps", "gaps", *options)["predictions"]["rows"] == 2


def test_for_people(bundles: dict[str, Path], ten_rows: Path) -> None:
    arguments = ["compare", str(bundles["ten"]), str(bundles["twenty"]), "--input", str(ten_rows)]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": "300"})
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["A", "B"]
    assert lines[1].split() == ["name", "model-ten", "model-twenty"]
    assert "signature: the same" in lines
    assert "quality: on the rows that package_model() was given: 4" in lines
    assert f"predictions: 10 rows: {ten_rows}" in lines
    (found,) = (line for line in lines if "rows differ" in line)
    assert found == "  price: 9 of 10 rows differ; by 45 on average, 90 at most (row 10)"
    assert "\x1b" not in result.stdout


@pytest.mark.parametrize("width", [30, 60, 80])
def test_on_any_width(bundles: dict[str, Path], width: int) -> None:
    arguments = ["compare", str(bundles["ten"]), str(bundles["more"])]
    result = CliRunner().invoke(main, arguments, env={"COLUMNS": str(width)})
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= width


def test_golden_rows_that_do_not_fit(bundles: dict[str, Path], tmp_path: Path) -> None:
    """Another bundle's signature, with a manifest that vouches for it."""
    forged = Path(shutil.copytree(bundles["ten"], tmp_path / "forged"))
    file = forged / "data" / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["schema"]["inputs"][0]["name"] = "chambers"
    file.write_text(json.dumps(manifest))
    result = CliRunner().invoke(main, ["compare", str(bundles["ten"]), str(forged)])
    assert result.exit_code == 1
    assert "golden.json: the golden rows do not fit the signature" in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"rooms\n1\nten\n", "rows.csv: row 2: column 'rooms': expected"),
        (b"age\n1\n", "rows.csv: the column(s) 'rooms' are not there"),
        (b"", "rows.csv: expected CSV with a line of names, found none"),
        (b"rooms\n", "rows.csv: expected rows, found none"),
    ],
)
def test_rows_that_the_old_model_does_not_take(
    bundles: dict[str, Path], tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(content)
    arguments = ["compare", str(bundles["ten"]), str(bundles["twenty"]), "--input", str(path)]
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_rows_that_can_be_read_only_once(bundles: dict[str, Path], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for rows in ("-", str(tmp_path / "pipe")):
        options = ["--input", rows, "--input-format", "jsonl"]
        command = ["compare", str(bundles["ten"]), str(bundles["twenty"]), *options]
        result = CliRunner().invoke(main, command)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            f"Error: {rows}: expected a file, found a pipe; the rows are read twice, once for each"
            f" model, so save them first\n"
        )


def test_one_change_breaks(bundles: dict[str, Path]) -> None:
    result = CliRunner().invoke(main, ["compare", str(bundles["ten"]), str(bundles["more"])])
    assert "signature: 1 of 1 changes breaks callers of A" in result.stdout
