"""Whether the libraries installed here are those that a bundle was made with.

The versions stand in the bundle's manifest; nothing of the bundle is loaded to compare them.
"""

from __future__ import annotations

import importlib.metadata
import logging
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.errors import IncompatibleVersions, InvalidSetting

#: The variable that says what to do about a model of another minor version.
POLICY = "PYFUNC_VERSIONS"
_POLICIES = ("refuse", "warn")
_ADVICE = "build an image of its own with `pyfunc image BUNDLE`"

#: Never part of a stored model: what reads it, not what it is made of. Our own classes are, and
#: every released bundle loads for ever.
_NEVER = frozenset({"mlflow", "mlflow-skinny", "mlserver-pyfunc", "onnxruntime", "pyyaml", "skops"})
#: Pinned in every bundle, whether the model holds any of their objects or not; arrays and frames
#: are read across their minor versions.
_MAJOR_ONLY = frozenset({"numpy", "pandas"})


@dataclass(frozen=True)
class Difference:
    """A library of which another version is installed here than the bundle was made with.

    Parameters
    ----------
    name : str
        The distribution, or ``"python"``.
    packaged, installed : str
        Both versions.
    matters : bool
        Whether the stored model is made of this library's own types, and the versions are too far
        apart to trust what loading it gives.
    """

    name: str
    packaged: str
    installed: str
    matters: bool


def compare_versions(manifest: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What is installed here in another version than a bundle was made with.

    A library that is not installed at all is left out: loading says so, and what to install.

    Parameters
    ----------
    manifest : mapping
        The content of ``data/manifest.json``.

    Returns
    -------
    tuple of Difference
        Those that matter first, each kind sorted by name.

    Examples
    --------
    >>> compare_versions(
    ...     {"versions": {"numpy": "0.1"}, "reference": {"serialization": "pickle"}}
    ... )[0].matters
    True
    """
    pickled = manifest["reference"].get("serialization") != "skops"
    found = []
    for name, packaged in manifest["versions"].items():
        installed = _installed(name, packaged) if isinstance(packaged, str) else None
        if installed is None or installed == packaged:
            continue
        try:
            versions = Version(packaged), Version(installed)
        except InvalidVersion:
            continue  # such as "1.*", which the user pinned; nothing to compare
        if versions[0] != versions[1]:
            matters = _matters(canonicalize_name(name), versions, pickled=pickled)
            found.append(Difference(name, packaged, installed, matters))
    return tuple(sorted(found, key=lambda each: (not each.matters, each.name)))


def _installed(name: str, packaged: str) -> str | None:
    if name == "python":
        return platform.python_version()
    try:
        requirement = Requirement(f"{name}=={packaged}")  # name[extra], or a marker behind it
        return importlib.metadata.version(requirement.name)
    except (InvalidRequirement, importlib.metadata.PackageNotFoundError):
        return None


def _matters(name: str, versions: tuple[Version, Version], *, pickled: bool) -> bool:
    """Whether two versions of a library are too far apart for the model that is stored.

    A skops file holds types of scikit-learn, and plain arrays. A pickle may hold types of whatever
    its requirements name, and functions as byte code, which belongs to one minor version of Python
    and is rebuilt by cloudpickle's own functions.
    """
    one, other = ((*each.release, 0)[:2] for each in versions)
    if name in _NEVER:
        return False
    if not pickled:
        return name == "scikit-learn" and one != other
    if name in _MAJOR_ONLY:
        return one[0] != other[0]
    return one != other


def check_versions(bundle: Bundle, *, engine: str, logger: logging.Logger) -> None:
    """Compare what is installed here with what a bundle was made with; one line says so.

    Parameters
    ----------
    bundle : Bundle
    engine : str
        What will compute predictions. The compiled engine, ``"onnx"``, uses none of the libraries
        that the model was made with.
    logger : logging.Logger
        Takes the line, where it is no reason to stop.

    Raises
    ------
    IncompatibleVersions
        If the model would be loaded by another minor version of a library that it is made of.
        ``PYFUNC_VERSIONS=warn`` turns that into a warning.
    InvalidSetting
        If ``PYFUNC_VERSIONS`` is something else.
    """
    policy = os.environ.get(POLICY) or "refuse"
    if policy not in _POLICIES:
        raise InvalidSetting(f"{POLICY}: expected {' or '.join(_POLICIES)}, found {policy!r}")
    differences = compare_versions(bundle.manifest)
    if not differences:
        return
    grave = [each for each in differences if each.matters]
    line = describe_differences(grave or differences)
    if engine != "pyfunc":
        logger.info("%s; compiled engine unaffected", line)
    elif not grave:
        logger.info("%s; close enough", line)
    elif policy == "refuse":
        raise IncompatibleVersions(f"{line}; {_ADVICE}, or set {POLICY}=warn to try it")
    else:
        logger.warning(
            "%s; loading it all the same, as %s=warn says; better %s", line, POLICY, _ADVICE
        )


def describe_differences(differences: Sequence[Difference]) -> str:
    """One line that says which versions differ.

    Parameters
    ----------
    differences : sequence of Difference

    Returns
    -------
    str

    Examples
    --------
    >>> describe_differences([Difference("scikit-learn", "1.9.1", "1.7.2", matters=True)])
    'this bundle was made with scikit-learn 1.9.1, this image has 1.7.2'
    """
    made = [f"{each.name} {each.packaged}" for each in differences]
    here = [f"{each.name} {each.installed}" for each in differences]
    if len(differences) == 1:
        here = [differences[0].installed]
    return f"this bundle was made with {_and(made)}, this image has {_and(here)}"


def _and(words: Sequence[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} and {last}" if rest else last
