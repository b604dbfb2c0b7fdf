"""The commands for deployment time: ``pyfunc resolve``, ``pyfunc manifest``, ``pyfunc image``."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyfunc_packaging.cli_signing import read_trusted, trusted_options
from pyfunc_packaging.commands import BundleDirectory, Command
from pyfunc_packaging.errors import PyFuncError
from pyfunc_packaging.terminal import print_json, waiting

if TYPE_CHECKING:
    from pyfunc_packaging.resolve import ResolvedModel

_F = TypeVar("_F", bound=Callable[..., Any])


def _model_options(command: _F) -> _F:
    """The argument and the options of everything that resolves a model URI."""
    for decorate in (
        click.option(
            "--tracking-uri",
            metavar="URI",
            help="The MLflow server.  [default: MLFLOW_TRACKING_URI]",
        ),
        click.option("--no-check", is_flag=True, help="Do not look into the storage."),
        click.option(
            "--artifact-root",
            metavar="URI",
            help="The MLflow server's --artifacts-destination, where it proxies artifacts."
            "  [default: MLFLOW_ARTIFACT_ROOT_S3]",
        ),
        click.argument("uri"),
    ):
        command = decorate(command)
    return command


@click.command(
    cls=Command,
    short_help="Find the directory of a model that MLflow knows.",
    examples=(
        (
            "Where the files of the version in production are",
            "pyfunc resolve models:/Price@production",
        ),
        (
            "On an MLflow server that proxies artifacts",
            "pyfunc resolve models:/Price/3 --artifact-root s3://bucket/mlflow",
        ),
    ),
)
@_model_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def resolve(
    uri: str, artifact_root: str | None, no_check: bool, tracking_uri: str | None, as_json: bool
) -> None:
    """Print the storage URI of a model, after checking that its files are there.

    URI is models:/name@alias, models:/name/3, models:/m-<id>, runs:/<run id>/path or
    s3://bucket/path.
    """
    model = _resolve(uri, artifact_root, no_check, tracking_uri)
    if as_json:
        print_json(dataclasses.asdict(model))
    else:
        click.echo(model.uri)


@click.command(
    cls=Command,
    short_help="Write the InferenceService that serves a model on KServe.",
    exits={1: "refused; with --diff: a difference", 2: "wrong usage; with --diff: or refused"},
    examples=(
        (
            "Deploy the version that is in production now",
            "pyfunc manifest models:/Price@production --name price --output price.yaml\n"
            "kubectl apply -f price.yaml",
        ),
        (
            "Ask in CI whether the alias has moved since",
            "pyfunc manifest models:/Price@production --name price --diff price.yaml",
        ),
    ),
)
@_model_options
@click.option(
    "--name",
    metavar="NAME",
    required=True,
    help="Name of the service and of the served model.",
)
@click.option("--namespace", metavar="NAME", help="Kubernetes namespace.")
@click.option(
    "--runtime",
    metavar="NAME",
    default="mlserver-pyfunc",
    show_default=True,
    help="ClusterServingRuntime.",
)
@click.option("--service-account", metavar="NAME", help="Service account with the S3 credentials.")
@click.option(
    "--min-replicas",
    type=int,
    metavar="N",
    help="Pods at least; 0 needs --mode knative.",
)
@click.option("--max-replicas", type=int, metavar="N", help="Pods at most.")
@click.option(
    "--target-concurrency",
    type=int,
    metavar="N",
    help="Requests in flight a pod (knative).",
)
@click.option(
    "--canary-percent",
    type=int,
    metavar="N",
    help="Traffic share of this version (knative).",
)
@click.option(
    "--mode",
    type=click.Choice(["standard", "knative"]),
    default="standard",
    show_default=True,
    help="KServe's deployment mode.",
)
@click.option(
    "--verify-key-secret",
    metavar="NAME",
    help="Secret with the public key in verify-key.pem.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write here, not to the terminal.",
)
@click.option(
    "--diff",
    "diff_file",
    metavar="FILE",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Print what would change in this file.",
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
    """
    from pyfunc_packaging.inference_service import diff, render_inference_service
    from pyfunc_packaging.replaced_file import replaced_file
    from pyfunc_packaging.resolve import ResolvedModel

    if output is not None and diff_file is not None:
        raise click.UsageError(
            "--diff only compares; leave --output out", click.get_current_context()
        )
    with contextlib.nullcontext() if diff_file is None else _told_from_a_difference():
        # what is wrong with the options is said before anybody is asked over the network
        render_inference_service(ResolvedModel("s3://bucket/model"), **options)
        model = _resolve(uri, artifact_root, no_check, tracking_uri)
        text = render_inference_service(model, **options)
        before = None if diff_file is None else _read(diff_file)
    if before is not None:
        changes = diff(before, text, name=str(diff_file))
        click.echo(changes, nl=False)
        click.get_current_context().exit(1 if changes else 0)
    if output is None:
        click.echo(text, nl=False)
    else:
        with replaced_file(output.resolve(), overwrite=True) as file:
            file.write(text.encode())


class _Trouble(click.ClickException):
    """A refusal under --diff; diff(1), too, keeps 1 for a difference."""

    exit_code = 2


@contextlib.contextmanager
def _told_from_a_difference() -> Iterator[None]:
    try:
        yield
    except (PyFuncError, click.ClickException) as error:
        raise _Trouble(str(error)) from error


@click.command(
    cls=Command,
    short_help="Write the build context of an image with a bundle's own versions.",
    examples=(
        (
            "Build an image for one bundle",
            "pyfunc image bundle --output context\ndocker build --tag price:1 context",
        ),
    ),
)
@click.argument("bundle", type=BundleDirectory())
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    required=True,
    help="Directory to write.",
)
@click.option(
    "--base-image",
    metavar="IMAGE",
    help="Image with the bundle's minor version of Python.  [default: python:3.x-slim]",
)
@click.option(
    "--wheel",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Wheel of mlserver-pyfunc to install, where no package index has it.",
)
@click.option("--overwrite", is_flag=True, help="Replace a context that was written before.")
@trusted_options
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
    from pyfunc_packaging.image import write_image_context
    from pyfunc_packaging.verification import verify_signature

    trusted = read_trusted(public_key, certificate)
    digests = None if trusted is None else verify_signature(bundle, trusted).files
    loaded = load_bundle(bundle, digests=digests)
    try:
        with waiting(f"checking the files of {bundle}, and writing {output}"):
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

    with waiting(f"resolving {uri}"), _quiet_libraries():
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
