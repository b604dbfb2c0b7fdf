"""The command line: ``pyfunc``."""

from __future__ import annotations

from pathlib import Path

import click

from pyfunc_packaging import (
    cli_compare,
    cli_completion,
    cli_deploy,
    cli_predict,
    cli_serve,
    cli_signing,
)
from pyfunc_packaging._version import __version__
from pyfunc_packaging.commands import (
    INTERRUPTED,
    OUR_FAULT,
    UNREAD,
    BundleDirectory,
    Command,
    Group,
)
from pyfunc_packaging.terminal import print_json, waiting


@click.group(
    cls=Group,
    name="pyfunc",
    exits={
        3: "`compare --fail-on` found it; `serve` cannot serve the model",
        OUR_FAULT: "a fault of pyfunc's own, with a traceback",
        INTERRUPTED: "interrupted (Ctrl-C)",
        UNREAD: "nobody reads the output any more",
    },
    examples=(
        ("Look into a bundle, then serve it", "pyfunc inspect bundle\npyfunc serve bundle"),
        (
            "What a new version would change for those who call the old one",
            "pyfunc compare old new",
        ),
    ),
)
@click.version_option(__version__, package_name="mlserver-pyfunc")
def main() -> None:
    """Look into, compare, sign, find, deploy and serve models that package_model() wrote.

    Results go to stdout, everything else to stderr.  With --json, stdout is one JSON document, or
    empty.  Colours and spinners are for terminals; NO_COLOR and FORCE_COLOR are heeded.
    """


@main.command(
    cls=Command,
    short_help="Show what is in a bundle.",
    examples=(
        ("For people", "pyfunc inspect bundle"),
        ("The names of its inputs", "pyfunc inspect bundle --json | jq -r '.inputs[].name'"),
    ),
)
@click.argument("bundle", type=BundleDirectory())
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show what is in a bundle, after checking that its files are whole.

    Nothing in the bundle is imported or unpickled.
    """
    from pyfunc_packaging.bundle import load_bundle
    from pyfunc_packaging.inspection import describe, show

    with waiting(f"checking the files of {bundle}"):
        loaded = load_bundle(bundle)
    if as_json:
        print_json(describe(loaded))
    else:
        show(loaded)


main.add_command(cli_compare.compare)
main.add_command(cli_predict.predict)
main.add_command(cli_signing.sign)
main.add_command(cli_signing.verify)
main.add_command(cli_deploy.resolve)
main.add_command(cli_deploy.manifest)
main.add_command(cli_deploy.image)
main.add_command(cli_serve.serve)
main.add_command(cli_completion.completion)
