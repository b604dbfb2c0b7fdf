"""The container of our ClusterServingRuntime, run with the environment that KServe would give it.

What KServe does, read in its source (``kserve/kserve``, Go); merging and filling in are the same in
all versions since 0.11, the injected variables are not:

* ``pkg/controller/v1beta1/inferenceservice/utils``: ``MergeRuntimeContainers`` is a strategic merge
  patch of the InferenceService's ``model`` over the runtime's container, so that ``env`` is merged
  by name and the InferenceService wins. Then ``ReplacePlaceholders`` runs the container, as JSON,
  through a Go template whose data is the InferenceService's metadata.
* ``pkg/apis/serving/v1beta1/inference_service_defaults.go``: ``SetMlServerDefaults`` adds
  ``MLSERVER_MODEL_NAME`` and ``MLSERVER_MODEL_URI`` to the env *of the InferenceService*, unless
  that names them itself (``MLSERVER_LOAD_MODELS_AT_STARTUP=false`` instead, where it has neither
  storageUri nor storage), and overwrites its label ``modelClass`` by the name of the model format:
  mlserver_sklearn.SKLearnModel for any that it does not know. No version injects
  ``MLSERVER_MODEL_IMPLEMENTATION``: KServe's own runtime reads the label,
  ``{{.Labels.modelClass}}``.
* Before 0.17 that is done for the runtime that is called ``kserve-mlserver`` and for no other; from
  0.17 (pull request 5064) for every one with the annotation ``serving.kserve.io/server-type:
  mlserver``. From 0.17 also, every container gets ``INFERENCE_SERVICE_NAME``
  (``components/predictor.go``), behind all others and whatever its own env says.
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.request
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from pyfunc_packaging.inference_service import render_inference_service
from pyfunc_packaging.resolve import ResolvedModel

ROOT = Path(__file__).resolve().parents[2]
NAME = "california-housing-regressor"
SKLEARN = "mlserver_sklearn.SKLearnModel"
CLASSES = {
    "xgboost": "mlserver_xgboost.XGBoostModel",
    "lightgbm": "mlserver_lightgbm.LightGBMModel",
    "mlflow": "mlserver_mlflow.MLflowRuntime",
}


# --- KServe -----------------------------------------------------------------------------------


def set_mlserver_defaults(service: dict[str, Any]) -> None:
    model = service["spec"]["predictor"]["model"]
    injected = {"MLSERVER_MODEL_NAME": service["metadata"]["name"]}
    injected["MLSERVER_MODEL_URI"] = "/mnt/models"
    if "storageUri" not in model and "storage" not in model:
        injected = {"MLSERVER_LOAD_MODELS_AT_STARTUP": "false"}
    env = model.setdefault("env", [])
    names = {each["name"] for each in env}
    env += [{"name": key, "value": injected[key]} for key in injected if key not in names]
    labels = service["metadata"].setdefault("labels", {})
    labels["modelClass"] = CLASSES.get(model["modelFormat"]["name"], SKLEARN)


def make_container(
    runtime: Mapping[str, Any], service: Mapping[str, Any], *, version: tuple[int, int]
) -> dict[str, Any]:
    """The container that a version of KServe puts into the pod."""
    service = deepcopy(dict(service))
    metadata = runtime["metadata"]
    server_type = metadata.get("annotations", {}).get("serving.kserve.io/server-type")
    if metadata["name"] == "kserve-mlserver" or (version >= (0, 17) and server_type == "mlserver"):
        set_mlserver_defaults(service)
    container = deepcopy(runtime["spec"]["containers"][0])
    model = service["spec"]["predictor"]["model"]
    env = {each["name"]: each for each in [*container["env"], *model.get("env", [])]}
    container |= {key: model[key] for key in ("image", "args", "command") if key in model}
    container["env"] = list(env.values())
    container = fill_in(container, service["metadata"])
    if version >= (0, 17):
        value = service["metadata"]["name"]
        container["env"].append({"name": "INFERENCE_SERVICE_NAME", "value": value})
    return container


def fill_in(container: dict[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Go's template, as far as runtimes use it: ``{{.Name}}`` and ``{{.Labels.key}}``."""

    def value(match: re.Match[str]) -> str:
        found: Any = {key.capitalize(): each for key, each in metadata.items()}
        for step in match.group(1).split("."):
            found = found[step]
        return str(found)

    filled = re.sub(r"\{\{\s*\.([\w.]+)\s*\}\}", value, json.dumps(container))
    assert "{{" not in filled
    result: dict[str, Any] = json.loads(filled)
    return result


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["env"]}


# --- ours -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def runtime() -> Any:
    file = ROOT / "docker" / "kserve" / "cluster-serving-runtime.yaml"
    full, _ = yaml.safe_load_all(file.read_text("utf-8"))
    return full


@pytest.fixture(scope="module")
def service() -> Any:
    text = render_inference_service(ResolvedModel("s3://mlflow/1/models/m-0/artifacts"), name=NAME)
    return yaml.safe_load(text)


OLD, NEW = (0, 16), (0, 17)


