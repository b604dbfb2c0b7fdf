import functools
import json
import os
import shutil
import subprocess
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from pyfunc_packaging.cli import main
from pyfunc_packaging.errors import InvalidDeployment
from pyfunc_packaging.inference_service import diff, render_inference_service
from pyfunc_packaging.resolve import ResolvedModel

ROOT = Path(__file__).resolve().parents[2]
KSERVE = ROOT / "docker" / "kserve"
CRDS = ROOT.parent / "shared" / "data" / "kserve-crds"
KUBERNETES = "1.33"

MODEL = ResolvedModel(
    "s3://mlflow/1/models/m-0/artifacts",
    name="CaliforniaHousingRegressor",
    version="3",
    alias="production",
    digest=f"sha256:{'0' * 64}",
)
EVERYTHING = {
    "name": "housing",
    "namespace": "models",
    "runtime": "mlserver-pyfunc-slim",
    "service_account": "mlserver-pyfunc",
    "min_replicas": 0,
    "max_replicas": 4,
    "target_concurrency": 8,
    "canary_percent": 10,
    "mode": "knative",
    "verify_key_secret": "pyfunc-verify-key",
}


def documents():
    """Everything in docker/kserve, and what we render."""
    for file in sorted(KSERVE.glob("*.yaml")):
        if file.name not in ("kustomization.yaml", "image-fields.yaml"):
            for number, document in enumerate(yaml.safe_load_all(file.read_text("utf-8"))):
                yield pytest.param(document, id=f"{file.stem}-{number}")
    for name, options in (("plain", {"name": "housing"}), ("everything", EVERYTHING)):
        text = render_inference_service(MODEL, **options)
        yield pytest.param(yaml.safe_load(text), id=f"rendered-{name}")


def close(schema):
    """The schema, refusing fields that it does not know, as ``kubectl apply`` does."""
    if isinstance(schema, list):
        return [close(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(value) for key, value in schema.items()}
    if isinstance(closed.get("properties"), dict) and "type" in closed:
        closed.setdefault("additionalProperties", False)
    return closed


@functools.cache
def kserve_validator(kind, version):
    """Of KServe's schema; made without checking the schema itself, which takes many seconds."""
    file = CRDS / f"{kind}.{version}.json"
    if not file.is_file():
        pytest.skip(f"KServe's schema of {kind} is not here ({file})")
    return jsonschema.Draft7Validator(close(json.loads(file.read_text("utf-8"))))


@pytest.mark.parametrize("document", list(documents()))
def test_kubernetes_and_kserve_accept(document):
    kind, version = document["kind"], document["apiVersion"]
    if "/" not in version:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    kserve_validator(kind, version.rpartition("/")[2]).validate(document)


def test_kserve_lets_a_service_name_the_image_of_its_model():
    document = yaml.safe_load(render_inference_service(MODEL, name="housing"))
    document["spec"]["predictor"]["model"]["image"] = "registry.example/housing:1"
    kserve_validator("InferenceService", "v1beta1").validate(document)


def test_the_schema_would_notice_a_misspelt_field():
    validator = kserve_validator("InferenceService", "v1beta1")
    document = yaml.safe_load(render_inference_service(MODEL, name="housing"))
    document["spec"]["predictor"]["model"]["storageURI"] = "s3://bucket/model"
    with pytest.raises(jsonschema.ValidationError, match="storageURI"):
        validator.validate(document)


@pytest.mark.parametrize("target", ["full", "slim"])
def test_the_pod_of_a_runtime_is_a_valid_pod(target):
    runtimes = yaml.safe_load_all((KSERVE / "cluster-serving-runtime.yaml").read_text("utf-8"))
    spec = {each["spec"]["containers"][0]["image"]: each["spec"] for each in runtimes}[
        f"mlserver-pyfunc:0.1.0-{target}"
    ]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "predictor", "annotations": spec["annotations"]},
        "spec": {"containers": spec["containers"], "volumes": spec["volumes"]},
    }
    kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_both_runtimes_differ_in_the_image_only():
    text = (KSERVE / "cluster-serving-runtime.yaml").read_text("utf-8")
    full, slim = yaml.safe_load_all(text)
    assert full["metadata"]["name"] == "mlserver-pyfunc"
    assert slim["metadata"]["name"] == "mlserver-pyfunc-slim"
    assert {each["name"] for each in full["spec"]["supportedModelFormats"]} == {"pyfunc", "mlflow"}
    assert slim["spec"].pop("supportedModelFormats") == [{"name": "pyfunc", "version": "1"}]
    full["spec"].pop("supportedModelFormats")
    images = [each["spec"]["containers"][0].pop("image") for each in (full, slim)]
    assert images == ["mlserver-pyfunc:0.1.0-full", "mlserver-pyfunc:0.1.0-slim"]
    assert full["spec"] == slim["spec"]


