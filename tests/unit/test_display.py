"""What a notebook shows of a bundle."""

from __future__ import annotations

import html
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression, LogisticRegression

from pyfunc_packaging import load_bundle, package_model

HOSTILE = "<script>alert('x')</script>&\""


class Texts(HTMLParser):
    """The tags of a page, and its text without the style sheet."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.texts = [], [], []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return "".join(self.texts)


def test_it_shows_what_matters(california):
    bundle = california[2]
    shown = Texts(bundle._repr_html_())
    assert "Bundle CaliforniaHousingRegressor" in shown.text
    assert "ocean_proximity string, may be missing" in shown.text
    assert "median_house_value double" in shown.text
    assert "times as fast as the pipeline" in shown.text
    assert "R² 0." in shown.text
    assert "median_house_value on the 3,000 rows that package_model() was given" in shown.text
    assert bundle.digest in shown.text
    assert f"{len(bundle.manifest['files'])} files" in shown.text
    assert f"pyfunc serve {bundle.path}" in shown.text
    assert "curl -H 'Content-Type: application/json' http://127.0.0.1:8080/v2/models/" in shown.text
    assert "report.html" in shown.text


def test_names_are_escaped(tmp_path, unchecked):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({HOSTILE: rng.normal(size=50)})
    labels = np.where(rows[HOSTILE] > 0, HOSTILE, "no")
    model = LogisticRegression().fit(rows, labels)
    bundle = package_model(model, rows, y=labels, path=tmp_path / "b & <b>", name="m")
    page = bundle._repr_html_()
    shown = Texts(page)
    assert "script" not in shown.tags
    assert "b" not in shown.tags
    assert shown.text.count(HOSTILE) >= 2
    assert f"FP64 of {HOSTILE}, no" in shown.text
    assert html.escape(HOSTILE) in page


def test_reason_of_a_pipeline_that_serves_itself(tmp_path, unchecked):
    rows = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(rows, [1.0, 2.0, 3.0])
    bundle = package_model(model, rows, path=tmp_path / "b", name="m", compile="off", report=False)
    shown = Texts(bundle._repr_html_())
    assert "pyfunc, the pipeline itself; not compiled (compile='off')" in shown.text
    assert "report.html" not in shown.text
    assert "quality" not in shown.text


def test_older_bundles_and_removed_ones_are_shown(california, tmp_path):
    bundle = load_bundle(shutil.copytree(california[2].path, tmp_path / "bundle"))
    older = {key: bundle.manifest[key] for key in bundle.manifest if key not in ("metrics",)}
    assert "quality" not in Texts(replace(bundle, manifest=older)._repr_html_()).text
    shutil.rmtree(bundle.path)
    assert "not there any more" in Texts(bundle._repr_html_()).text


def test_showing_loads_no_plots(california):
    program = (
        "import sys; from pyfunc_packaging import load_bundle;"
        f" load_bundle({str(california[2].path)!r})._repr_html_();"
        " print(*{'matplotlib', 'jinja2', 'sklearn', 'mlflow', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
