"""The model card: figures, where errors are, what hostile names become, and what never fails."""

from __future__ import annotations

import logging
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from pyfunc_packaging.profile import profile
from pyfunc_packaging.report import REPORT_FILE, Subject, write_report
from pyfunc_packaging.report.evaluation import Target, evaluate
from pyfunc_packaging.report.highlights import describe_target
from pyfunc_packaging.report.importance import permutation_importance
from pyfunc_packaging.report.metrics import by_category, by_decile, figures
from pyfunc_packaging.report.render import render
from pyfunc_packaging.report.steps import describe_steps
from pyfunc_packaging.trial import make_schema

HOSTILE = "<script>alert('x')</script>\"&'$x_{"


def make_subject(model, rows, y, **changes):
    schema = make_schema(model, rows, y, None)
    from pyfunc_packaging.package import _make_golden

    facts = {
        "name": "model",
        "model": model,
        "rows": rows,
        "y": y,
        "schema": schema,
        "graph": None,
        "compilation": {"file": None, "step": "step", "reason": "a reason"},
        "reference": {"file": "data/model.skops", "serialization": "skops", "reason": None},
        "versions": {"python": "3.11", "mlserver-pyfunc": "0"},
        "golden": _make_golden(model, schema, rows),
        "profile": profile(schema.columns, rows),
    }
    return Subject(**(facts | changes))


@pytest.fixture
def rows():
    rng = np.random.default_rng(5)
    return pd.DataFrame({"a": rng.normal(size=200), "b": rng.normal(size=200)})


@pytest.fixture
def regression(rows):
    y = (3 * rows["a"] + 0.1 * rows["b"]).rename("price")
    return make_subject(LinearRegression().fit(rows, y), rows, y + 1)


@pytest.fixture
def classification(rows):
    y = pd.Series(np.where(rows["a"] > 0, "yes", "no"), name="answer")
    model = LogisticRegression().fit(rows, y)
    return make_subject(model, rows, y)


def test_regression_has_its_figures(regression):
    _, (metrics,) = render(regression)
    assert metrics["target"] == "price"
    assert metrics["kind"] == "regression"
    assert metrics["rows"] == 200
    assert list(metrics["figures"]) == ["r2", "mae", "rmse", "median_ae"]
    # every prediction is one too low
    assert metrics["figures"]["mae"] == pytest.approx(1.0)
    assert metrics["figures"]["rmse"] == pytest.approx(1.0)


def test_classification_has_its_figures(classification):
    html, (metrics,) = render(classification)
    assert metrics["kind"] == "classification"
    assert list(metrics["figures"]) == ["accuracy", "balanced_accuracy", "log_loss", "roc_auc"]
    right = (classification.model.predict(classification.rows) == classification.y).mean()
    assert metrics["figures"]["accuracy"] == pytest.approx(right)
    assert "Confusion matrix" in html
    assert "Calibration" in html
    assert "Predicted against actual" not in html


def test_what_stands_out_is_said_first(rows, classification):
    rows = rows.assign(city=["Rome", "Oslo"] * 100, same=1.0, empty=np.nan, gappy=rows["a"])
    rows.loc[:49, "gappy"] = np.nan
    y = (3 * rows["a"]).rename("price")
    # ten times as wrong in Oslo, and too low
    found = y - np.where(rows["city"] == "Oslo", 10.0, 1.0)
    subject = make_subject(_Ignores().fit(rows, y), rows, found)
    html, _ = render(subject)
    titles = re.findall(r"<dt>([A-Z][^<]+)</dt><dd>([^<]+)</dd>", html)
    assert dict(titles) == {
        "Depends most on": "a",
        "Least right": (
            "city Oslo: mean error 10, 1.8 times that of all rows; 10 too high on average"
        ),
        "No value at all": "empty",
        "Always the same": "same",
        "Often missing": "gappy (25.0%)",
    }
    # of a classifier, which labels it takes for one another
    target = Target(
        "a", "a", ("x", "y"), np.arange(4), np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    )
    assert describe_target(target, None, [], {}) == [
        ("Mistaken most often", "x is taken for y in 2 of its 3 rows")
    ]
    assert "Mistaken most often" in render(classification)[0]


