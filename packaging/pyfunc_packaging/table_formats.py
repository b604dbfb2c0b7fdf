"""The formats of tables in files, and which of them a file is in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pyfunc_packaging.errors import InvalidArgument, ModelFailure, UnsuitableData

#: What each format is called where a file is not in it.
FORMATS: Mapping[str, str] = {
    "csv": "CSV with a line of names",
    "jsonl": "JSON lines",
    "parquet": "Parquet",
    "arrow": "an Arrow (Feather) file or stream",
}

#: Formats that can be read and written piece by piece, and so through a pipe.
PIPED = ("csv", "jsonl")

#: Ending of a file -> its format.
ENDINGS: Mapping[str, str] = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
}


def choose_format(path: str, said: str | None, option: str) -> str:
    """The format of a file.

    Parameters
    ----------
    path : str
        Its ending says it; ``-`` is a pipe.
    said : str or None
        What somebody said it is.
    option : str
        Of the command line, which says it.

    Raises
    ------
    InvalidArgument
        If nobody knows, or the format does not go through a pipe.

    Examples
    --------
    >>> choose_format("rows.PQ", None, "--input-format")
    'parquet'
    >>> choose_format("rows.txt", "csv", "--input-format")
    'csv'
    """
    kind = said or ENDINGS.get(Path(path).suffix.lower(), "")
    if kind not in FORMATS:
        raise InvalidArgument(
            f"{path}: expected a name that ends in {', '.join(ENDINGS)}, or {option} with one of"
            f" {', '.join(FORMATS)}"
        )
    if path == "-" and kind not in PIPED:
        raise InvalidArgument(
            f"-: {kind} cannot go through a pipe here; use {' or '.join(PIPED)}, or a file"
        )
    return kind


@contextmanager
def naming(path: str) -> Iterator[None]:
    """Say in which file something does not fit."""
    try:
        yield
    except (UnsuitableData, ModelFailure) as error:
        raise type(error)(f"{path}: {error}") from error