def test_old_and_new_give_the_same_but_for_one_name(runtime: Any, service: Any) -> None:
    old, new = (environment(make_container(runtime, service, version=each)) for each in (OLD, NEW))
    assert new == {**old, "INFERENCE_SERVICE_NAME": NAME}
    assert old["MLSERVER_MODEL_NAME"] == NAME
    assert old["MLSERVER_MODEL_URI"] == "/mnt/models"
    assert old["MLSERVER_MODEL_IMPLEMENTATION"] == "mlserver_pyfunc.PyFuncRuntime"


def test_the_label_that_kserve_overwrites_is_not_what_we_read(runtime: Any, service: Any) -> None:
    """With KServe's own way of naming the class, an unknown format would get the sklearn one."""
    as_kserve_does = deepcopy(runtime)
    for each in as_kserve_does["spec"]["containers"][0]["env"]:
        if each["name"] == "MLSERVER_MODEL_IMPLEMENTATION":
            each["value"] = "{{.Labels.modelClass}}"
    broken = environment(make_container(as_kserve_does, service, version=NEW))
    assert broken["MLSERVER_MODEL_IMPLEMENTATION"] == SKLEARN
    ours = environment(make_container(runtime, service, version=NEW))
    assert ours["MLSERVER_MODEL_IMPLEMENTATION"] == "mlserver_pyfunc.PyFuncRuntime"


def test_the_inference_service_wins(runtime: Any, service: Any) -> None:
    changed = deepcopy(service)
    changed["spec"]["predictor"]["model"]["env"] = [
        {"name": "MLSERVER_MODEL_NAME", "value": "other"},
        {"name": "PYFUNC_VERSIONS", "value": "warn"},
    ]
    for version in (OLD, NEW):
        found = environment(make_container(runtime, changed, version=version))
        assert found["MLSERVER_MODEL_NAME"] == "other"
        assert found["PYFUNC_VERSIONS"] == "warn"


#: Makes a directory /mnt/models, where nobody else sees it, and runs a program.
IN_POD = (
    'mount -t tmpfs tmpfs /mnt && mkdir /mnt/models && mount --bind "$0" /mnt/models && exec "$@"'
)


def pod(bundle: Path, container: Mapping[str, Any], image: Mapping[str, str]) -> Any:
    """A command, as a function of the ports, that runs the container's with its environment."""
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "-r", "--mount"]
    serve = [sys.executable, "-Im", "pyfunc_packaging", "serve"]

    def command(ports: dict[str, int]) -> list[str]:
        # several of these may run at once, and listen to nobody but this test
        env = {**image, **environment(container), "MLSERVER_HOST": "127.0.0.1"}
        env |= {f"MLSERVER_{name.upper()}_PORT": str(port) for name, port in ports.items()}
        words = [f"{key}={value}" for key, value in env.items()]
        return [*unshare, "sh", "-c", IN_POD, str(bundle), "env", "-i", *words, *serve]

    return command


def image_environment() -> dict[str, str]:
    """ENV of docker/Dockerfile, with this machine's path to the programs."""
    text = (ROOT / "docker" / "Dockerfile").read_text("utf-8").replace("\\\n", "")
    (block,) = re.findall(r"^ENV (PATH=/opt/pyfunc.*)$", text, re.MULTILINE)
    pairs = dict(word.split("=", 1) for word in block.split())
    return {**pairs, "PATH": os.environ["PATH"]}


@pytest.mark.parametrize(
    ("version", "injected"),
    [
        pytest.param(OLD, {}, id="before 0.17"),
        pytest.param(NEW, {}, id="from 0.17"),
        # no version does; a webhook of somebody's might
        pytest.param(NEW, {"MLSERVER_MODEL_IMPLEMENTATION": SKLEARN}, id="the wrong class"),
        pytest.param(NEW, {"MLSERVER_LOAD_MODELS_AT_STARTUP": "false"}, id="load nothing"),
    ],
)
def test_the_container_predicts(
    version: tuple[int, int],
    injected: dict[str, str],
    runtime: Any,
    service: Any,
    california: Any,
    request_body: Any,
    start_program: Callable[..., Any],
) -> None:
    pipeline, X, bundle = california
    service = deepcopy(service)
    env = [{"name": name, "value": value} for name, value in injected.items()]
    service["spec"]["predictor"]["model"]["env"] = env
    container = make_container(runtime, service, version=version)
    assert environment(container).items() >= injected.items()
    assert not {"command", "args"} & set(container)  # the image's own are what runs

    server = start_program(pod(bundle.path, container, image_environment()))
    answer = server.infer(NAME, request_body)
    assert answer.status == 200, answer.text
    columns = {tensor["name"]: tensor["data"] for tensor in request_body["inputs"]}
    expected = pipeline.predict(pd.DataFrame(columns)[list(X.columns)])
    assert answer.json["outputs"][0]["data"] == pytest.approx(expected.tolist(), rel=1e-9)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server.request(container[probe]["httpGet"]["path"]).status == 200
    annotations = runtime["spec"]["annotations"]
    url = f"http://127.0.0.1:{server.ports['metrics']}{annotations['prometheus.io/path']}"
    with urllib.request.urlopen(url, timeout=30) as metrics:
        assert b"model_infer_request_success" in metrics.read()
    assert server.stop() == 0
