"""Write the build context of an image that has the library versions a bundle was made with.

The image holds the libraries, not the model: KServe's storage initializer brings that.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import re
import shutil
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from pyfunc_packaging._version import __version__
from pyfunc_packaging.bundle import Bundle
from pyfunc_packaging.directories import staging_beside, swap
from pyfunc_packaging.errors import (
    DamagedBundle,
    InvalidArgument,
    MalformedBundle,
    NotSupported,
    OutputExists,
)

_DISTRIBUTION = "mlserver-pyfunc"
_DOCKERFILE, _REQUIREMENTS, _LOCK = "Dockerfile", "requirements.txt", "runtime.txt"
#: How every Dockerfile that we write begins; what begins otherwise is never replaced.
_MARK = "# Written by `pyfunc image`"
#: An image's name, as far as it matters here: one word that means nothing else to a Dockerfile.
_IMAGE = re.compile(r"[A-Za-z0-9][\w./:@-]*")

# What comes before and behind the libraries is as in the stock image: see _stage().
_TEMPLATE = """\
{mark} of mlserver-pyfunc {version}, for the bundle {name}.
# It holds the server and the versions that the model was made with, not the model: KServe mounts
# that at /mnt/models. Build it, and name it in the InferenceService as spec.predictor.model.image:
#
#   docker build --tag REGISTRY/NAME:TAG .
#
ARG BASE_IMAGE={base_image}

{tools}
# --- libraries: those that the server is known to work with, then those of the model; for them pip
# replaces what it must, and leaves the rest as it is.
# A pip.conf for this machine's package index: docker build --secret id=pip.conf,src=/etc/pip.conf
FROM tools AS libraries
RUN python3 -c 'import sys; sys.version_info[:2] == {python} or sys.exit( \\
        "BASE_IMAGE: the model was made with Python {minor}, found " + sys.version)'
COPY {files} /context/
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \\
    {pip} install --require-hashes -r /context/runtime.txt
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \\
    {pip} install -r /context/requirements.txt
RUN {pip} check \\
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/pyfunc/lib

# --- what is served ------------------------------------------------------------------------------
{runtime}
FROM runtime
LABEL org.opencontainers.image.title="mlserver-pyfunc (for one model)" \\
      org.opencontainers.image.version="{version}" \\
      pyfunc.mlserver/digest="{digest}"
COPY --from=libraries /opt/pyfunc /opt/pyfunc
"""
_PIP = "/build/tools/bin/pip --python /opt/pyfunc/bin/python"


def write_image_context(
    bundle: Bundle,
    *,
    output: str | Path,
    base_image: str | None = None,
    wheel: str | Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write what ``docker build`` needs for an image with a bundle's own library versions.

    The same bundle and arguments give the same bytes.

    Parameters
    ----------
    bundle : Bundle
    output : str or pathlib.Path
        The directory to write. It appears there whole, or not at all.
    base_image : str, optional
        An image with the bundle's minor version of Python. Default: the official slim one.
    wheel : str or pathlib.Path, optional
        A wheel of mlserver-pyfunc to install. Default: this version, from the package index.
    overwrite : bool
        Replace a context that was written before.

    Raises
    ------
    OutputExists
        If something is at ``output`` that is not ours to replace.
    InvalidArgument
        If ``base_image`` is no image's name, or ``wheel`` is no wheel of mlserver-pyfunc.

    Examples
    --------
    >>> from pyfunc_packaging import load_bundle
    >>> write_image_context(load_bundle("no/bundle"), output="context")
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.BundleNotFound: no/bundle: no such directory; ...
    """
    output = Path(output)
    python = _python(bundle)
    if base_image is None:
        base_image = f"docker.io/library/python:{python}-slim-bookworm"
    elif not _IMAGE.fullmatch(base_image):
        raise InvalidArgument(
            f"base image: expected a name such as python:3.11-slim, found {base_image!r}"
        )
    requirement = f"{_DISTRIBUTION}[runtime]=={__version__}"
    if wheel is not None:
        wheel = Path(wheel)
        _check_wheel(wheel)
        requirement = f"{_DISTRIBUTION}[runtime] @ file:///context/{wheel.name}"
    _check_output(output, overwrite)
    stock, lock = _own_file(_DOCKERFILE), _own_file(_LOCK)
    texts = {
        _DOCKERFILE: _TEMPLATE.format(
            mark=_MARK,
            pip=_PIP,
            tools=_stage(stock, "tools"),
            runtime=_stage(stock, "runtime"),
            version=__version__,
            name=json.dumps(bundle.name),  # whatever it holds, it stays within its line
            base_image=base_image,
            python=f"({python.replace('.', ', ')})",
            minor=python,
            files=" ".join([_LOCK, _REQUIREMENTS, *([wheel.name] if wheel else [])]),
            digest=bundle.digest,
        ),
        _LOCK: lock,
        _REQUIREMENTS: "".join(f"{line}\n" for line in [requirement, *_requirements(bundle)]),
    }
    with staging_beside(output) as staging:
        for name, text in texts.items():
            (staging / name).write_text(text, encoding="utf-8")
        if wheel is not None:
            shutil.copyfile(wheel, staging / wheel.name)
        staging.chmod(0o755)
        if output.exists():
            swap(staging, output)
        else:
            os.rename(staging, output)


