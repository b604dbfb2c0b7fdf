"""The page of a model, in a real browser: what it shows, and what its button does."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser
from sklearn.linear_model import LinearRegression

from pyfunc_packaging import package_model

pytestmark = pytest.mark.usefixtures("all_unchecked")

HOSTILE = "<img src=x onerror=alert(1)>" + "W" * 60


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model whose column is HTML."""
    rows = pd.DataFrame({HOSTILE: [1.0, 2.0, 3.0]})
    path = tmp_path_factory.mktemp("hostile") / "bundle"
    return package_model(LinearRegression().fit(rows, [2, 4, 6]), rows, path=path, name="double")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("which", ["california", "hostile"])
def test_page_works_and_fits(
    browser: Browser,
    california: Any,
    hostile: Any,
    start_server: Callable[..., Any],
    which: str,
    width: int,
    scheme: Any,
) -> None:
    bundle = california[2] if which == "california" else hostile
    server = start_server(bundle.path)
    base = f"http://127.0.0.1:{server.ports['http']}/v2/models/{bundle.name}"
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    messages: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("dialog", lambda dialog: messages.append(dialog.message))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(f"{base}/docs")
    page.wait_for_load_state("networkidle")
    columns = [column.name for column in bundle.schema.columns]
    shown = [row.inner_text().split("\t")[:2] for row in page.query_selector_all("tbody tr")]
    assert shown[: len(columns)] == [["input", name] for name in columns]
    golden = bundle.golden()
    assert json.loads(page.input_value("#request")) == golden["request"]

    page.click("#send")
    page.wait_for_function("document.getElementById('answer').textContent !== ''")
    status, _, answer = page.inner_text("#answer").partition(" ")
    assert status == "200"
    (expected,) = golden["response"]["outputs"]
    assert json.loads(answer)["outputs"][0]["data"] == pytest.approx(expected["data"], rel=1e-12)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {
        f"{base}/docs",
        base,
        f"{base}/docs/dataplane.json",
        f"{base}/infer",
    }

    page.fill("#request", '{"inputs": []}')
    page.click("#send")
    page.wait_for_function("document.getElementById('answer').textContent.startsWith('400')")
    assert "inputs do not match the signature" in page.inner_text("#answer")
    assert page.get_attribute("#answer", "class") == "refused"
    assert "answered in" in page.inner_text("#path")
    # a server that is gone is said to be
    page.route("**/infer", lambda route: route.abort())
    page.click("#send")
    page.wait_for_function("document.getElementById('answer').textContent.startsWith('no answer')")
    assert page.is_enabled("#send")
    page.close()
