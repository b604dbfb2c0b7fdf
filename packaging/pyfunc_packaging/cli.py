"""The command line: ``pyfunc``."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

import click

from pyfunc_packaging import cli_deploy, cli_signing
from pyfunc_packaging._version import __version__
from pyfunc_packaging.errors import PyFuncError

#: One request is served by one thread, and replicas are what scales: threads that wait for one
#: another cost more than they gain on a few rows. Read by OpenMP and BLAS when they are loaded.
_ONE_THREAD = {"MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class _Commands(click.Group):
    """Turns our own errors into one line and exit status 1."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except PyFuncError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="mlserver-pyfunc")
def main() -> None:
    """Look into, find, deploy and serve models that package_model() wrote.

    Exit status: 0 done, 1 refused with one line that says why, 2 wrong usage. A command that has
    other ones says so.
    """


@main.command(short_help="Show what is in a bundle.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show what is in a bundle, after checking that its files are whole.

    Nothing in the bundle is imported or unpickled.
    """
    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.inspection import describe, show

    loaded = load_bundle(bundle)
    if as_json:
        click.echo(json.dumps(describe(loaded), indent=2))
    else:
        show(loaded)


@main.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
    short_help="Serve a bundle with MLServer, over REST and gRPC.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def serve(arguments: tuple[str, ...]) -> NoReturn:
    """Serve a bundle; the runtime has the options."""
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
    command = [sys.executable, "-P", "-m", "mlserver_pyfunc", *arguments]
    os.execve(sys.executable, command, {**_ONE_THREAD, **os.environ})  # noqa: S606 - no shell


main.add_command(cli_signing.sign)
main.add_command(cli_signing.verify)
main.add_command(cli_deploy.resolve)
main.add_command(cli_deploy.manifest)
main.add_command(cli_deploy.image)