def _own_file(name: str) -> str:
    """A file of the repository that comes with this package."""
    try:
        return importlib.resources.files(__package__).joinpath(name).read_text("utf-8")
    except FileNotFoundError as error:
        raise NotSupported(
            f"this installation of mlserver-pyfunc has no {name}, which an image is made from;"
            f" install the wheel, or work in a clone"
        ) from error


def _stage(dockerfile: str, name: str) -> str:
    """One stage of the stock image, word for word: what holds for one image holds for the other."""
    pattern = rf"^FROM \S+ AS {name}\n.*?(?=^FROM |^# ---|\Z)"
    found = re.search(pattern, dockerfile, re.MULTILINE | re.DOTALL)
    if found is None:
        raise NotSupported(f"the stock image's Dockerfile has no stage {name!r}")
    return found.group().rstrip() + "\n"


def _python(bundle: Bundle) -> str:
    """Minor version of Python that the bundle was made with, such as ``"3.11"``."""
    found = bundle.versions.get("python")
    try:
        version = Version(str(found))
    except InvalidVersion as error:
        raise MalformedBundle(
            f"{bundle.path}: expected a version of Python in the manifest, found {found!r}"
        ) from error
    return f"{version.major}.{version.minor}"


def _requirements(bundle: Bundle) -> list[str]:
    """The bundle's own, with the part of MLflow that loads models for the whole of it."""
    file = bundle.path / _REQUIREMENTS
    if _REQUIREMENTS not in bundle.manifest["files"]:
        raise MalformedBundle(
            f"{bundle.path}: the manifest does not name {_REQUIREMENTS}, so nothing says what an"
            f" image should hold; package the model again"
        )
    try:
        lines = file.read_text("utf-8").splitlines()
    except FileNotFoundError as error:
        raise DamagedBundle(
            f"{bundle.path}: {_REQUIREMENTS} is missing; fetch the bundle again"
        ) from error
    except UnicodeDecodeError as error:
        raise MalformedBundle(f"{file}: expected text in UTF-8 ({error})") from error
    return [_slim(line, file) for line in lines if line.strip()]


def _slim(line: str, file: Path) -> str:
    """A line for pip, which would follow options and addresses wherever they lead."""
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        raise MalformedBundle(
            f"{file}: expected a requirement such as numpy==2.1.0 on every line, found"
            f" {line!r:.200}; package the model again without it, and name package indexes in the"
            f" pip.conf that the build mounts"
        ) from error
    if requirement.url is not None:
        raise MalformedBundle(
            f"{file}: {line!r:.200} names an address, and an image takes libraries from package"
            f" indexes only; package the model again with a version instead"
        )
    if canonicalize_name(requirement.name) == "mlflow" and not requirement.extras:
        requirement.name = "mlflow-skinny"  # the same modules; no user interface, no database
        return str(requirement)
    return line


def _check_wheel(wheel: Path) -> None:
    try:
        name = parse_wheel_filename(wheel.name)[0]
    except InvalidWheelFilename:
        name = None
    if name != _DISTRIBUTION or not wheel.is_file():
        raise InvalidArgument(
            f"wheel: expected a file such as mlserver_pyfunc-{__version__}-py3-none-any.whl, found"
            f" {str(wheel)!r}"
        )


def _check_output(output: Path, overwrite: bool) -> None:
    if output.is_symlink() or (output.exists() and not output.is_dir()):
        raise OutputExists(f"{output}: something that is no directory is there; choose another")
    names = sorted(each.name for each in output.iterdir()) if output.exists() else []
    if not names:
        return
    if not overwrite:
        raise OutputExists(
            f"{output}: there is something already; choose another directory, or pass --overwrite"
        )
    ours = (_DOCKERFILE, _LOCK, _REQUIREMENTS)
    strange = [name for name in names if name not in ours and not name.endswith(".whl")]
    dockerfile = output / _DOCKERFILE
    if strange or not dockerfile.is_file() or not _begins(dockerfile, _MARK):
        raise OutputExists(
            f"{output}: --overwrite replaces only what `pyfunc image` wrote, and there is"
            f" {strange[0] if strange else 'no Dockerfile of its'}; choose another directory"
        )


def _begins(file: Path, mark: str) -> bool:
    with file.open("rb") as content:
        return content.read(len(mark)) == mark.encode()
