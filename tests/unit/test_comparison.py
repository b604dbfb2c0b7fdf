"""Rows from files, and how their predictions are compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pyfunc_packaging.errors import PyFuncError
from pyfunc_packaging.frame import from_frame
from pyfunc_packaging.prediction_changes import compare_outputs
from pyfunc_packaging.row_files import read_rows
from pyfunc_packaging.schema import Column, Schema, Tensor

COLUMNS = [
    Column("rooms", "double", nullable=True),
    Column("code", "string", nullable=True),
    Column("count", "long", nullable=True),
    Column("new", "boolean"),
    Column("sold", "datetime"),
]
BIG = 2**60 + 1
CSV = f"""\ufeffrooms,code,count,new,sold,more
0.1,007,{BIG},True,2026-01-01T00:00:00,1
NA,,,False,2026-01-02,2
"""
RECORDS = [
    {"rooms": 0.1, "code": "007", "count": BIG, "new": True, "sold": "2026-01-01"},
    {"rooms": None, "code": None, "count": None, "new": False, "sold": "2026-01-02"},
]


def write(path: Path) -> None:
    if path.suffix == ".csv":
        path.write_text(CSV, encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("\n\n".join(map(json.dumps, RECORDS)) + "\n")
    elif path.suffix == ".parquet":
        frame = pd.DataFrame(RECORDS).astype({"count": "Int64"})
        frame["count"] = pd.array([BIG, None], dtype="Int64")
        frame["sold"] = pd.to_datetime(frame["sold"])
        frame.to_parquet(path)
    elif path.name == "v2.json":
        tensors = [{"name": name, "data": [row[name] for row in RECORDS]} for name in RECORDS[0]]
        path.write_text(json.dumps({"inputs": tensors}))
    else:
        path.write_text(json.dumps(RECORDS))


@pytest.mark.parametrize("name", ["a.csv", "a.json", "v2.json", "a.jsonl", "a.parquet", "A.CSV"])
def test_read_rows(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write(path if path.suffix != ".CSV" else path.with_suffix(".csv"))
    if path.suffix == ".CSV":
        path.with_suffix(".csv").rename(path)
    values = from_frame(Schema(tuple(COLUMNS)), read_rows(path, COLUMNS))
    assert values["rooms"].tolist()[0] == 0.1
    assert np.isnan(values["rooms"][1])
    assert values["code"].tolist() == ["007", None]
    assert values["count"].tolist() == [BIG, None]
    assert values["new"].tolist() == [True, False]
    assert values["sold"].astype("datetime64[D]").astype(str).tolist() == [
        "2026-01-01",
        "2026-01-02",
    ]


def test_a_text_that_looks_missing_is_a_text(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("code\nNA\nNone\n")
    assert read_rows(path, COLUMNS)["code"].tolist() == ["NA", "None"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.xlsx", b"", "expected a file that ends in .csv, .parquet, .json, .jsonl"),
        ("rows", b"", "expected a file that ends in .csv"),
        ("none.csv", None, "no such file"),
        ("rows.csv", b"", "cannot be read as csv with the model's columns (no columns"),
        ("rows.csv", b"rooms,code\n1,a\n2", "line 3: expected 2 cells, found 1"),
        ("rows.csv", b"rooms,code\n1,a,3\n", "line 2: expected 2 cells, found 3"),
        ("rows.csv", b'rooms,code\n1,"a', "line 2: unexpected end of data"),
        ("rows.csv", b"rooms,rooms\n1,2\n", "the column 'rooms' is there more than once"),
        (
            "rows.json",
            b'{"inputs": [{"name": "a", "data": [1]}, {"name": "a", "data": [1]}]}',
            "the column 'a' is there more than once",
        ),
        ("rows.json", b'{"inputs": []}', "no columns"),
        ("rows.json", b'{"inputs": [{"name": [1], "data": [1]}]}', "cannot be read as json"),
        ("rows.csv", b"rooms\n", "expected rows, found none"),
        ("rows.csv", b"count\n1.5\n", "cannot be read as csv"),
        ("rows.csv", b"rooms,code\n1\xff\xfe,x\n", "cannot be read as csv"),
        ("rows.csv", b"sold\nyesterday\n", "cannot be read as csv"),
        ("rows.json", b'{"a": 1}', "expected a list of objects, or a V2 inference request"),
        ("rows.json", b'{"inputs": [{"data": [1]}]}', "every input of a request needs a name"),
        ("rows.json", b'[{"rooms": 1}', "cannot be read as json"),
        ("rows.json", b"[" * 100_000, "cannot be read as json"),
        ("rows.json", b"[]", "expected rows, found none"),
        ("rows.jsonl", b"[1]\n", "expected a list of objects"),
        ("rows.parquet", b"no", "cannot be read as parquet"),
    ],
)
def test_rows_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(PyFuncError) as caught:
        read_rows(path, COLUMNS)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert words in message
    assert "\n" not in message


# --- outputs ------------------------------------------------------------------------------------


def outputs(
    old: Any, new: Any, before: list[Any], after: list[Any], dtype: str = "float64"
) -> dict[str, Any]:
    predictions = [{"y": np.array(before, dtype)}, {"y": np.array(after, dtype)}]
    (facts,) = compare_outputs([old], [new], predictions)
    return facts


PRICE = Column("y", "double")


def test_missing_predictions() -> None:
    nan, inf = float("nan"), float("inf")
    facts = outputs(PRICE, PRICE, [nan, 1.0, nan, inf, 2.0], [nan, nan, 1.0, inf, 2.5])
    assert (facts["differing"], facts["largest"], facts["row"]) == (3, 0.5, 4)
    facts = outputs(PRICE, PRICE, [nan, inf], [1.0, 1.0])
    assert (facts["differing"], facts["largest"], facts["mean"]) == (2, None, None)


def test_rounding_is_no_difference() -> None:
    facts = outputs(PRICE, PRICE, [1.0, 1000.0], [1.0 + 1e-10, 1000.0])
    assert facts["differing"] == 0
    assert facts["largest"] == pytest.approx(1e-10, rel=1e-3)
    assert outputs(PRICE, PRICE, [1.0], [1.0 + 1e-8])["differing"] == 1


def test_integers_are_labels() -> None:
    label = Column("y", "long")
    facts = outputs(label, label, [1, 2, 2, 2], [1, 3, 3, 1], "int64")
    assert (facts["kind"], facts["differing"]) == ("label", 3)
    assert facts["changes"] == [{"from": 2, "to": 3, "rows": 2}, {"from": 2, "to": 1, "rows": 1}]


def test_probabilities_are_compared_by_class() -> None:
    old = Tensor("y", "float64", (-1, 2), ("no", "yes"))
    new = Tensor("y", "float64", (-1, 3), ("yes", "maybe", "no"))
    facts = outputs(old, new, [[0.25, 0.75]], [[0.75, 0.0, 0.25]])
    assert (facts["classes"], facts["differing"]) == (["no", "yes"], 0)


def test_outputs_of_another_shape() -> None:
    facts = outputs(PRICE, Tensor("y", "float64", (-1, 2)), [1.0], [[1.0, 2.0]])
    assert (facts["kind"], facts["differing"]) == ("shape", 1)


def test_a_renamed_target_is_compared_all_the_same() -> None:
    predictions = [{"price": np.array([1.0])}, {"value": np.array([2.0])}]
    (facts,) = compare_outputs(
        [Column("price", "double")], [Column("value", "double")], predictions
    )
    assert (facts["name"], facts["largest"]) == ("price", 1.0)