def test_the_example_is_what_the_command_renders():
    text = (KSERVE / "inference-service.yaml").read_text("utf-8")
    document = yaml.safe_load(text)
    annotations = document["metadata"]["annotations"]
    model = ResolvedModel(
        document["spec"]["predictor"]["model"]["storageUri"],
        name="CaliforniaHousingRegressor",
        version=annotations["pyfunc.mlserver/version"],
        digest=annotations["pyfunc.mlserver/digest"],
    )
    rendered = render_inference_service(
        model,
        name="california-housing-regressor",
        service_account="mlserver-pyfunc",
        min_replicas=1,
        max_replicas=3,
    )
    lines = text.splitlines(keepends=True)
    assert "".join(line for line in lines if not line.startswith("#")) == rendered


def test_kustomize_renders_all_of_it():
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed here")
    done = subprocess.run(
        [kubectl, "kustomize", str(KSERVE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "HOME": "/nonexistent"},
    )
    assert done.returncode == 0, done.stderr
    rendered = list(yaml.safe_load_all(done.stdout))
    for document in rendered:
        if "/" not in document["apiVersion"]:
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
    assert sorted((each["kind"], each["metadata"]["name"]) for each in rendered) == [
        ("ClusterServingRuntime", "mlserver-pyfunc"),
        ("ClusterServingRuntime", "mlserver-pyfunc-slim"),
        ("InferenceService", "california-housing-regressor"),
        ("Secret", "mlserver-pyfunc-s3"),
        ("Secret", "mlserver-pyfunc-s3-aws"),
        ("ServiceAccount", "mlserver-pyfunc"),
    ]


def test_everything_that_can_be_said():
    text = render_inference_service(MODEL, **EVERYTHING)
    assert text == render_inference_service(MODEL, **EVERYTHING)
    assert yaml.safe_load(text) == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": "housing",
            "namespace": "models",
            "annotations": {
                "pyfunc.mlserver/registry-name": "CaliforniaHousingRegressor",
                "pyfunc.mlserver/version": "3",
                "pyfunc.mlserver/digest": f"sha256:{'0' * 64}",
                "serving.kserve.io/deploymentMode": "Knative",
            },
        },
        "spec": {
            "predictor": {
                "serviceAccountName": "mlserver-pyfunc",
                "minReplicas": 0,
                "maxReplicas": 4,
                "scaleMetric": "concurrency",
                "scaleTarget": 8,
                "canaryTrafficPercent": 10,
                "model": {
                    "modelFormat": {"name": "pyfunc", "version": "1"},
                    "protocolVersion": "v2",
                    "runtime": "mlserver-pyfunc-slim",
                    "storageUri": "s3://mlflow/1/models/m-0/artifacts",
                    "env": [
                        {"name": "MLSERVER_MODEL_VERSION", "value": "3"},
                        {
                            "name": "PYFUNC_VERIFY_KEY",
                            "valueFrom": {
                                "secretKeyRef": {
                                    "name": "pyfunc-verify-key",
                                    "key": "verify-key.pem",
                                }
                            },
                        },
                    ],
                },
            }
        },
    }


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("CaliforniaHousingRegressor", "california-housing-regressor"),
        ("california_housing", "california-housing"),
        ("XGBModel v2.1", "xgb-model-v2-1"),
        ("3d-model", "d-model"),
        ("-x-", "x"),
        ("a" * 54, "a" * 53),
        ("model/ünïcode", "model-n-code"),
    ],
)
def test_a_name_that_is_no_dns_label_comes_back_as_one(name, suggestion):
    with pytest.raises(InvalidDeployment, match="is no DNS label") as caught:
        render_inference_service(MODEL, name=name)
    assert str(caught.value).endswith(f"; try {suggestion!r}")
    assert f"name: {suggestion}\n" in render_inference_service(MODEL, name=suggestion)


