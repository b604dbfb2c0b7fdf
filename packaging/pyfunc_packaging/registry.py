"""Ask an MLflow service about models, and say in one line what went wrong when it does."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from pyfunc_packaging.errors import (
    InvalidModelUri,
    MissingDependency,
    ModelNotFound,
    RegistryDenied,
    RegistryUnreachable,
    ResolveError,
)

_T = TypeVar("_T")
#: A service that is down should be told so within ten seconds; MLflow's own defaults take minutes.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
_NOT_FOUND = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND", "ENDPOINT_NOT_FOUND"}
_DENIED = re.compile(
    r"\b(401|403)\b|unauthori[sz]ed|unauthenticated|forbidden|permission_denied", re.IGNORECASE
)
_BODY = re.compile(r"Response body: '(.*)", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """What the service says about a model; ``location`` is where its files are, or the next URI."""

    location: str
    name: str | None = None
    version: str | None = None
    run_id: str | None = None
    model_id: str | None = None
    digest: str | None = None


class Registry:
    """An MLflow service, asked with little patience and followed with clear errors.

    Parameters
    ----------
    tracking_uri : str or None
        The service; None takes what MLflow was told (``MLFLOW_TRACKING_URI``).

    Raises
    ------
    MissingDependency
        If MLflow is not installed.
    RegistryUnreachable
        If no service is known.
    """

    def __init__(self, tracking_uri: str | None) -> None:
        try:
            import mlflow
            from mlflow import MlflowClient
        except ModuleNotFoundError as error:
            raise MissingDependency(
                "asking the registry needs MLflow, which is not installed here; install"
                " mlserver-pyfunc[packaging], or pass the s3:// URI"
            ) from error
        # MLflow leaves this one without types
        if tracking_uri is None and not mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]
            # MLflow would make an empty database in the current folder, and find nothing in it
            raise RegistryUnreachable(
                "no MLflow service is known here; set MLFLOW_TRACKING_URI (or pass --tracking-uri)"
            )
        if tracking_uri is None:
            registry_uri = mlflow.get_registry_uri()
        else:
            registry_uri = os.environ.get("MLFLOW_REGISTRY_URI") or tracking_uri
        self._where = _without_password(registry_uri)
        self._client = self._ask("connecting", lambda: MlflowClient(tracking_uri, registry_uri))

    def version(self, name: str, version: str) -> Found:
        """A version of a registered model."""

        def missing() -> str:
            known = self._quietly(lambda: self._versions(name))
            if known is None:
                return self._no_model(name)
            return f"model {name!r} has no version {version}; it has {_listed(known)}"

        found = self._ask(
            f"version {version} of model {name!r}",
            lambda: self._client.get_model_version(name, version),
            missing,
        )
        return self._follow(found, name)

    def aliased(self, name: str, alias: str) -> Found:
        """The version of a registered model that an alias points at."""

        def missing() -> str:
            model = self._quietly(lambda: self._client.get_registered_model(name))
            if model is None:
                return self._no_model(name)
            return f"model {name!r} has no alias {alias!r}; it has {_listed(sorted(model.aliases))}"

        found = self._ask(
            f"alias {alias!r} of model {name!r}",
            lambda: self._client.get_model_version_by_alias(name, alias),
            missing,
        )
        return self._follow(found, name)

    def logged_model(self, model_id: str) -> Found:
        """A logged model, by its id."""
        found = self._ask(
            f"logged model {model_id}",
            lambda: self._client.get_logged_model(model_id),
            lambda: f"there is no logged model {model_id}; look its id up in MLflow",
        )
        return Found(
            self._complete(found.artifact_location, f"logged model {model_id}"),
            run_id=found.source_run_id or None,
            model_id=model_id,
            digest=(found.tags or {}).get("pyfunc.digest"),
        )

    def run(self, run_id: str, path: str) -> Found:
        """What a run logged under a path: since MLflow 3 a logged model, before a plain folder."""
        run = self._ask(
            f"run {run_id}",
            lambda: self._client.get_run(run_id),
            lambda: f"there is no run {run_id}; look its id up in MLflow",
        )
        name, _, rest = path.partition("/")
        models = self._logged_by(run, name) if name else []
        if len(models) > 1:
            choices = " or ".join(f"models:/{model.model_id}" for model in models)
            raise InvalidModelUri(
                f"runs:/{run_id}/{path}: the run logged {len(models)} models named {name!r}; pass"
                f" the one that you mean: {choices}"
            )
        if models:
            found = self.logged_model(models[0].model_id)
            location, inside = found.location, rest
        else:
            found = Found("")
            location, inside = self._complete(run.info.artifact_uri, f"run {run_id}"), path
        whole = f"{location.rstrip('/')}/{inside}" if inside else location
        # files of a part of the model have another digest, if any
        digest = None if inside else found.digest
        return Found(whole, run_id=run_id, model_id=found.model_id, digest=digest)

    def _follow(self, version: Any, name: str) -> Found:
        number = self._complete(str(version.version or ""), f"model {name!r}")
        location = self._ask(
            f"location of version {number} of model {name!r}",
            lambda: self._client.get_model_version_download_uri(name, number),
        )
        return Found(
            self._complete(location, f"version {number} of model {name!r}"),
            name=name,
            version=number,
            run_id=version.run_id or None,
            model_id=getattr(version, "model_id", None) or _logged_model_of(version.source),
            digest=(version.tags or {}).get("pyfunc.digest"),
        )

    def _logged_by(self, run: Any, name: str) -> list[Any]:
        if "'" in name:
            return []
        search = partial(
            self._client.search_logged_models,
            [run.info.experiment_id],
            filter_string=f"name = '{name}'",
        )
        found: list[Any] = []
        page = self._quietly(search)
        while page is not None:  # None: a server before MLflow 3
            found += [model for model in page if model.source_run_id == run.info.run_id]
            page = self._quietly(partial(search, page_token=page.token)) if page.token else None
        return found

    def _versions(self, name: str) -> list[str]:
        self._client.get_registered_model(name)
        quoted = name.replace("'", "''")
        versions = self._client.search_model_versions(f"name = '{quoted}'", max_results=100)
        return sorted((str(version.version) for version in versions), key=int)

    def _no_model(self, name: str) -> str:
        models = self._quietly(lambda: self._client.search_registered_models(max_results=100))
        names = [model.name for model in models or ()]
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
        hint = f"did you mean {_listed(close)}?" if close else f"it has {_listed(names)}"
        return f"there is no registered model {name!r}; {hint}"

    def _complete(self, text: str | None, what: str) -> str:
        if not text:
            raise RegistryUnreachable(
                f"{what}: {self._where} answers, but not as MLflow does; check MLFLOW_TRACKING_URI"
            )
        return text

    def _quietly(self, call: Callable[[], _T]) -> _T | None:
        """Something that only makes a message better."""
        from mlflow.exceptions import MlflowException

        with _patience(), contextlib.suppress(MlflowException):
            return call()
        return None

    def _ask(
        self, what: str, call: Callable[[], _T], missing: Callable[[], str] | None = None
    ) -> _T:
        from google.protobuf.json_format import ParseError
        from mlflow.exceptions import MlflowException

        with _patience():
            try:
                return call()
            except (MlflowException, ParseError, OSError, ValueError) as error:
                raise self._explain(what, error, missing) from error

    def _explain(
        self, what: str, error: Exception, missing: Callable[[], str] | None
    ) -> ResolveError:
        code = getattr(error, "error_code", "")
        message = str(error)
        asked = f"{what}: asked {self._where}"
        body = _BODY.search(message)  # there is one where the answer was no JSON
        unknown = (code in _NOT_FOUND and body is None) or (
            # what MLflow answers for an alias that it does not know
            code == "INVALID_PARAMETER_VALUE" and "alias" in message and "not found" in message
        )
        if unknown and missing is not None:
            return ModelNotFound(f"{asked}, found that {missing()}")
        if code == "INVALID_PARAMETER_VALUE":
            return InvalidModelUri(f"{asked}, which refused: {_cut(message)}")
        reason = _connection_problem(error)
        if reason is None and _DENIED.search(message):
            status = re.search(r"\b(401|403)\b", message)
            return RegistryDenied(
                f"{asked}, which wants credentials"
                f" ({f'status {status[1]}' if status else _cut(message)}); set"
                f" MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        if reason is None:
            reason = (
                f"an answer that is not MLflow's: {_cut(body[1].rstrip(chr(39)))}"
                if body
                else _cut(message)
            )
        return RegistryUnreachable(
            f"{asked}, expected an MLflow service, found {reason}; check MLFLOW_TRACKING_URI, or"
            f" pass the s3:// URI itself"
        )


def _logged_model_of(source: str | None) -> str | None:
    """The id in ``models:/m-…``, which is all that the REST API says of it."""
    found = re.fullmatch(r"models:/(m-[0-9A-Za-z]+)", source or "")
    return found[1] if found else None


@contextlib.contextmanager
def _patience() -> Iterator[None]:
    """MLflow reads its settings from the environment, and only there."""
    added = [name for name in _PATIENCE if name not in os.environ]
    os.environ.update({name: _PATIENCE[name] for name in added})
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


def _connection_problem(error: BaseException) -> str | None:
    """Why there was no answer; None when there was one."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if isinstance(link, TimeoutError) or "Timeout" in type(link).__name__:
            seconds = os.environ.get(
                "MLFLOW_HTTP_REQUEST_TIMEOUT", _PATIENCE["MLFLOW_HTTP_REQUEST_TIMEOUT"]
            )
            return f"no answer within {seconds} s (MLFLOW_HTTP_REQUEST_TIMEOUT)"
        if type(link).__name__ in ("gaierror", "NameResolutionError"):
            return "that nobody knows the host's name"
        if type(link).__name__ == "SSLError":
            return f"that TLS fails: {_cut(str(link))}"
        if isinstance(link, ConnectionError) and link.strerror:
            return f"no answer ({link.strerror.lower()})"
        if "ResponseError" in type(link).__name__:
            return f"only failures ({_cut(str(link))})"
        link = link.__cause__ or link.__context__
    return None


def _without_password(uri: str) -> str:
    parts = urlsplit(uri)
    if "@" not in parts.netloc:
        return uri
    return urlunsplit(parts._replace(netloc=f"…@{parts.netloc.rpartition('@')[2]}"))


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:10])
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def _cut(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 160 else f"{line[:160]}…"
