"""The command ``pyfunc predict``."""

from __future__ import annotations

from pathlib import Path

import click

from pyfunc_packaging.commands import FORMAT, BundleDirectory, Command


@click.command(
    cls=Command,
    short_help="Predict the rows of a file, without a server.",
    examples=(
        (
            "Add the predictions to the columns of a file",
            "pyfunc predict bundle --input rows.parquet --output scored.parquet",
        ),
        (
            "From one pipe into another",
            "zcat rows.csv.gz | pyfunc predict bundle --input-format csv --input - \\\n"
            "    --output-format jsonl --output - > scored.jsonl",
        ),
    ),
)
@click.argument("bundle", type=BundleDirectory())
@click.option(
    "--input", "input_path", required=True, help="Rows; - is standard input.", metavar="FILE"
)
@click.option(
    "--output", "output_path", required=True, help="Result; - is standard output.", metavar="FILE"
)
@click.option("--input-format", type=FORMAT, help="Where the name's ending does not say it.")
@click.option("--output-format", type=FORMAT, help="Where the name's ending does not say it.")
@click.option("--only-predictions", is_flag=True, help="Leave out the input's columns.")
@click.option(
    "--prefix", default="", metavar="TEXT", help="What the predictions' names begin with."
)
@click.option(
    "--missing",
    multiple=True,
    metavar="TEXT",
    help="Stands for a missing value in CSV, as an empty cell does.  May be repeated.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file that is there.")
def predict(
    bundle: Path,
    input_path: str,
    output_path: str,
    input_format: str | None,
    output_format: str | None,
    only_predictions: bool,
    prefix: str,
    missing: tuple[str, ...],
    overwrite: bool,
) -> None:
    """Predict every row of a file into another file.

    Files are CSV (.csv), JSON lines (.jsonl, .ndjson), Parquet (.parquet) or Arrow (.arrow,
    .feather), of any size.  The result has the input's columns and the predictions; it is there as
    a whole or not at all.

    A model that runs code when it is loaded needs PYFUNC_TRUST, as for a server.
    """
    from pyfunc_packaging.errors import MissingDependency

    try:
        from pyfunc_packaging.batch import predict_file
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"predicting files needs the Python module {error.name!r}, which is not installed here;"
            f" install mlserver-pyfunc[packaging]"
        ) from error
    scored = predict_file(
        bundle,
        input_path,
        output_path=output_path,
        input_format=input_format,
        output_format=output_format,
        only_predictions=only_predictions,
        prefix=prefix,
        missing=missing,
        overwrite=overwrite,
    )
    rate = f", {scored.rows / scored.seconds:,.0f} a second" if scored.rows else ""
    click.echo(
        f"predicted: {output_path} ({scored.rows:,} rows in {scored.seconds:.1f} s{rate}, with"
        f" the {scored.engine} engine)",
        err=output_path == "-",
    )
