"""Read a bundle: what is in it, whether it is whole, what it predicts.

The format is described in ``docs/bundle-format.md``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyfunc_packaging.contents import check_manifest, is_golden, is_profile
from pyfunc_packaging.errors import (
    BundleNotFound,
    DamagedBundle,
    MalformedBundle,
    MissingDependency,
    TamperedBundle,
)
from pyfunc_packaging.schema import Column, Schema, Tensor

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from pyfunc_packaging.endpoint import Endpoint
    from pyfunc_packaging.scoring import Scorer

MANIFEST = "data/manifest.json"
MLMODEL = "MLmodel"
#: Module in ``code/`` that MLflow imports; its name carries the format, so that two bundles of
#: different formats can be loaded into one process.
LOADER_MODULE = "pyfunc_bundle_v1"
#: What a reader parses at most, so that no file of a few bytes more takes all memory.
_MAX_JSON_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Bundle:
    """A packaged model on disk; made by :func:`load_bundle` and ``package_model``.

    Parameters
    ----------
    path : pathlib.Path
        The directory.
    manifest : mapping
        The content of ``data/manifest.json``.
    schema : Schema
        What the model takes and returns.
    digest : str
        ``"sha256:…"`` of the manifest, which holds the digest of every other file: two bundles
        with the same digest hold the same files.
    timings : mapping of str to float
        Seconds that each step of packaging took; empty for a bundle that was read from disk.

    Examples
    --------
    >>> load_bundle("no/such/place")
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.BundleNotFound: no/such/place: no such directory; ...
    """

    path: Path
    manifest: Mapping[str, Any] = field(repr=False)
    schema: Schema = field(repr=False)
    digest: str
    timings: Mapping[str, float] = field(default_factory=dict, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Name of the model."""
        return str(self.manifest["name"])

    @property
    def engine(self) -> str:
        """What computes predictions when the bundle is served: ``"onnx"`` or ``"pyfunc"``."""
        return str(self.manifest["engine"])

    @property
    def compilation(self) -> Mapping[str, Any]:
        """How the compiled graph was proven, or why there is none; see the bundle format."""
        return dict(self.manifest.get("compilation", {}))

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of Python and of the libraries that the model was packaged with."""
        return dict(self.manifest["versions"])

    @property
    def data_path(self) -> Path:
        """The ``data/`` folder."""
        return self.path / "data"

    @cached_property
    def signature(self) -> ModelSignature:
        """The MLflow model signature; reading it imports MLflow."""
        from mlflow.models import Model

        signature: ModelSignature = Model.load(str(self.path / MLMODEL)).signature
        return signature

    @cached_property
    def _scorer(self) -> Scorer:
        try:
            from pyfunc_packaging.scoring import Scorer
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"predicting needs the Python module {error.name!r}; install"
                f" mlserver-pyfunc[pyfunc]"
            ) from error
        return Scorer(self)

    def predict(self, data: pd.DataFrame) -> Any:
        """Predict raw rows as ``mlflow.pyfunc`` does, with the engine that serves the bundle.

        Parameters
        ----------
        data : pandas.DataFrame of shape (n, m)

        Returns
        -------
        ndarray of shape (n,) or (n, k)
            Several outputs are a DataFrame, or as a classifier's label and probability a
            dictionary of arrays.

        Raises
        ------
        UnsuitableData
            If the rows do not fit the signature.
        """
        return self._scorer.predict(data)

    def serve(self) -> Endpoint:
        """Serve the bundle from this machine, as ``pyfunc serve`` does, to try it.

        Returns
        -------
        Endpoint
            A context manager: the server is ready within, and gone afterwards.

        Raises
        ------
        MissingDependency
            If MLServer is not installed.

        Examples
        --------
        ``with bundle.serve() as endpoint: endpoint.predict(rows)``
        """
        from pyfunc_packaging.endpoint import Endpoint

        return Endpoint(self)

    def verify_files(self, known: Mapping[str, str] | None = None) -> None:
        """Check every file against the digest in the manifest, and that no other was added.

        Parameters
        ----------
        known : mapping of str to str, optional
            Digests of all files, where they were just computed; the files are not read then.

        Raises
        ------
        DamagedBundle
            If a file is missing or altered, or was added to ``data/`` or ``code/``; the message
            names it.
        """
        for name, expected in self.manifest["files"].items():
            try:
                found = file_digest(self.path / name) if known is None else known.get(name)
            except OSError as error:
                raise DamagedBundle(
                    f"{self.path / name}: cannot be read: {error.strerror}"
                ) from error
            if found is None:
                raise DamagedBundle(
                    f"{self.path}: {name} is missing; the copy is incomplete, fetch it again"
                )
            if found != expected:
                raise DamagedBundle(
                    f"{self.path}: {name} is not the file that was packaged (expected sha256"
                    f" {expected[:12]}…, found {found[:12]}…); fetch the bundle again"
                )
        for name in self._added():
            raise DamagedBundle(
                f"{self.path}: {name} was added after the bundle was packaged; remove it, or fetch"
                f" the bundle again"
            )

    def _added(self) -> Iterator[str]:
        """What is in ``data/`` and ``code/`` that the manifest does not name."""
        for folder in ("data", "code"):
            for file in sorted((self.path / folder).rglob("*")):
                name = file.relative_to(self.path).as_posix()
                listed = name in self.manifest["files"] or name == MANIFEST
                directory = file.is_dir() and not file.is_symlink()
                if listed or directory or not os.path.lexists(file) or _is_harmless(name):
                    continue
                yield name

    def golden(self) -> dict[str, Any]:
        """The golden rows: a V2 ``request`` and the ``response`` that the reference gave.

        Raises
        ------
        MalformedBundle
            If they are something else.
        """
        file = self.path / "data" / "golden.json"
        result: dict[str, Any] = _read_json(file)
        if not is_golden(result):
            raise MalformedBundle(
                f"{file}: expected a V2 request and its response, as package_model() writes them,"
                f" found something else; package the model again"
            )
        return result

    def profile(self) -> dict[str, Any]:
        """What training data and the predictions for it looked like; see the bundle format.

        Raises
        ------
        MalformedBundle
            If it does not say that; a server compares every request with it.
        """
        file = self.path / "data" / "profile.json"
        result: dict[str, Any] = _read_json(file)
        if not is_profile(result):
            raise MalformedBundle(
                f"{file}: expected numbers by column and output, as package_model() writes them,"
                f" found something else; package the model again"
            )
        return result

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Bundle) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return (
            f"Bundle {self.name!r} at {self.path}\n"
            f"  takes    {_listing(self.schema.inputs)}\n"
            f"  returns  {_listing(self.schema.outputs)}\n"
            f"  engine   {self.engine}, {compiled(self.compilation)}\n"
            f"  holds    the pipeline in {self.manifest['reference']['file']}\n"
            f"  digest   {self.digest[:19]}…"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from pyfunc_packaging.display import to_html

        return to_html(self)


def compiled(facts: Mapping[str, Any]) -> str:
    """One line on the compiled graph."""
    if not facts.get("file"):
        where = f"step {facts['step']}: " if facts.get("step") else ""
        return f"not compiled ({where}{facts.get('reason', 'packaged by an older version')})"
    speed = facts["seconds"]["one row"]
    return (
        f"equal to the pipeline on {facts['rows']:,} rows (relative difference at most"
        f" {facts['max_relative']:.0e}); one row {speed['onnx'] * 1e6:,.0f} µs, pipeline"
        f" {speed['pyfunc'] * 1e6:,.0f} µs"
    )


def _listing(fields: Sequence[Column | Tensor], limit: int = 12) -> str:
    shown = [f"{field.name}: {getattr(field, 'type', 'tensor')}" for field in fields[:limit]]
    more = f" and {len(fields) - limit} more" if len(fields) > limit else ""
    return ", ".join(shown) + more


def load_bundle(path: str | Path, *, digests: Mapping[str, str] | None = None) -> Bundle:
    """Read the bundle in a directory; nothing in it is imported or unpickled.

    Parameters
    ----------
    path : str or pathlib.Path
    digests : mapping of str to str, optional
        Hexadecimal sha256 of every file by name, where a signature says them and the files were
        just compared with it; they are not hashed again then.

    Returns
    -------
    Bundle

    Raises
    ------
    BundleNotFound
        If there is no bundle at ``path``.
    MalformedBundle
        If its manifest cannot be read by this version.
    DamagedBundle
        If a file is missing or altered.
    """
    path = Path(path)
    manifest, digest = read_manifest(path, digests=digests)
    bundle = Bundle(
        path=path,
        manifest=manifest,
        schema=Schema.from_dict(manifest["schema"]),
        digest=f"sha256:{digest}",
    )
    bundle.verify_files(digests)
    return bundle


def read_manifest(
    path: Path, *, digests: Mapping[str, str] | None = None
) -> tuple[Mapping[str, Any], str]:
    """Read a bundle's manifest, and no other file of it.

    Parameters
    ----------
    path : pathlib.Path
        The bundle.
    digests : mapping of str to str, optional
        As :func:`load_bundle` takes it. What is parsed are the very bytes that were hashed.

    Returns
    -------
    manifest : mapping
    digest : str
        Hexadecimal sha256.

    Raises
    ------
    BundleNotFound
        If there is no bundle at ``path``.
    TamperedBundle
        If it is not the manifest that was signed.
    MalformedBundle
        If it cannot be read by this version.

    Examples
    --------
    >>> read_manifest(Path("no/such/place"))
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.BundleNotFound: no/such/place: no such directory; ...
    """
    if not path.is_dir():
        raise BundleNotFound(f"{path}: no such directory; expected one that package_model() wrote")
    if not is_bundle(path):
        found = "an MLflow model, but no bundle" if (path / MLMODEL).is_file() else "no bundle"
        raise BundleNotFound(
            f"{path}: {found} ({MANIFEST} is not there); package_model() writes one"
        )
    try:
        content = _read_limited(path / MANIFEST)
    except OSError as error:
        raise DamagedBundle(f"{path / MANIFEST}: cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digests is not None and digests.get(MANIFEST) != digest:
        raise TamperedBundle(
            f"{path}: {MANIFEST} is not the file that was signed; fetch the model again"
        )
    manifest = _parse_json(path / MANIFEST, content)
    check_manifest(manifest, path / MANIFEST)
    return manifest, digest


def _is_harmless(name: str) -> bool:
    """Whether a file is what Python compiled our loader into, and will not be read any more.

    MLflow imports the loader from ``code/``, which removes it again; of several processes that load
    one bundle, one may see another's for a moment.
    """
    return LOADER_MODULE in sys.modules and name.startswith(f"code/__pycache__/{LOADER_MODULE}.")


def is_bundle(path: Path) -> bool:
    """Whether a directory holds a bundle, and not just any MLflow model."""
    try:
        return (path / MANIFEST).is_file()
    except OSError as error:
        raise DamagedBundle(f"{path / MANIFEST}: cannot be read: {error.strerror}") from error


def file_digest(path: Path) -> str | None:
    """Hexadecimal sha256 of a file; None where there is none, or a pipe or a device instead."""
    try:
        if not path.is_file():  # what is no ordinary file may never end
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None


def _read_json(path: Path) -> Any:
    try:
        if not path.is_file():  # what is no ordinary file may never end
            raise DamagedBundle(f"{path} is missing; fetch the bundle again")
        return _parse_json(path, _read_limited(path))
    except OSError as error:
        raise DamagedBundle(f"{path}: cannot be read: {error.strerror}") from error


def _read_limited(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_JSON_BYTES + 1)
    if len(content) > _MAX_JSON_BYTES:
        raise MalformedBundle(
            f"{path}: expected at most {_MAX_JSON_BYTES >> 20} MiB of JSON, found more"
        )
    return content


def _parse_json(path: Path, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise MalformedBundle(f"{path}: expected JSON, found something else ({error})") from error
