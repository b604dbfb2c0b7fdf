"""Whether what a bundle's JSON says has the form in which its readers use it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyfunc_packaging.errors import MalformedBundle

#: The format that this version writes. Raised when an older version could misread a bundle.
FORMAT_VERSION = 1

#: What a model may be called.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def check_manifest(manifest: Any, where: Path) -> None:
    """Check that a manifest is one, and that what it says of files stays within the bundle.

    Parameters
    ----------
    manifest : object
        Parsed JSON.
    where : pathlib.Path
        The file, for messages.

    Raises
    ------
    MalformedBundle
        If it is none, or one that this version cannot read.

    Examples
    --------
    >>> check_manifest([], Path("data/manifest.json"))
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.MalformedBundle: data/manifest.json: expected an object with an...
    """
    version = manifest.get("format_version") if isinstance(manifest, dict) else None
    if type(version) is not int or version < 1:
        raise MalformedBundle(f"{where}: expected an object with an integer format_version from 1")
    if version > FORMAT_VERSION:
        raise MalformedBundle(
            f"{where}: the bundle has format {manifest['format_version']}, this version of"
            f" mlserver-pyfunc reads up to {FORMAT_VERSION}; upgrade mlserver-pyfunc"
        )
    kinds = {
        "name": str,
        "engine": str,
        "schema": dict,
        "versions": dict,
        "reference": dict,
        "files": dict,
    }
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise MalformedBundle(
                f"{where}: expected {key!r} to be {kind.__name__}, found"
                f" {type(manifest.get(key)).__name__}"
            )
    if not NAME.fullmatch(manifest["name"]):  # it goes into URLs, and into commands that are shown
        raise MalformedBundle(
            f"{where}: expected a name of letters, digits, '.', '_' and '-', found"
            f" {manifest['name']!r:.80}"
        )
    for name, digest in manifest["files"].items():
        parts = Path(name).parts
        if Path(name).is_absolute() or ".." in parts or "\0" in name:
            raise MalformedBundle(f"{where}: {name!r} names a file outside the bundle")
        if not isinstance(digest, str):
            raise MalformedBundle(f"{where}: expected the sha256 of {name!r}, found {digest!r}")
    if manifest["engine"] not in ("onnx", "pyfunc"):
        raise MalformedBundle(
            f"{where}: expected the engine 'onnx' or 'pyfunc', found {manifest['engine']!r}"
        )
    compilation = manifest.get("compilation", {})
    graph = compilation.get("file") if isinstance(compilation, dict) else None
    if manifest["engine"] == "onnx" and graph not in list(manifest["files"]):
        raise MalformedBundle(f"{where}: expected 'compilation' to name a file of the bundle")
    if manifest["reference"].get("file") not in list(manifest["files"]):
        raise MalformedBundle(f"{where}: expected 'reference' to name a file of the bundle")
    blank: dict[str, Any] = {"reference": {"file": ""}, "versions": {}}
    for key in ("compilation", "reference", "versions", "metrics", "code"):
        if key in manifest and not _is_description({**blank, key: manifest[key]}):
            raise MalformedBundle(
                f"{where}: {key!r} is not what the bundle format says; package the model again"
            )


def _is_description(manifest: Mapping[str, Any]) -> bool:
    """Whether what is only shown to people has the form in which it is shown."""
    try:
        compilation, reference = manifest.get("compilation", {}), manifest["reference"]
        code, versions = manifest.get("code", []), manifest["versions"]
        numbers, texts = [], [*code, *versions.values(), reference["file"]]
        if compilation.get("file"):
            numbers += [compilation["rows"], compilation["max_relative"]]
            numbers += [compilation["seconds"]["one row"][engine] for engine in ("onnx", "pyfunc")]
        for speed in (compilation.get("seconds") or {}).values():
            numbers += speed.values()
        for facts in (compilation, reference):
            texts += [facts.get(key) or "" for key in ("reason", "serialization")]
        for each in manifest.get("metrics", []):
            texts += [each["target"], each["kind"]]
            numbers += [each["rows"], *each["figures"].values()]
    except (AttributeError, KeyError, TypeError):
        return False
    return (
        isinstance(code, list)
        and _are_numbers(numbers)
        and all(isinstance(text, str) for text in texts)
    )


def is_golden(content: Any) -> bool:
    """Whether golden rows are a V2 request of as many values in each input, and a response.

    Examples
    --------
    >>> is_golden({"request": {"inputs": []}, "response": {"outputs": []}})
    False
    """
    try:
        inputs, outputs = content["request"]["inputs"], content["response"]["outputs"]
        lengths = {len(tensor["data"]) for tensor in inputs if isinstance(tensor["data"], list)}
        shapes = [tensor["shape"] for tensor in (*inputs, *outputs)]
        texts = [tensor[key] for tensor in (*inputs, *outputs) for key in ("name", "datatype")]
    except (AttributeError, KeyError, TypeError):
        return False
    return (
        len(lengths) == 1
        and all(isinstance(tensor["data"], list) for tensor in (*inputs, *outputs))
        and all(isinstance(shape, list) and shape and _are_numbers(shape) for shape in shapes)
        and all(isinstance(text, str) for text in texts)
    )


def _are_numbers(values: Iterable[Any]) -> bool:
    return all(type(value) in (int, float) for value in values)


def is_profile(content: Any) -> bool:
    """Whether a profile holds numbers where its readers compute.

    Examples
    --------
    >>> is_profile({"rows": 5, "columns": {"x": {"missing": "none"}}})
    False
    """
    try:
        columns, outputs = content["columns"].values(), content.get("predictions", {}).values()
        numbers = [content["rows"], *(column["missing"] for column in columns)]
        for column in columns:
            # what overflowed is null
            quantiles = column.get("quantiles", {}).values()
            numbers += [number for number in quantiles if number is not None]
            numbers += column.get("categories", {}).values()
        for output in outputs:
            numbers += output.get("labels", {}).values()
            bounds, ratios = output.get("bounds", []), output.get("at_most", [])
            if len(bounds) != len(ratios) or bounds != sorted(set(bounds)):
                return False
            numbers += [*bounds, *ratios]
    except (AttributeError, KeyError, TypeError):
        return False
    return _are_numbers(numbers)
