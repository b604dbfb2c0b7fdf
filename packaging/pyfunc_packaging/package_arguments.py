"""What ``package_model`` is called with, looked at before any work is done."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from pyfunc_packaging.bundle import MANIFEST
from pyfunc_packaging.contents import NAME
from pyfunc_packaging.errors import BundleExists, InvalidArgument, InvalidKey

#: What MLflow takes for an alias; a bundle would be registered before it says so.
_ALIAS = re.compile(r"(?!(?i:latest|v\d+)$)[\w-]+")


def check_path(path: Any, *, overwrite: bool) -> Path:
    """Check that a bundle may be written somewhere.

    Raises
    ------
    InvalidArgument
        If it is no folder on this machine.
    BundleExists
        If something is there that may not be replaced.
    """
    if isinstance(path, str) and "://" in path:
        raise InvalidArgument(
            f"path should be a folder on this machine, found {path!r}; package there, and upload"
            f" the bundle, or let MLflow do so with log=True"
        )
    if not _is_path(path):
        raise InvalidArgument(f"path should be a text or a pathlib.Path, found {path!r:.80}")
    folder = Path(path)
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise BundleExists(
            f"{folder}: something that is no directory is there; choose another path"
        )
    if folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise BundleExists(
                f"{folder}: there is something already; choose another path, or pass overwrite=True"
            )
        if not (folder / MANIFEST).is_file():
            raise BundleExists(
                f"{folder}: overwrite=True replaces bundles only, and this directory is none;"
                f" choose another path, or remove it yourself"
            )
    return folder


def check_names(
    name: Any, output_name: Any, *, alias: Any = None, registered_model_name: Any = None
) -> None:
    """Check the names that a model gets.

    Raises
    ------
    InvalidArgument
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InvalidArgument(
            f"name should consist of letters, digits, '.', '_' and '-', found {name!r}; it becomes"
            f" a part of the URL /v2/models/{{name}}/infer"
        )
    if output_name is not None and not (isinstance(output_name, str) and output_name):
        raise InvalidArgument(f"output_name should be a text, found {output_name!r}")
    if alias is not None and registered_model_name is None:
        raise InvalidArgument(
            f"alias={alias!r} needs a registered model to belong to; pass registered_model_name="
        )
    if alias is not None and not (isinstance(alias, str) and _ALIAS.fullmatch(alias)):
        raise InvalidArgument(
            f"alias should consist of letters, digits, '_' and '-', and be neither 'latest' nor a"
            f" version such as 'v1', found {alias!r}"
        )


def check_additions(code_paths: Any, extra_pip_requirements: Any, metadata: Any) -> None:
    """Check what is to be put into a bundle beside the model.

    Raises
    ------
    InvalidArgument
    """
    for argument, value, kind, fits in (
        ("code_paths", code_paths, "paths", _is_path),
        ("extra_pip_requirements", extra_pip_requirements, "texts", _is_text),
    ):
        if isinstance(value, str | os.PathLike):
            raise InvalidArgument(f"{argument} should be a list, found {value!r}; pass [{value!r}]")
        if not isinstance(value, Sequence) or not all(map(fits, value)):
            raise InvalidArgument(f"{argument} should be a list of {kind}, found {value!r:.80}")
    if metadata is None:
        return
    if not isinstance(metadata, Mapping) or not all(map(_is_text, metadata)):
        raise InvalidArgument(f"metadata should be a mapping with names, found {metadata!r:.80}")
    try:
        yaml.safe_dump(dict(metadata))
    except yaml.YAMLError as error:
        raise InvalidArgument(
            f"metadata should hold texts, numbers, lists and mappings, which YAML can write; found"
            f" {metadata!r:.80}"
        ) from error


def check_key(signing_key: Any) -> None:
    """Check that there is a file to sign with.

    Raises
    ------
    InvalidArgument, InvalidKey
    """
    if signing_key is None:
        return
    if not _is_path(signing_key):
        raise InvalidArgument(
            f"signing_key should be the path of a file with a private key in PEM, found"
            f" {type(signing_key).__name__}"
        )
    if not Path(signing_key).is_file():
        raise InvalidKey(f"{signing_key}: expected a file with a private key in PEM, found none")


def _is_path(value: Any) -> bool:
    return isinstance(value, str | os.PathLike)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
