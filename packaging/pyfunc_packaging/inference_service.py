"""Write the KServe ``InferenceService`` that serves one resolved model version."""

from __future__ import annotations

import difflib
import re
from typing import Any, Literal
from urllib.parse import urlsplit

import yaml

from pyfunc_packaging.errors import InvalidDeployment
from pyfunc_packaging.resolve import ResolvedModel

#: Prefix of our annotations. They say which version was pinned, to people and to ``--diff``.
ANNOTATIONS = "pyfunc.mlserver"
#: The key of a verify-key secret that holds the public key, in PEM.
VERIFY_KEY = "verify-key.pem"

Mode = Literal["standard", "knative"]
#: What KServe calls the modes since 0.16; ``RawDeployment`` and ``Serverless`` are its old names.
_MODES = {"standard": "Standard", "knative": "Knative"}
_LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
#: KServe appends ``-predictor`` to the name, and the sum has to be a DNS label too.
_LONGEST_NAME = 63 - len("-predictor")
_LONGEST_LABEL = 63
_LONGEST_SUBDOMAIN = 253
#: Schemes that KServe's storage initializer downloads a directory from.
_DOWNLOADABLE = ("s3", "gs", "hdfs", "webhdfs", "https", "hf", "oci", "pvc")


def render_inference_service(
    model: ResolvedModel,
    *,
    name: str,
    namespace: str | None = None,
    runtime: str = "mlserver-pyfunc",
    service_account: str | None = None,
    min_replicas: int | None = None,
    max_replicas: int | None = None,
    target_concurrency: int | None = None,
    canary_percent: int | None = None,
    mode: Mode = "standard",
    verify_key_secret: str | None = None,
) -> str:
    """Describe how KServe should serve a model version; the same input gives the same text.

    Parameters
    ----------
    model : ResolvedModel
        What ``resolve_model_uri`` found.
    name : str
        Name of the InferenceService, and of the model that it serves.
    namespace : str, optional
        Kubernetes namespace; left out, ``kubectl`` decides.
    runtime : str
        The ``ClusterServingRuntime`` (or ``ServingRuntime``).
    service_account : str, optional
        Service account that carries the S3 credentials.
    min_replicas, max_replicas : int, optional
        How many pods; ``min_replicas=0`` (scale to zero) works in the mode ``"knative"``.
    target_concurrency : int, optional
        Requests in flight that each pod should have; in the mode ``"knative"``.
    canary_percent : int, optional
        Share of the traffic for this version, the rest stays with the one before; in the mode
        ``"knative"``.
    mode : {"standard", "knative"}
        Plain Deployments, or Knative Services.
    verify_key_secret : str, optional
        Secret whose key ``verify-key.pem`` holds the public key that bundles must be signed with.

    Returns
    -------
    str
        YAML.

    Raises
    ------
    InvalidDeployment
        If Kubernetes or KServe would refuse or ignore one of the settings.

    Examples
    --------
    >>> model = ResolvedModel("s3://models/price/3", name="Price", version="3")
    >>> print(render_inference_service(model, name="price"), end="")
    apiVersion: serving.kserve.io/v1beta1
    kind: InferenceService
    metadata:
      name: price
      annotations:
        pyfunc.mlserver/registry-name: Price
        pyfunc.mlserver/version: '3'
        serving.kserve.io/deploymentMode: Standard
    spec:
      predictor:
        model:
          modelFormat:
            name: pyfunc
            version: '1'
          protocolVersion: v2
          runtime: mlserver-pyfunc
          storageUri: s3://models/price/3
          env:
          - name: MLSERVER_MODEL_VERSION
            value: '3'
    """
    _check_label("name", name, _LONGEST_NAME)
    if namespace is not None:
        _check_label("namespace", namespace, _LONGEST_LABEL)
    for what, given in (
        ("runtime", runtime),
        ("service account", service_account),
        ("verify-key secret", verify_key_secret),
    ):
        if given is not None:
            _check_subdomain(what, given)
    _check_storage(model.uri)
    _check_scaling(min_replicas, max_replicas, target_concurrency, canary_percent, mode)

    annotations = {
        f"{ANNOTATIONS}/registry-name": model.name,
        f"{ANNOTATIONS}/version": model.version,
        f"{ANNOTATIONS}/digest": model.digest,
        "serving.kserve.io/deploymentMode": _MODES[mode],
    }
    container: dict[str, Any] = {
        "modelFormat": {"name": "pyfunc", "version": "1"},
        "protocolVersion": "v2",
        "runtime": runtime,
        "storageUri": model.uri,
    }
    env: list[dict[str, Any]] = []
    if model.version is not None:  # what the server says of its model; the bundle cannot know it
        env.append({"name": "MLSERVER_MODEL_VERSION", "value": model.version})
    if verify_key_secret is not None:
        reference = {"name": verify_key_secret, "key": VERIFY_KEY}
        env.append({"name": "PYFUNC_VERIFY_KEY", "valueFrom": {"secretKeyRef": reference}})
    container["env"] = env or None
    predictor = {
        "serviceAccountName": service_account,
        "minReplicas": min_replicas,
        "maxReplicas": max_replicas,
        "scaleMetric": None if target_concurrency is None else "concurrency",
        "scaleTarget": target_concurrency,
        "canaryTrafficPercent": canary_percent,
        "model": _given(container),
    }
    service = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": _given(
            {"name": name, "namespace": namespace, "annotations": _given(annotations)}
        ),
        "spec": {"predictor": _given(predictor)},
    }
    text: str = yaml.safe_dump(service, sort_keys=False, allow_unicode=True, width=10_000)
    return text