def test_numbers_of_a_column_have_digits_alike(rows):
    y = (30_000 * rows["a"]).rename("price")
    html, _ = render(make_subject(_Ignores().fit(rows, y), rows, y + rows["b"] * 100))
    table = html[html.index("Error by tenth") :]
    cells = re.findall(r'<td class="right">([^<]+)</td>', table[: table.index("</table>")])
    errors, biases = cells[1::3], cells[2::3]
    assert len(errors) == len(biases) == 10
    # a real minus, and as many decimals in each
    assert any(bias.startswith("−") for bias in biases)
    decimals = {len(cell.partition(".")[2]) for cell in errors}
    assert len(decimals) == 1


def test_three_classes_of_integers(rows):
    y = pd.Series(np.digitize(rows["a"], [-0.5, 0.5]) * 10, name="level")
    html, (metrics,) = render(make_subject(LogisticRegression().fit(rows, y), rows, y))
    assert metrics["rows"] == 200
    assert 0.9 < metrics["figures"]["roc_auc"] <= 1.0
    assert html.count('scope="col">20</th>') == 1


def test_without_a_target_nothing_is_measured(regression):
    subject = make_subject(regression.model, regression.rows, None)
    html, metrics = render(subject)
    assert metrics == []
    assert "pass y= to have it measured" in html


def test_missing_targets_are_left_out(regression):
    y = regression.y.copy()
    y.iloc[:50] = np.nan
    html, (metrics,) = render(make_subject(regression.model, regression.rows, y))
    assert metrics["rows"] == 150
    assert "150 of 200 rows" in html


def test_two_targets_are_measured_each(rows):
    y = pd.DataFrame({"low": rows["a"], "high": rows["b"] * 2})
    _, metrics = render(make_subject(LinearRegression().fit(rows, y), rows, y))
    assert [each["target"] for each in metrics] == ["low", "high"]
    assert all(each["figures"]["r2"] == pytest.approx(1.0) for each in metrics)


def test_a_constant_prediction_and_a_constant_column(rows):
    rows = rows.assign(b=1.0)
    y = pd.Series(7.0, index=rows.index)
    html, (metrics,) = render(make_subject(DummyRegressor().fit(rows, y), rows, y))
    assert metrics["figures"]["mae"] == 0.0
    assert "Residuals" in html


def test_names_and_categories_are_text_and_nothing_else(rows):
    rows = rows.assign(**{HOSTILE: [HOSTILE, "other"] * 100})
    y = rows["a"].rename(HOSTILE + "target")

    html, _ = render(make_subject(_Ignores().fit(rows, y), rows, y, name="model"))
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 6
    assert "&#34;&amp;&#39;$x_{" in html


def test_hostile_labels_and_reasons(rows):
    y = pd.Series(np.where(rows["a"] > 0, HOSTILE, "no"))
    model = LogisticRegression().fit(rows, y)
    facts = {"file": None, "step": HOSTILE, "reason": HOSTILE}
    html, _ = render(make_subject(model, rows, y, compilation=facts))
    assert "<script" not in html
    assert "&lt;script&gt;" in html


def test_page_loads_nothing(regression):
    html, _ = render(regression)
    assert not re.search(r'(src|href)="(?!#|data:,)', html.replace("xlink:", ""))
    assert "<script" not in html
    assert "@import" not in html
    assert "default-src 'none'" in html


def test_same_facts_make_the_same_page(regression, classification):
    for subject in (regression, classification):
        assert render(subject) == render(subject)


def test_ids_are_unique(regression):
    html, _ = render(regression)
    # matplotlib repeats a definition of the same content under the same id
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) > 20
    assert len(ids) == len(set(ids))


def test_plots_take_their_colours_from_the_page(regression):
    html, _ = render(regression)
    assert "var(--accent)" in html
    assert "#040506" not in html
    assert "currentColor" in html


