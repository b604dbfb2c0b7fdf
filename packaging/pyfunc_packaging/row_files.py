"""Rows from a file: CSV, Parquet or JSON, read as the columns of a signature."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from packaging.version import Version

from pyfunc_packaging.errors import InvalidArgument, UnsuitableData
from pyfunc_packaging.schema import Column

#: Lets pandas read the very number that is written there; since 3.1 it does so, and warns of this.
_EXACT: dict[str, Any] = (
    {} if Version(pd.__version__) >= Version("3.1") else {"float_precision": "round_trip"}
)

#: What stands for a missing value in a CSV file; among texts only an empty cell does, because
#: "NA" and "None" may be texts that the model knows.
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]


def read_rows(path: Path, columns: Sequence[Column]) -> pd.DataFrame:
    """Read the rows of a file.

    Parameters
    ----------
    path : pathlib.Path
        Its ending says what it is: ``.csv``, ``.parquet``, ``.json`` (a list of objects, or a V2
        inference request) or ``.jsonl`` (an object a line).
    columns : sequence of Column
        What a model takes; they say how texts, integers and datetimes are read. Other columns of
        the file are kept.

    Returns
    -------
    pandas.DataFrame of shape (n, m)

    Raises
    ------
    InvalidArgument
        If there is no such file, or its ending is another one.
    UnsuitableData
        If it does not hold what its ending says, or no rows.

    Examples
    --------
    >>> read_rows(Path("rows.xlsx"), [])
    Traceback (most recent call last):
        ...
    pyfunc_packaging.errors.InvalidArgument: rows.xlsx: expected a file that ends in .csv, ...
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidArgument(f"{path}: expected a file that ends in {', '.join(_READERS)}")
    if not path.is_file():
        raise InvalidArgument(f"{path}: no such file; expected one with rows")
    types = {column.name: column.type for column in columns}
    try:
        rows = reader(path, types)
        for name, kind in types.items():
            if kind == "datetime" and name in rows and not _is_datetime(rows[name]):
                rows[name] = pd.to_datetime(rows[name], format="ISO8601")
    except ImportError as error:
        raise InvalidArgument(
            f"{path}: reading it needs the Python module pyarrow, which is not installed here; give"
            f" the rows as CSV or JSON"
        ) from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        first, *_ = str(error).splitlines() or [type(error).__name__]
        raise UnsuitableData(
            f"{path}: cannot be read as {path.suffix[1:]} with the model's columns ({first:.200})"
        ) from error
    if len(rows) == 0:
        raise UnsuitableData(f"{path}: expected rows, found none")
    return rows


def _is_datetime(series: pd.Series[Any]) -> bool:
    return bool(pd.api.types.is_datetime64_any_dtype(series))


def _read_csv(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    dtypes = {"string": "object", "datetime": "object", "integer": "Int64", "long": "Int64"}
    names = _check_csv(path)
    with path.open("rb") as file:
        return pd.read_csv(
            file,
            encoding="utf-8-sig",
            dtype={name: dtypes[types[name]] for name in names if types.get(name) in dtypes},
            keep_default_na=False,
            na_values={name: [""] if types.get(name) == "string" else _MISSING for name in names},
            **_EXACT,
        )


def _check_csv(path: Path) -> list[str]:
    """The names of a CSV file's columns, once every line has a cell for each.

    pandas would fill up the lines that end early, as that of a file which was cut off, and number
    the names that are there twice.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:  # Excel begins its files with a mark
        lines = csv.reader(file, strict=True)
        try:
            names = next(lines, [])
            for cells in lines:
                if cells and len(cells) != len(names):
                    raise ValueError(
                        f"line {lines.line_num}: expected {len(names)} cells, found {len(cells)}"
                    )
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from error
    _check_names(names)
    return names


def _check_names(names: Sequence[Any]) -> None:
    if not names:
        raise ValueError("no columns")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise ValueError(f"the column {twice[0]!r:.80} is there more than once")


def _read_parquet(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    return pd.read_parquet(path)


def _read_json(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    content = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(content, dict) and isinstance(content.get("inputs"), list):
        try:
            _check_names([tensor["name"] for tensor in content["inputs"]])
            cells = {tensor["name"]: tensor["data"] for tensor in content["inputs"]}
        except (KeyError, TypeError) as error:
            raise ValueError("every input of a request needs a name and data") from error
        return pd.DataFrame(cells, dtype=object)
    return _records(content)


def _read_lines(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    return _records([json.loads(line) for line in lines if line.strip()])


def _records(content: Any) -> pd.DataFrame:
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise ValueError("expected a list of objects, or a V2 inference request")
    return pd.DataFrame(content, dtype=object)


_READERS = {
    ".csv": _read_csv,
    ".parquet": _read_parquet,
    ".json": _read_json,
    ".jsonl": _read_lines,
}
