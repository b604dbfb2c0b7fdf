"""The command ``pyfunc serve``: its options, and the start of the runtime, which has the rest."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click

from pyfunc_packaging.commands import BundleDirectory, Command

_F = TypeVar("_F", bound=Callable[..., Any])

#: One request is served by one thread, and replicas are what scales: threads that wait for one
#: another cost more than they gain on a few rows. Read by OpenMP and BLAS when they are loaded.
_ONE_THREAD = {"MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

#: How the command presents itself, here and where the runtime itself is asked.
ABOUT: dict[str, Any] = {
    "short_help": "Serve a bundle with MLServer, over REST and gRPC.",
    "help": """Serve a bundle, or any MLflow PyFunc model with a signature.

    BUNDLE is a directory, as a path or a file:// URL.  Ports open when the model is ready; SIGTERM
    finishes what is in flight and ends the server.  MLServer's own MLSERVER_* variables set
    everything that has no option here.
    """,
    "exits": {0: "ended by a signal", 3: "the model cannot be served; the log says why"},
    "examples": (
        ("Serve on http://127.0.0.1:8080, for this machine only", "pyfunc serve bundle"),
        (
            "Serve under another name, to everybody",
            "pyfunc serve bundle --name price --host 0.0.0.0",
        ),
        (
            "Serve only what a key's owner signed",
            "PYFUNC_VERIFY_KEY=public.pem pyfunc serve bundle",
        ),
    ),
}


class _Model(BundleDirectory):
    """A directory, or a ``file://`` URL of one; whether it is there the runtime finds out."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if urlsplit(str(value)).scheme == "file":
            return value
        return super().convert(value, param, ctx)


def serve_options(command: _F) -> _F:
    """The argument and the options of ``pyfunc serve``."""
    port = click.IntRange(0, 65535)
    for decorate in (
        click.option(
            "--metrics-port", type=port, metavar="PORT", help="Prometheus.  [default: 8082]"
        ),
        click.option("--grpc-port", type=port, metavar="PORT", help="gRPC.  [default: 8081]"),
        click.option("--http-port", type=port, metavar="PORT", help="REST.  [default: 8080]"),
        click.option(
            "--host", metavar="ADDRESS", help="Address to listen on.  [default: 127.0.0.1]"
        ),
        click.option(
            "--name",
            metavar="NAME",
            envvar="MLSERVER_MODEL_NAME",
            help="Name in the URL /v2/models/NAME/infer.  [default: the bundle's own]",
        ),
        click.argument("model", metavar="BUNDLE", envvar="MLSERVER_MODEL_URI", type=_Model()),
    ):
        command = decorate(command)
    return command


class _HandedOn(Command):
    """Keeps the arguments as they came."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.obj = tuple(args)
        return super().parse_args(ctx, args)


@click.command(cls=_HandedOn, **ABOUT)
@serve_options
@click.pass_context
def serve(ctx: click.Context, /, **_: Any) -> None:
    """Start the runtime with the same arguments, which were just found to be right."""
    from importlib.util import find_spec

    if find_spec("mlserver") is None:
        raise click.ClickException(
            "serving needs MLServer, which is not installed here; install mlserver-pyfunc[runtime]"
        )
    # A new program, not an import: packaging never imports the runtime. It keeps this process id,
    # so signals reach the server.
    sys.stdout.flush()
    # A container's first process never hears a signal that it does not handle yet. A blocked one
    # waits, and stays blocked until the new program has its handler.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    # -P: a module in the current folder must never stand in for one of the server
    command = [sys.executable, "-P", "-m", "mlserver_pyfunc", *ctx.obj]
    os.execve(sys.executable, command, {**_ONE_THREAD, **os.environ})  # noqa: S606 - no shell
