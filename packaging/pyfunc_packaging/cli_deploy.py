"""The commands for deployment time: ``pyfunc resolve``, ``pyfunc manifest``, ``pyfunc image``."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyfunc_packaging.errors import PyFuncError

if TYPE_CHECKING:
    from pyfunc_packaging.resolve import ResolvedModel

_F = TypeVar("_F", bound=Callable[..., Any])


def _model_options(command: _F) -> _F:
    """The argument and the options of everything that resolves a model URI."""
    for decorate in (
        click.option("--tracking-uri", help="The MLflow server.  [default: MLFLOW_TRACKING_URI]"),
        click.option("--no-check", is_flag=True, help="Do not look into the storage."),
        click.option(
            "--artifact-root",
            help="The MLflow server's --artifacts-destination, where it proxies artifacts."
            "  [default: MLFLOW_ARTIFACT_ROOT_S3]",
        ),
        click.argument("uri"),
    ):
        command = decorate(command)
    return command


@click.command(short_help="Find the directory of a model that MLflow knows.")
@_model_options
@click.option("--json", "as_json", is_flag=True, help="Print all that was found, for programs.")
def resolve(
    uri: str, artifact_root: str | None, no_check: bool, tracking_uri: str | None, as_json: bool
) -> None:
    """Print the storage URI of a model, after checking that its files are there.

    URI is models:/name@alias, models:/name/3, models:/m-<id>, runs:/<run id>/path or
    s3://bucket/path.
    """
    model = _resolve(uri, artifact_root, no_check, tracking_uri)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(model), indent=2, ensure_ascii=False))
    else:
        click.echo(model.uri)


@click.command(short_help="Write the InferenceService that serves a model on KServe.")
@_model_options
@click.option("--name", required=True, help="Name of the service and of the served model.")
@click.option("--namespace", help="Kubernetes namespace.")
@click.option(
    "--runtime", default="mlserver-pyfunc", show_default=True, help="ClusterServingRuntime."
)
@click.option("--service-account", help="Service account with the S3 credentials.")
@click.option("--min-replicas", type=int, help="Pods at least; 0 needs --mode knative.")
@click.option("--max-replicas", type=int, help="Pods at most.")
@click.option("--target-concurrency", type=int, help="Requests in flight a pod (knative).")
@click.option("--canary-percent", type=int, help="Traffic share of this version (knative).")
@click.option(
    "--mode",
    type=click.Choice(["standard", "knative"]),
    default="standard",
    show_default=True,
    help="KServe's deployment mode.",
)
@click.option("--verify-key-secret", help="Secret with the public key in verify-key.pem.")
@click.option("--output", type=click.Path(path_type=Path), help="Write here, not to the terminal.")
@click.option(
    "--diff",
    "diff_file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Print what would change in this file; exit 0 if nothing would, 1 if anything would, 2"
    " when that cannot be told.",
)
def manifest(
    uri: str,
    artifact_root: str | None,
    no_check: bool,
    tracking_uri: str | None,
    output: Path | None,
    diff_file: Path | None,
    **options: Any,
) -> None:
    """Print an InferenceService that pins the version that URI stands for now.

    The same version and options give the same bytes, so the file can be kept in git.

    Exit status with --diff, as diff has it: 0 no difference, 1 a difference, 2 trouble (a refusal,
    or wrong usage).
    """
    from pyfunc_packaging.inference_service import diff, render_inference_service
    from pyfunc_packaging.resolve import ResolvedModel

    if output is not None and diff_file is not None:
        raise click.UsageError("--diff only compares; leave --output out")
    with contextlib.nullcontext() if diff_file is None else _told_from_a_difference():
        # what is wrong with the options is said before anybody is asked over the network
        render_inference_service(ResolvedModel("s3://bucket/model"), **options)
        model = _resolve(uri, artifact_root, no_check, tracking_uri)
        text = render_inference_service(model, **options)
        before = None if diff_file is None else _read(diff_file)
    if before is not None:
        changes = diff(before, text, name=str(diff_file))
        click.echo(changes, nl=False)
        sys.exit(1 if changes else 0)
    if output is None:
        click.echo(text, nl=False)
    else:
        _write(output, text)


class _Trouble(click.ClickException):
    """A refusal under --diff; diff(1), too, keeps 1 for a difference."""

    exit_code = 2


@contextlib.contextmanager
def _told_from_a_difference() -> Iterator[None]:
    try:
        yield
    except (PyFuncError, click.ClickException) as error:
        raise _Trouble(str(error)) from error


@click.command(short_help="Write the build context of an image with a bundle's own versions.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Directory to write."
)
@click.option(
    "--base-image",
    help="Image with the bundle's minor version of Python.  [default: python:3.x-slim]",
)
@click.option(
    "--wheel",
    type=click.Path(path_type=Path),
    help="Wheel of mlserver-pyfunc to install, where no package index has it.",
)
@click.option("--overwrite", is_flag=True, help="Replace a context that was written before.")
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Only of a bundle signed with this key in PEM.  May be repeated.",
)
@click.option(
    "--certificate",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Only of a bundle signed under these certificates in PEM, repeatable.",
)
def image(
    bundle: Path,
    output: Path,
    base_image: str | None,
    wheel: Path | None,
    overwrite: bool,
    public_key: tuple[Path, ...],
    certificate: tuple[Path, ...],
) -> None:
    """Write a Dockerfile and what it needs, for a model that the stock image cannot load.

    The image has the versions of Python and of the libraries that the model was made with. The same
    bundle and options give the same bytes.
    """
    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.cli_signing import read_trusted
    from pyfunc_packaging.image import write_image_context
    from pyfunc_packaging.verification import verify_signature

    trusted = read_trusted(public_key, certificate)
    digests = None if trusted is None else verify_signature(bundle, trusted).files
    loaded = load_bundle(bundle, digests=digests)
    try:
        write_image_context(
            loaded,
            output=output,
            base_image=base_image,
            wheel=wheel,
            overwrite=overwrite,
        )
    except OSError as error:
        if isinstance(error, PyFuncError):
            raise
        raise click.ClickException(f"{output}: cannot be written ({error.strerror})") from error


def _resolve(
    uri: str, artifact_root: str | None, no_check: bool, tracking_uri: str | None
) -> ResolvedModel:
    from pyfunc_packaging.resolve import resolve_model_uri

    with _quiet_libraries():
        model = resolve_model_uri(
            uri, artifact_root=artifact_root, check=not no_check, tracking_uri=tracking_uri
        )
    for sibling in model.siblings:
        click.echo(
            f"Warning: {sibling} begins as {model.uri} does, and KServe's storage initializer will"
            f" download it too; move it if it is large",
            err=True,
        )
    return model


@contextlib.contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Our message says what went wrong; retries and warnings of libraries would bury it."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path}: cannot be read ({error})") from error


def _write(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    target = path.resolve()
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o644
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            Path(name).chmod(mode)
            os.replace(name, target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise click.ClickException(f"{path}: cannot be written ({error.strerror})") from error
