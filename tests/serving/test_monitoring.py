"""Alerts, dashboard and documentation, against a real server that a real Prometheus scrapes."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.linear_model import LogisticRegression

from mlserver_pyfunc.refusals import FAULTS, REASONS
from pyfunc_packaging import package_model

ROOT = Path(__file__).resolve().parents[2]
MONITORING = ROOT / "docker" / "monitoring"
DOCS = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))
PATIENCE = 60

#: What Grafana puts in for its variables.
VARIABLES = {
    "$__rate_interval": "20s",
    "$window": "20s",
    "$namespace": ".*",
    "$model": ".*",
}


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"expected {name} on PATH, found none; install Debian's package prometheus"
    return found


def expressions() -> list[tuple[str, str]]:
    """Every query of the dashboard, by its panel's title."""
    found = []
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            found.append((panel["title"], query))
    return found


# --- rules, by Prometheus' own tool -------------------------------------------------------------


@pytest.mark.parametrize(
    "command",
    [
        ("check", "rules", "alerts.yaml"),
        ("check", "config", "prometheus.yaml"),
        ("test", "rules", "alerts_test.yaml"),
    ],
    ids=" ".join,
)
def test_promtool_is_content(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [program("promtool"), *command], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_an_alert_that_would_not_fire_is_noticed(tmp_path: Path) -> None:
    """The tests of the rules can fail: with a threshold that nothing reaches, they do."""
    rules = (MONITORING / "alerts.yaml").read_text(encoding="utf-8")
    (tmp_path / "alerts.yaml").write_text(re.sub(r"> 0\.\d+\n", "> 7\n", rules), encoding="utf-8")
    shutil.copy(MONITORING / "alerts_test.yaml", tmp_path)
    done = subprocess.run(
        [program("promtool"), "test", "rules", "alerts_test.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "FAILED" in done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [rule for group in ALERTS["groups"] for rule in group["rules"]]


def test_every_alert_is_tested_both_ways_and_says_what_to_do() -> None:
    tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text(encoding="utf-8"))["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    fires = {check["alertname"] for check in checks if check["exp_alerts"]}
    quiet = {check["alertname"] for check in checks if not check["exp_alerts"]}
    names = {rule["alert"] for rule in rules()}
    assert names == fires == quiet
    for rule in rules():
        assert f"\n### {rule['alert']}\n" in DOCS
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{rule['alert'].lower()}"
    assert set(re.findall(r"^### (Pyfunc\w+)$", DOCS, re.M)) == names


def test_faults_are_the_same_reasons_everywhere() -> None:
    for text in [rule["expr"] for rule in rules()] + [query for _, query in expressions()]:
        for reasons in re.findall(r'reason!?~"([^"]+)"', text):
            assert sorted(reasons.split("|")) == sorted(FAULTS)


def test_documentation_lists_every_reason() -> None:
    listed = re.findall(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| \d{3} \|", DOCS, re.M)
    assert sorted(re.findall(r"`(\w+)`", " ".join(listed))) == sorted(REASONS)


# --- a real server and a real Prometheus --------------------------------------------------------


@pytest.fixture(scope="module")
def servers(
    california: Any, start_server: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> list[Any]:
    """A regressor and a classifier."""
    rows = pd.DataFrame({"x": np.linspace(-1, 1, 40)})
    target = pd.Series(np.where(rows["x"] > 0.5, "yes", "no"))
    kinds = package_model(
        LogisticRegression().fit(rows, target),
        rows,
        path=tmp_path_factory.mktemp("kinds") / "bundle",
        name="kinds",
    )
    return [start_server(california[2].path), start_server(kinds.path)]


def scrape(server: Any) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.ports['metrics']}/metrics") as response:
        return str(response.read().decode())


def test_documentation_and_server_agree(servers: list[Any]) -> None:
    """Names, kinds and labels, both ways."""
    documented = {
        name: (kind, set(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(
            r"^\| `(pyfunc_\w+)` \| (\w+) \| ([^|]*)\|", DOCS, re.MULTILINE
        )
    }
    exposed: dict[str, tuple[str, set[str]]] = {}
    for text in map(scrape, servers):
        kinds = dict(re.findall(r"^# TYPE (pyfunc_\w+) (\w+)$", text, re.MULTILINE))
        for name, labels in re.findall(r"^(pyfunc_\w+)\{(.*)\} ", text, re.MULTILINE):
            family = name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)
            found = set(re.findall(r'(\w+)="', labels)) - {"model", "version"}
            if kinds[family] == "histogram":
                found -= {"le"}
            exposed[family] = (kinds[family], found)
    assert documented == exposed


def test_every_series_that_is_asked_for_is_there(servers: list[Any]) -> None:
    """In rules, dashboard and documentation."""
    exposed = set(re.findall(r"^(pyfunc_\w+)\{", "".join(map(scrape, servers)), re.MULTILINE))
    files = [path.read_text(encoding="utf-8") for path in MONITORING.glob("*.*")]
    asked = set(re.findall(r"\bpyfunc_\w+", "".join(files)))
    assert len(asked) > 15
    assert asked <= exposed


@pytest.fixture(scope="module")
def prometheus(servers: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Prometheus that has scraped both servers for some seconds of traffic."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / "alerts.yaml")]
    targets = [f"127.0.0.1:{server.ports['metrics']}" for server in servers]
    config["scrape_configs"][0]["static_configs"] = [{"targets": targets}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for_traffic(url, servers, process, folder / "log")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for_traffic(
    url: str, servers: list[Any], process: subprocess.Popen[bytes], log: Path
) -> None:
    """Send requests, good and bad, until both models have been seen to answer."""
    request = json.loads(
        (ROOT / "models" / "california_housing" / "request.json").read_text(encoding="utf-8")
    )
    kind = {"inputs": [{"name": "x", "shape": [2], "datatype": "FP64", "data": [0.0, 0.9]}]}
    deadline = time.monotonic() + PATIENCE
    while True:
        assert servers[0].infer("CaliforniaHousingRegressor", request).status == 200
        assert servers[0].infer("CaliforniaHousingRegressor", {"inputs": []}).status == 400
        assert servers[1].infer("kinds", kind).status == 200
        assert process.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        try:
            if len(ask(url, "rate(pyfunc_rows_total[20s]) > 0.5")) == 2:
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)


def ask(url: str, query: str) -> list[Any]:
    """What Prometheus answers, which is an error (400) for a query that makes no sense."""
    with urllib.request.urlopen(
        f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=30
    ) as response:
        content = json.loads(response.read())
    assert content["status"] == "success"
    found: list[Any] = content["data"]["result"]
    return found


def test_every_panel_shows_something(prometheus: str) -> None:
    found = {query: (title, len(ask(prometheus, query))) for title, query in expressions()}
    assert len(found) > 15
    empty = {title for title, count in found.values() if count == 0}
    assert empty == set()


def test_variables_find_their_values(prometheus: str) -> None:
    variables = [each for each in DASHBOARD["templating"]["list"] if each["type"] == "query"]
    found = {}
    for variable in variables:
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
        assert query is not None
        series = ask(prometheus, query[1].replace("$namespace", ".*"))
        found[variable["name"]] = {each["metric"].get(query[2]) for each in series}
    # there is no Kubernetes here, which would have given a namespace
    assert found == {"namespace": {None}, "model": {"CaliforniaHousingRegressor", "kinds"}}


def test_panels_say_what_was_sent(prometheus: str) -> None:
    queries = dict(expressions())
    ready = ask(prometheus, queries["Servers that answer"])
    assert sorted((each["metric"]["model"], each["value"][1]) for each in ready) == [
        ("CaliforniaHousingRegressor", "1"),
        ("kinds", "1"),
    ]
    shares = ask(prometheus, queries["Labels of classifiers"])
    assert {each["metric"]["label"]: float(each["value"][1]) for each in shares} == (
        pytest.approx({"no": 0.5, "yes": 0.5}, abs=0.05)
    )
    refusals = ask(prometheus, queries["Refusals by reason"])
    assert [each["metric"]["reason"] for each in refusals] == ["missing_input"]


def test_every_rule_can_be_evaluated(prometheus: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(f"{prometheus}/api/v1/rules", timeout=30) as response:
            groups = json.loads(response.read())["data"]["groups"]
        found = [rule for group in groups for rule in group["rules"]]
        if all(rule["health"] == "ok" for rule in found):
            break
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    assert len(found) == len(rules())


# --- the dashboard itself -----------------------------------------------------------------------


def test_panels_do_not_overlap_and_have_a_source_and_a_text() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
        if panel["type"] != "row":
            assert panel["description"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    identities = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identities)) == len(identities)


#: Panels that show what an alert looks at.
ALERTED = {
    "PyfuncFaults": "Requests that end with a 5xx",
    "PyfuncSlow": "Duration of requests",
    "PyfuncQueueFull": "Waiting requests",
    "PyfuncUnseenCategories": "Unseen categories",
    "PyfuncOutsideRange": "Outside the range",
    "PyfuncMissingValues": "Missing values beyond training's",
    "PyfuncPredictionShift": "Distance from training's predictions",
}


@pytest.mark.parametrize("alert", ALERTED)
def test_a_panel_draws_the_threshold_of_its_alert(alert: str) -> None:
    [panel] = [each for each in DASHBOARD["panels"] if each["title"] == ALERTED[alert]]
    [rule] = [each for each in rules() if each["alert"] == alert]
    base, step = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert (base["value"], step["color"]) == (None, "red")
    assert str(step["value"]) in re.findall(r"> ([\d.]+)\s*$", rule["expr"], re.MULTILINE)
    assert panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"] == {"mode": "dashed"}


def test_an_empty_panel_says_why() -> None:
    texts = {
        panel["title"]: panel["fieldConfig"]["defaults"]["noValue"]
        for panel in DASHBOARD["panels"]
        if panel["type"] != "row"
    }
    assert len(texts) == 15
    assert all(text[:2] == "No" for text in texts.values())
    # half of this row is empty for every model, and names the other half
    assert "Labels of classifiers" in texts["Distribution of predictions"]
    assert "Distribution of predictions" in texts["Labels of classifiers"]