def diff(before: str, after: str, *, name: str) -> str:
    r"""What would change, as a unified diff; empty when nothing would.

    Examples
    --------
    >>> diff("version: '3'\n", "version: '3'\n", name="price.yaml")
    ''
    >>> print(diff("version: '3'\n", "version: '4'\n", name="price.yaml"), end="")
    --- price.yaml
    +++ price.yaml (resolved now)
    @@ -1 +1 @@
    -version: '3'
    +version: '4'
    """
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), name, f"{name} (resolved now)", lineterm=""
    )
    return "".join(f"{line}\n" for line in lines)


def _given(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in fields.items() if value is not None}


def _check_label(what: str, value: str, longest: int) -> None:
    if _LABEL.fullmatch(value) and len(value) <= longest:
        return
    suggestion = _suggest(value, longest)
    advice = f"; try {suggestion!r}" if suggestion else ""
    raise InvalidDeployment(
        f"{what} {value!r} is no DNS label: expected at most {longest} of a-z, 0-9 and '-',"
        f" beginning with a letter and not ending with '-'{advice}"
    )


def _suggest(value: str, longest: int) -> str:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", value).lower()
    label = re.sub(r"[^a-z0-9]+", "-", words)
    return re.sub(r"^[^a-z]+", "", label)[:longest].strip("-")


def _check_subdomain(what: str, value: str) -> None:
    if not _SUBDOMAIN.fullmatch(value) or len(value) > _LONGEST_SUBDOMAIN:
        suggestion = _suggest(value, _LONGEST_LABEL)
        advice = f"; try {suggestion!r}" if suggestion else ""
        raise InvalidDeployment(
            f"{what} {value!r} is no Kubernetes name: expected a-z, 0-9, '-' and '.', beginning and"
            f" ending with a letter or digit{advice}"
        )


def _check_storage(uri: str) -> None:
    scheme = urlsplit(uri).scheme
    if scheme not in _DOWNLOADABLE:
        raise InvalidDeployment(
            f"{uri}: a pod cannot fetch the model from there; expected s3://…, so give the MLflow"
            f" server an artifact root in S3, or copy the directory there and pass its s3:// URI"
        )
    if uri.endswith("/"):
        raise InvalidDeployment(
            f"{uri}: expected no slash at the end of a storage URI; pass {uri.rstrip('/')}"
        )


def _check_scaling(
    min_replicas: int | None,
    max_replicas: int | None,
    target_concurrency: int | None,
    canary_percent: int | None,
    mode: str,
) -> None:
    if mode not in _MODES:
        raise InvalidDeployment(f"mode {mode!r}: expected {' or '.join(map(repr, _MODES))}")
    for what, value, least, most in (
        ("min replicas", min_replicas, 0, None),
        ("max replicas", max_replicas, 1, None),
        ("target concurrency", target_concurrency, 1, None),
        ("canary percent", canary_percent, 0, 100),
    ):
        if value is not None and (value < least or (most is not None and value > most)):
            bounds = f"at least {least}" if most is None else f"{least} to {most}"
            raise InvalidDeployment(f"{what}: expected {bounds}, found {value}")
    if None not in (min_replicas, max_replicas) and (min_replicas or 0) > (max_replicas or 0):
        raise InvalidDeployment(
            f"min replicas {min_replicas} is more than max replicas {max_replicas}"
        )
    if mode == "knative":
        return
    for what, given in (
        ("min replicas 0 (scale to zero)", min_replicas == 0),
        ("target concurrency", target_concurrency is not None),
        ("canary percent", canary_percent is not None),
    ):
        if given:
            raise InvalidDeployment(
                f"{what} needs Knative: in the mode 'standard' KServe makes a plain Deployment that"
                f" Kubernetes scales by CPU, and would not do this; pass --mode knative or leave it"
                f" out"
            )
