"""From a model URI to the directory that holds the files, at deployment time.

A pod never does this: it is given the storage URI that comes out of here.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from pyfunc_packaging.bundle import MANIFEST, MLMODEL
from pyfunc_packaging.errors import (
    ArtifactRootNeeded,
    FilesChanged,
    FilesMissing,
    InvalidModelUri,
    MalformedBundle,
    UnsupportedStorage,
)
from pyfunc_packaging.registry import Found, Registry
from pyfunc_packaging.storage import Folder, open_folder, split_s3

#: Where the artifact proxy of an MLflow server has its files, when named with http(s)://.
_PROXY_PATH = "/api/2.0/mlflow-artifacts/artifacts"
_LOGGED_MODEL = re.compile(r"m-[0-9A-Za-z]+")
_FORMS = (
    "models:/name@alias, models:/name/3, models:/m-<id>, runs:/<run id>/path or s3://bucket/path"
)
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_STEPS = 8


@dataclass(frozen=True)
class ResolvedModel:
    """A model version, and where its files are.

    Parameters
    ----------
    uri : str
        The directory: an ``s3://`` URI, or a path on this machine; no slash at its end.
    name, version, alias : str or None
        What the registry calls it, as far as the model URI went through the registry.
    run_id, model_id : str or None
        The run that made it, and the logged model that it is.
    digest : str or None
        ``"sha256:…"`` of a bundle; None for any other MLflow model.
    engine : str or None
        What will compute predictions; None when nobody looked.
    requirements : tuple of str
        Lines of ``requirements.txt``.
    siblings : tuple of str
        What else KServe's storage initializer would download, because its name begins with the
        same characters.

    Examples
    --------
    >>> ResolvedModel("s3://models/price", name="Price", version="3").version
    '3'
    """

    uri: str
    name: str | None = None
    version: str | None = None
    alias: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    digest: str | None = None
    engine: str | None = None
    requirements: tuple[str, ...] = ()
    siblings: tuple[str, ...] = ()


def resolve_model_uri(
    uri: str,
    *,
    artifact_root: str | None = None,
    check: bool = True,
    tracking_uri: str | None = None,
) -> ResolvedModel:
    """Follow a model URI to the directory that holds the model's files.

    Parameters
    ----------
    uri : str
        ``models:/name@alias``, ``models:/name/3``, ``models:/m-<id>``, ``runs:/<run id>/path`` or
        ``s3://bucket/path``.
    artifact_root : str, optional
        What the MLflow server was given as ``--artifacts-destination``, for models whose location
        is ``mlflow-artifacts:/…``. Default: the variable ``MLFLOW_ARTIFACT_ROOT_S3``.
    check : bool
        Look into the storage: the files must be there, and be those that were registered.
    tracking_uri : str, optional
        The MLflow service. Default: what MLflow was told (``MLFLOW_TRACKING_URI``).

    Returns
    -------
    ResolvedModel

    Raises
    ------
    ResolveError
        If it cannot be followed; a subclass says why.
    MalformedBundle
        If there is a bundle whose manifest cannot be read.

    Examples
    --------
    >>> resolve_model_uri("s3://models/price/3/", check=False).uri
    's3://models/price/3'
    """
    root = artifact_root or os.environ.get("MLFLOW_ARTIFACT_ROOT_S3") or None
    if root is not None:
        _check_root(root)
    found = Found(uri.strip())
    model = ResolvedModel(uri)
    registry: Registry | None = None
    for _ in range(_STEPS):
        scheme = urlsplit(found.location).scheme
        if scheme not in ("models", "runs"):
            break
        registry = registry or Registry(tracking_uri)
        found = _follow(registry, found.location)
        model = replace(
            model,
            name=model.name or found.name,
            version=model.version or found.version,
            alias=model.alias or _alias(uri),
            run_id=model.run_id or found.run_id,
            model_id=model.model_id or found.model_id,
            digest=model.digest or found.digest,
        )
    else:
        raise InvalidModelUri(f"{uri}: followed {_STEPS} steps and ended at {found.location}")
    model = replace(model, uri=_physical(found.location, root, asked=uri, check=check))
    return _look(model, open_folder(model.uri), uri) if check else model


def _follow(registry: Registry, uri: str) -> Found:
    """One step, from what the registry calls a model to what it says about its place."""
    scheme, _, path = uri.partition(":")
    if path.startswith("//"):
        raise InvalidModelUri(f"{uri}: expected one slash behind {scheme}:, as in {_FORMS}")
    path = path.strip("/")
    if scheme == "runs":
        run_id, _, inside = path.partition("/")
        if not run_id:
            raise InvalidModelUri(f"{uri}: expected runs:/<run id>/path")
        return registry.run(run_id, inside)
    if _LOGGED_MODEL.fullmatch(path):
        return registry.logged_model(path)
    name, _, version = path.partition("/")
    if version:
        if not version.isdecimal():
            raise InvalidModelUri(
                f"{uri}: expected a version number, found {version!r}; stages and 'latest' move"
                f" without notice, pass models:/{name}/3 or models:/{name}@alias"
            )
        return registry.version(name, version)
    name, _, alias = path.rpartition("@")
    if not name or not alias:
        raise InvalidModelUri(f"{uri}: expected {_FORMS}")
    return registry.aliased(name, alias)


def _alias(uri: str) -> str | None:
    path = uri.strip().removeprefix("models:").strip("/")
    if uri.strip().startswith("models:") and "/" not in path and "@" in path:
        return path.rpartition("@")[2]
    return None


def _physical(location: str, root: str | None, *, asked: str, check: bool) -> str:
    """Where MLflow says that the files are, as something that others can open."""
    parts = urlsplit(location)
    proxied = parts.scheme == "mlflow-artifacts" or (
        parts.scheme in ("http", "https") and _PROXY_PATH in parts.path
    )
    if proxied:
        if root is None:
            raise ArtifactRootNeeded(
                f"{asked}: MLflow answers {location}, which only its server can read; pass"
                f" --artifact-root s3://bucket/prefix (or set MLFLOW_ARTIFACT_ROOT_S3), the value"
                f" of the server's --artifacts-destination"
            )
        return map_proxied(location, root)
    if parts.scheme == "s3":
        bucket, prefix = split_s3(location)
        return f"s3://{bucket}/{prefix}".rstrip("/")
    if parts.scheme == "file":
        return os.path.normpath(unquote(parts.path))
    if not parts.scheme:
        if not location:
            raise InvalidModelUri(f"{asked!r}: expected {_FORMS}")
        return os.path.abspath(location)
    if check or "://" not in location:
        led = "" if location == asked.strip() else f": leads to {location}, which"
        raise UnsupportedStorage(
            f"{asked}{led} is no place that can be checked here; expected {_FORMS}, or pass"
            f" --no-check if KServe can fetch it"
        )
    return location.rstrip("/")


def map_proxied(location: str, root: str) -> str:
    """Where the artifact proxy of an MLflow server keeps what it calls ``mlflow-artifacts:/…``.

    Parameters
    ----------
    location : str
        ``mlflow-artifacts:/path``, ``mlflow-artifacts://host:port/path`` or the http(s) URL of the
        proxy.
    root : str
        The server's ``--artifacts-destination``.

    Returns
    -------
    str

    Examples
    --------
    >>> map_proxied("mlflow-artifacts://mlflow:5000/1/models/m-0", "s3://bucket/mlflow/")
    's3://bucket/mlflow/1/models/m-0'
    """
    parts = urlsplit(location)
    if parts.scheme == "mlflow-artifacts":
        path = parts.path
        if parts.netloc.isdecimal():
            raise InvalidModelUri(
                f"{location}: expected mlflow-artifacts:/path or mlflow-artifacts://host:port/path,"
                f" found a port without a host"
            )
    else:
        path = parts.path.partition(_PROXY_PATH)[2]
    steps = [step for step in path.split("/") if step]
    if any(step in (".", "..") for step in steps):
        raise InvalidModelUri(f"{location}: expected a plain path, found '.' or '..' in it")
    _check_root(root)
    base = unquote(urlsplit(root).path) if root.startswith("file:") else root
    return "/".join([base.rstrip("/"), *steps])


def _check_root(root: str) -> None:
    scheme = urlsplit(root).scheme
    if scheme == "s3":
        split_s3(root)
    elif scheme not in ("", "file"):
        raise InvalidModelUri(
            f"artifact root {root!r}: expected s3://bucket/prefix, the value of the MLflow server's"
            f" --artifacts-destination"
        )


# --- looking into the storage -----------------------------------------------------------------


def _look(model: ResolvedModel, folder: Folder, asked: str) -> ResolvedModel:
    what = model.uri if asked.strip().rstrip("/") == model.uri else f"{asked} is at {model.uri}"
    sizes = folder.sizes()
    _check_mlmodel(what, sizes, model.uri)
    digest, engine = None, "pyfunc"
    if sizes.get(MANIFEST):
        content = folder.read(MANIFEST)
        manifest = _parse(content, f"{model.uri}/{MANIFEST}")
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        engine = str(manifest["engine"])
        _check_files(what, manifest["files"], sizes)
    if model.digest is not None and digest != model.digest:
        raise FilesChanged(
            f"{what}: the registry knows a bundle with digest {model.digest}, found"
            f" {digest or 'no bundle'}; the files were changed after they were registered, package"
            f" and register the model again"
        )
    requirements: tuple[str, ...] = ()
    if sizes.get("requirements.txt"):
        lines = folder.read("requirements.txt").decode("utf-8", errors="replace").splitlines()
        requirements = tuple(
            line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")
        )
    return replace(
        model,
        digest=digest,
        engine=engine,
        requirements=requirements,
        siblings=folder.siblings(),
    )


def _check_mlmodel(what: str, sizes: Mapping[str, int], uri: str) -> None:
    size = sizes.get(MLMODEL)
    if size:
        return
    if size == 0:
        raise FilesMissing(
            f"{what}: {MLMODEL} is empty, and KServe's storage initializer skips empty objects;"
            f" log the model again"
        )
    if not sizes:
        raise FilesMissing(
            f"{what}: nothing is there; were its files deleted, or is it another service's bucket?"
        )
    below = sorted(name for name in sizes if name.endswith(f"/{MLMODEL}"))
    hint = (
        f"there is one below, pass {uri}/{below[0].removesuffix(f'/{MLMODEL}')}"
        if below
        else "log the model again"
    )
    raise FilesMissing(f"{what}: {len(sizes)} files are there, but no {MLMODEL}; {hint}")


def _check_files(what: str, files: Mapping[str, Any], sizes: Mapping[str, int]) -> None:
    """Everything that the manifest names must survive the storage initializer."""
    missing = sorted(name for name in files if name not in sizes)
    if missing:
        raise FilesMissing(
            f"{what}: {missing[0]} is missing ({len(missing)} of {len(files)} files); the upload"
            f" was interrupted or the file deleted, log the model again"
        )
    added = sorted(
        name
        for name, size in sizes.items()
        if size and name.startswith(("data/", "code/")) and name not in files and name != MANIFEST
    )
    if added:
        raise FilesChanged(
            f"{what}: {added[0]} was added after the bundle was packaged, and a server would refuse"
            f" it; remove it, or log the model again"
        )
    empty = sorted(name for name in files if sizes[name] == 0)
    if empty:
        found = "was packaged empty" if files[empty[0]] == _EMPTY_SHA256 else "is empty"
        raise FilesMissing(
            f"{what}: {empty[0]} {found}, and KServe's storage initializer skips empty objects;"
            f" log the model again"
        )


def _parse(content: bytes, where: str) -> Mapping[str, Any]:
    try:
        manifest = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedBundle(f"{where}: expected JSON, found something else ({error})") from error
    if (
        not isinstance(manifest, dict)
        or not isinstance(manifest.get("files"), dict)
        or not isinstance(manifest.get("engine"), str)
    ):
        raise MalformedBundle(f"{where}: expected an object with 'engine' and 'files'")
    return manifest
