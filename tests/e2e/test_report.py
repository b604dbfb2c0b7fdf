"""The model card in a real browser, and its programs against a real server."""

from __future__ import annotations

import html
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import make_pipeline

from pyfunc_packaging import build_pipeline, load_bundle, package_model

pytestmark = pytest.mark.usefixtures("all_unchecked")

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>" + "W" * 60
LONG = "the_average_number_of_rooms_in_a_household_of_the_block_group_" * 2


@pytest.fixture(scope="module")
def hostile(synthetic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A classifier whose columns, categories and labels are HTML."""
    rows = synthetic[["median_income", "ocean_proximity"]].rename(
        columns={"median_income": "income"}
    )
    rows[HOSTILE] = np.where(rows.pop("ocean_proximity") == "INLAND", HOSTILE, "other")
    level = pd.Series(np.where(synthetic["median_house_value"] > 180_000, HOSTILE, "low"))
    model = build_pipeline(
        HistGradientBoostingClassifier(random_state=0, max_iter=5),
        numeric=["income"],
        categorical=[HOSTILE],
    ).fit(rows, level)
    path = tmp_path_factory.mktemp("hostile") / "bundle"
    return package_model(model, rows, y=level, path=path, name="Levels")


@pytest.fixture(scope="module")
def long(synthetic: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A regressor with names that fill three lines, a constant column and an empty one."""
    rows = synthetic[["median_income", "ocean_proximity"]].head(1000)
    rows = rows.set_axis([LONG, "kind " + LONG], axis=1).assign(same=1.0, empty=np.nan)
    rows["kind " + LONG] += " as a survey has it: neither satisfied nor dissatisfied" * 3
    target = synthetic["median_house_value"].head(1000).rename(LONG + "target")
    model = HistGradientBoostingRegressor(random_state=0, max_iter=5)
    numbers = make_column_transformer(("passthrough", [LONG, "same"]))
    pipeline = make_pipeline(numbers, model).fit(rows, target)
    path = tmp_path_factory.mktemp("long") / "bundle"
    return package_model(pipeline, rows, y=target, path=path, name="Long")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("which", ["california", "hostile", "long"])
def test_page_is_quiet_and_fits(
    browser: Browser,
    california: Any,
    hostile: Any,
    long: Any,
    which: str,
    width: int,
    scheme: Any,
) -> None:
    bundle = {"california": california[2], "hostile": hostile, "long": long}[which]
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    address = (bundle.path / "report.html").as_uri()
    page.goto(address)
    page.wait_for_load_state("networkidle")
    assert messages == []
    assert [url for url in requests if not url.startswith("data:")] == [address]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    # nothing is cut off in a card either; a matrix alone may be scrolled
    cut = page.evaluate(
        "[...document.querySelectorAll('.card:not(:has(.matrix)), .tile')]"
        ".filter(each => each.scrollWidth > each.clientWidth).map(each => each.innerText)"
    )
    assert cut == []
    assert page.evaluate("document.scripts.length") == 0
    for heading in ("Quality", "Columns", "Pipeline", "Compilation", "Call it", "Signing"):
        assert page.get_by_role("heading", name=heading, exact=True).is_visible()
    # every plot has ink on it: more than one colour where it stands
    for plot in page.query_selector_all("figure svg"):
        box = plot.bounding_box()
        assert box is not None
        assert box["width"] > 250
        assert box["width"] + box["x"] <= width
    contrast = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    ink, paper = (sum(map(int, re.findall(r"\d+", colour)[:3])) / 765 for colour in contrast)
    assert abs(ink - paper) > 0.7
    assert (ink > paper) == (scheme == "dark")
    page.close()


def test_a_page_printed_from_a_dark_screen_is_dark_on_light(
    browser: Browser, california: Any
) -> None:
    page = browser.new_page(color_scheme="dark")
    page.goto((california[2].path / "report.html").as_uri())
    page.emulate_media(media="print", color_scheme="dark")
    colours = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert colours == ["rgb(27, 34, 48)", "rgb(255, 255, 255)"]
    page.close()


def programs(bundle: Any, server: Any) -> dict[str, str]:
    """The calls that stand in the report, sent to the server's own ports."""
    text = (bundle.path / "report.html").read_text(encoding="utf-8")
    found = dict(re.findall(r'<code id="call-(\w+)">(.*?)</code>', text, flags=re.DOTALL))
    return {
        key: html.unescape(code)
        .replace("127.0.0.1:8080", f"127.0.0.1:{server.ports['http']}")
        .replace("127.0.0.1:8081", f"127.0.0.1:{server.ports['grpc']}")
        for key, code in found.items()
    }


def run(key: str, code: str, folder: Path) -> str:
    if key == "curl":
        command = ["sh", "-c", code.replace("curl ", "curl --silent --fail-with-body ", 1)]
    else:
        (folder / "call.py").write_text(code, encoding="utf-8")
        command = [sys.executable, "-I", str(folder / "call.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("key", ["curl", "requests", "http", "grpc"])
def test_every_call_of_the_report_works(
    california: Any, california_server: Any, key: str, tmp_path: Path
) -> None:
    bundle = california[2]
    expected = bundle.golden()["response"]["outputs"][0]["data"][0]
    answer = run(key, programs(bundle, california_server)[key], tmp_path)
    if key == "curl":
        (found,) = json.loads(answer)["outputs"][0]["data"]
    else:
        assert answer.startswith("median_house_value")
        found = float(re.search(r"\[(.*?)\]", answer)[1])  # type: ignore[index]
    assert found == pytest.approx(expected, rel=1e-6)


def test_calls_of_a_hostile_model_work(hostile: Any, start_server: Any, tmp_path: Path) -> None:
    server = start_server(hostile.path)
    label = hostile.golden()["response"]["outputs"][0]["data"][0]
    calls = programs(hostile, server)
    assert list(calls) == ["curl", "requests", "http", "grpc"]
    assert json.loads(run("curl", calls["curl"], tmp_path))["outputs"][0]["data"] == [label]
    for key in ("requests", "http", "grpc"):
        assert label in run(key, calls[key], tmp_path)


def test_manifest_covers_the_report(california: Any, tmp_path: Path) -> None:
    pipeline, rows, bundle = california
    assert "report.html" in bundle.manifest["files"]
    (metrics,) = bundle.manifest["metrics"]
    assert metrics["target"] == "median_house_value"
    assert metrics["rows"] == len(rows)
    assert 0.5 < metrics["figures"]["r2"] < 1.0
    plain = package_model(pipeline, rows, path=tmp_path / "plain", name="plain", report=False)
    assert not (plain.path / "report.html").exists()
    assert load_bundle(plain.path).manifest["metrics"] == []
