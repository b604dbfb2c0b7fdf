"""The example notebook, run from top to bottom as a person would."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLE = Path(__file__).resolve().parents[2] / "models" / "california_housing"
NOTEBOOK = EXAMPLE / "california_housing.ipynb"


@pytest.fixture(scope="module")
def committed() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The notebook after a run in a copy of its folder, with the folder."""
    folder = tmp_path_factory.mktemp("notebook")
    shutil.copy(EXAMPLE / "data.py", folder)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return notebook, folder


def printed(notebook: Any) -> str:
    return "".join(
        output.text
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stdout"
    )


def shown(notebook: Any, kind: str) -> list[str]:
    return [
        output.data[kind]
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if kind in output.get("data", {})
    ]


def test_it_is_committed_without_outputs(committed: Any) -> None:
    cells = [cell for cell in committed.cells if cell.cell_type == "code"]
    assert len(cells) > 8
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}
    nbformat.validate(committed)


def test_it_compares_the_server_with_the_pipeline(executed: Any) -> None:
    text = printed(executed[0])
    assert "20640 synthetic block groups" in text
    assert "serving at http://127.0.0.1:" in text
    assert "one row, from DataFrame to answer: " in text
    assert "4,128 rows, largest relative difference " in text


def test_it_shows_plots_bundle_and_report(executed: Any) -> None:
    notebook, folder = executed
    assert len(shown(notebook, "image/png")) == 2
    pages = shown(notebook, "text/html")
    assert any('class="pyfunc-bundle"' in page and "times as fast" in page for page in pages)
    assert any('src="bundle/report.html"' in page for page in pages)
    assert "4,128 rows" in (folder / "bundle" / "report.html").read_text(encoding="utf-8")


def test_it_warns_of_nothing(executed: Any) -> None:
    written = "".join(
        output.text
        for cell in executed[0].cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    )
    # what MLflow says when it registers
    for line in re.split(r"[\r\n]+", written.strip()):
        assert re.match(
            r"Successfully registered model|Created version '1'|"
            r".* INFO mlflow\.store\.db\.utils: ",
            line,
        ), line


def test_progress_leaves_one_line(executed: Any) -> None:
    texts = shown(executed[0], "text/plain")
    bars = [text for text in texts if text.startswith("package CaliforniaHousing")]
    assert len(bars) == 2  # one for each call
    for bar in bars:
        assert re.search(r"4/4 \[\d\d:\d\d, done\] *$", bar), bar


def test_it_registers_and_resolves(executed: Any) -> None:
    notebook, folder = executed
    (place,) = re.findall(r"version 1 in (.+)", printed(notebook))
    assert re.fullmatch(rf"{re.escape(str(folder))}/mlruns/\d+/models/m-\w+/artifacts", place)
    assert (Path(place) / "data" / "manifest.json").is_file()
