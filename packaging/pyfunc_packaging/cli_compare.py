"""The command ``pyfunc compare``."""

from __future__ import annotations

from pathlib import Path

import click

from pyfunc_packaging.commands import FORMAT, BundleDirectory, Command
from pyfunc_packaging.errors import MissingDependency
from pyfunc_packaging.terminal import print_json, waiting

#: Exit status where `--fail-on` says so.
FOUND = 3


@click.command(
    cls=Command,
    short_help="Compare two bundles: signature, quality, speed, predictions.",
    exits={FOUND: "what --fail-on names was found"},
    examples=(
        ("What the new version would change", "pyfunc compare old new"),
        (
            "Stop a deployment that would break those who call the old version",
            "pyfunc compare old new --fail-on breaking",
        ),
        (
            "How many rows of a table get another prediction",
            "pyfunc compare old new --input rows.csv --json | jq '.predictions.outputs'",
        ),
    ),
)
@click.argument("a", type=BundleDirectory())
@click.argument("b", type=BundleDirectory())
@click.option(
    "--input",
    "rows",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rows to predict: CSV, JSON lines, Parquet or Arrow, as `predict` takes them.  [default:"
    " the golden rows that both take]",
)
@click.option("--input-format", type=FORMAT, help="Where the name's ending does not say it.")
@click.option(
    "--missing",
    multiple=True,
    metavar="TEXT",
    help="Stands for a missing value in CSV, as an empty cell does.  May be repeated.",
)
@click.option(
    "--fail-on",
    type=click.Choice(["breaking", "predictions"]),
    multiple=True,
    help="Exit 3 where the signature breaks callers of A (breaking), or where predictions differ"
    " or cannot be compared (predictions).  May be repeated.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@click.pass_context
def compare(
    ctx: click.Context,
    a: Path,
    b: Path,
    rows: Path | None,
    input_format: str | None,
    missing: tuple[str, ...],
    fail_on: tuple[str, ...],
    as_json: bool,
) -> None:
    """Compare bundle B with bundle A, for those who call A now.

    A change of the signature is breaking where B refuses what A takes, or answers in another form.
    Quality and recorded times are those in the bundles.  Both predict the same rows here, each with
    the engine that serves it.

    A model that runs code when it is loaded needs PYFUNC_TRUST, as for a server; with
    PYFUNC_VERIFY_KEY, both have to be signed.
    """
    if rows is None and (input_format or missing):
        option = "--input-format" if input_format else "--missing"
        raise click.UsageError(f"{option} says how --input is read; add --input FILE")
    from pyfunc_packaging.comparison_view import show

    try:
        from pyfunc_packaging.comparison import compare_bundles, differs
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"comparing needs the Python module {error.name!r}, which is not installed here;"
            f" install mlserver-pyfunc[runtime]"
        ) from error

    with waiting("comparing"):
        facts = compare_bundles(a, b, rows=rows, input_format=input_format, missing=missing)
    if as_json:
        print_json(facts)
    else:
        show(facts)
    found = []
    if "breaking" in fail_on and facts["signature"]["breaking"]:
        found.append("the signature breaks callers of A")
    if "predictions" in fail_on and differs(facts["predictions"]):
        found.append(
            "predictions cannot be compared"
            if facts["predictions"]["reason"]
            else "predictions differ"
        )
    if found:
        click.echo(f"Failed: {'; '.join(found)}", err=True)
        ctx.exit(FOUND)