def test_large_tables_stay_small(rows):
    rng = np.random.default_rng(0)
    many = pd.DataFrame({"a": rng.normal(size=30_000), "b": rng.normal(size=30_000)})
    y = (many["a"] + rng.normal(size=30_000)).rename("price")
    html, _ = render(make_subject(LinearRegression().fit(many, y), many, y))
    assert len(html.encode()) < 300_000


def test_wide_tables_show_their_first_columns():
    wide = pd.DataFrame(np.random.default_rng(1).normal(size=(20, 160))).add_prefix("c")
    html, _ = render(make_subject(LinearRegression().fit(wide, wide["c0"]), wide, None))
    assert html.count("<article") == 150
    assert "first 150 of 160" in html
    assert "Takes 160 columns" in html


def test_importance_finds_what_matters(regression):
    evaluation = evaluate(regression)
    found = permutation_importance(evaluation.targets[0], evaluation)
    assert [name for name, _ in found.increases] == ["a", "b"]
    assert found.increases[0][1] > 10 * found.increases[1][1]
    assert found.left_out == 0


def test_no_importance_where_shuffled_rows_are_refused(rows):
    class Picky(LinearRegression):
        def predict(self, X):
            if not (X["b"] > X["a"]).all():
                raise ValueError("b should be above a")
            return super().predict(X)

    rows = rows.assign(b=rows["a"] + 1e-6)
    y = rows["a"].rename("price")
    evaluation = evaluate(make_subject(Picky().fit(rows, y), rows, y))
    assert permutation_importance(evaluation.targets[0], evaluation) is None


def test_errors_by_decile_and_category(rows):
    rows = rows.assign(city=pd.Series(["Rome", "Oslo", None, "Rome"] * 50, dtype=object))
    y = rows["a"].rename("price")
    shift = rows["city"].map({"Rome": 1.0, "Oslo": -2.0}).fillna(0.0)
    target = Target("price", "price", None, np.arange(200), y.to_numpy(), (y + shift).to_numpy())

    class Evaluated:
        pass

    Evaluated.rows = rows
    subject = make_subject(_Ignores().fit(rows, y), rows, y)
    groups = by_category(target, Evaluated, subject.schema.columns)["city"]
    assert [(g.label, g.rows, round(g.error, 6), round(g.bias, 6)) for g in groups] == [
        ("Rome", 100, 1.0, 1.0),
        ("Oslo", 50, 2.0, -2.0),
        ("missing", 50, 0.0, 0.0),
    ]
    deciles = by_decile(target)
    assert [group.rows for group in deciles] == [20] * 10
    assert figures(target)["mae"] == pytest.approx(1.0)


class _Ignores(LinearRegression):
    """Looks at one column only."""

    def fit(self, X, y):
        return super().fit(X[["a"]].to_numpy(), y)

    def predict(self, X):
        return super().predict(X[["a"]].to_numpy())


def test_a_slow_model_is_shown_on_fewer_rows(rows, monkeypatch):
    monkeypatch.setattr("pyfunc_packaging.report.evaluation._BUDGET", 0.0)
    monkeypatch.setattr("pyfunc_packaging.report.evaluation._FIRST_ROWS", 50)
    y = rows["a"].rename("price")
    html, (metrics,) = render(make_subject(KNeighborsRegressor().fit(rows, y), rows, y))
    assert metrics["rows"] == 50
    assert "50 of 200 rows" in html


def test_steps_name_what_is_not_default():
    step = describe_steps(KNeighborsRegressor(n_neighbors=3))
    assert (step.kind, step.settings) == ("KNeighborsRegressor", ["n_neighbors=3"])


def test_a_failing_report_is_a_warning(regression, tmp_path, caplog, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError("in a plot")

    monkeypatch.setattr("pyfunc_packaging.report.plots.residuals", fail)
    with caplog.at_level(logging.WARNING):
        assert write_report(tmp_path, regression) == []
    assert "ZeroDivisionError: in a plot" in caplog.text
    assert not (tmp_path / REPORT_FILE).exists()


def test_report_warns_of_nothing(classification, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = write_report(tmp_path, classification)
    assert metrics[0]["figures"]["accuracy"] > 0.9
    assert (tmp_path / REPORT_FILE).stat().st_size > 10_000