def test_a_name_without_a_letter_has_no_suggestion():
    with pytest.raises(InvalidDeployment, match=r"not ending with '-'$"):
        render_inference_service(MODEL, name="模型")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"namespace": "My_Team"}, "namespace 'My_Team' is no DNS label"),
        ({"runtime": "MLServer"}, "runtime 'MLServer' is no Kubernetes name"),
        ({"service_account": "a b"}, "service account 'a b' is no Kubernetes name"),
        ({"verify_key_secret": "key/x"}, "verify-key secret 'key/x' is no Kubernetes name"),
        ({"min_replicas": -1}, "min replicas: expected at least 0, found -1"),
        ({"max_replicas": 0}, "max replicas: expected at least 1, found 0"),
        ({"min_replicas": 3, "max_replicas": 2}, "min replicas 3 is more than max replicas 2"),
        ({"canary_percent": 101, "mode": "knative"}, "canary percent: expected 0 to 100"),
        ({"target_concurrency": 0, "mode": "knative"}, "expected at least 1, found 0"),
        ({"min_replicas": 0}, "(scale to zero) needs Knative"),
        ({"target_concurrency": 8}, "target concurrency needs Knative"),
        ({"canary_percent": 10}, "canary percent needs Knative"),
        ({"mode": "serverless"}, "expected 'standard' or 'knative'"),
    ],
)
def test_settings_that_would_be_refused_or_ignored(options, words):
    with pytest.raises(InvalidDeployment) as caught:
        render_inference_service(MODEL, **{"name": "housing", **options})
    assert words in str(caught.value)


@pytest.mark.parametrize("uri", ["/srv/models/price", "file:///srv/models", "wasbs://c@a/m"])
def test_places_that_a_pod_cannot_reach(uri):
    with pytest.raises(InvalidDeployment, match="a pod cannot fetch the model from there"):
        render_inference_service(ResolvedModel(uri), name="price")


def test_a_storage_uri_has_no_slash_at_its_end():
    with pytest.raises(InvalidDeployment, match=r"pass s3://b/m$"):
        render_inference_service(ResolvedModel("s3://b/m/"), name="price")


def test_diff_of_equal_texts_is_empty():
    text = render_inference_service(MODEL, name="housing")
    assert diff(text, text, name="housing.yaml") == ""


# --- the command ------------------------------------------------------------------------------


def manifest(*arguments):
    return CliRunner().invoke(main, ("manifest", "s3://b/m/", "--no-check", *arguments))


def test_the_command_writes_the_file_whole(tmp_path):
    file = tmp_path / "price.yaml"
    printed = manifest("--name", "price")
    assert printed.exit_code == 0
    assert "storageUri: s3://b/m\n" in printed.output
    assert manifest("--name", "price", "--output", str(file)).output == ""
    assert file.read_text("utf-8") == printed.output
    assert file.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [file]


def test_a_refused_command_writes_nothing(tmp_path):
    file = tmp_path / "price.yaml"
    result = manifest("--name", "Price!", "--output", str(file))
    assert result.exit_code == 1
    assert result.output.startswith("Error: name 'Price!' is no DNS label")
    assert result.output.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    absent = manifest("--name", "price", "--output", str(tmp_path / "no" / "price.yaml"))
    assert absent.exit_code == 1
    assert f"the folder {tmp_path / 'no'} is not there; make it first" in absent.output


def test_diff_says_what_would_change_and_exits_1(tmp_path):
    file = tmp_path / "price.yaml"
    manifest("--name", "price", "--output", str(file))
    same = manifest("--name", "price", "--diff", str(file))
    assert (same.exit_code, same.output) == (0, "")
    other = manifest("--name", "price", "--max-replicas", "2", "--diff", str(file))
    assert other.exit_code == 1
    assert other.output.startswith(f"--- {file}\n+++ {file} (resolved now)\n@@ ")
    assert "\n+    maxReplicas: 2\n" in other.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--name", "Price!"), "Error: name 'Price!' is no DNS label"),
        (("--name", "price", "--artifact-root", "gs://b"), "Error: artifact root 'gs://b'"),
    ],
)
def test_diff_tells_a_refusal_from_a_difference(tmp_path, arguments, words):
    file = tmp_path / "price.yaml"
    file.write_text("", encoding="utf-8")
    refused = manifest(*arguments, "--diff", str(file))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith(words)
    assert refused.stderr.count("\n") == 1
    assert manifest(*arguments).exit_code == 1


def test_diff_with_a_file_that_is_no_text(tmp_path):
    file = tmp_path / "price.yaml"
    file.write_bytes(b"\xff\xfe")
    refused = manifest("--name", "price", "--diff", str(file))
    assert refused.exit_code == 2
    assert f"{file}: cannot be read" in refused.stderr


def test_wrong_usage(tmp_path):
    file = tmp_path / "price.yaml"
    assert manifest().exit_code == 2
    assert manifest("--name", "price", "--diff", str(file)).exit_code == 2
    file.write_text("", encoding="utf-8")
    both = manifest("--name", "price", "--diff", str(file), "--output", str(file))
    assert both.exit_code == 2
    assert "--diff only compares" in both.output
