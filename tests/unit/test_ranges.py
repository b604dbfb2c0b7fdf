"""Which numbers a column could have held: one rule for both engines."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.frame import to_series
from pyfunc_packaging.ranges import limits
from pyfunc_packaging.schema import Column
from pyfunc_packaging.session import to_input


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        ("int8", (-128, 127)),
        ("Int16", (-(2**15), 2**15 - 1)),
        ("int32[pyarrow]", (-(2**31), 2**31 - 1)),
        ("uint32", (0, 2**32 - 1)),
        ("UInt64", (0, 2**64 - 1)),
        ("uint64[pyarrow]", (0, 2**64 - 1)),
        ("float16", (-65504.0, 65504.0)),
        ("halffloat[pyarrow]", (-65504.0, 65504.0)),
        *[(name, None) for name in ("int64", "Int64", "float64", "double[pyarrow]", "bool")],
        *[(name, None) for name in ("category", "object", "str", "datetime64[ns]", None)],
    ],
)
def test_limits(dtype: str | None, expected: Any) -> None:
    assert limits(dtype) == expected


LARGEST = float(np.finfo("float32").max)


@pytest.mark.parametrize(
    ("column", "fits", "does_not"),
    [
        (Column("x", "integer", dtype="int8"), [-128, 127], 128),
        (Column("x", "integer", dtype="Int8", nullable=True), [-128, 127], -129),
        (Column("x", "integer", dtype="int16[pyarrow]", nullable=True), [-(2**15)], 2**15),
        (Column("x", "long", dtype="uint32"), [0, 2**32 - 1], 2**32),
        (Column("x", "long", dtype="uint64"), [0, 2**63 - 1], -1),
        (Column("x", "long", dtype="uint64[pyarrow]", nullable=True), [0, 2**53], -1),
        (Column("x", "float", dtype="float16"), [65504.0, np.inf], 1e6),
        (Column("x", "double", dtype="float32"), [LARGEST, -np.inf, np.nan], 1e39),
        (Column("x", "double", dtype="float[pyarrow]", nullable=True), [LARGEST], -1e39),
    ],
)
def test_both_engines_refuse_the_same(column: Column, fits: list[Any], does_not: Any) -> None:
    kind = {"integer": "int32", "long": "int64", "float": "float32", "double": "float64"}
    values = np.array(fits, dtype=kind[column.type])
    assert to_input(column, values).ravel().tolist() == pytest.approx(
        to_series(column, values).astype(float).tolist(), rel=0.0, nan_ok=True
    )
    reason = f"column 'x': a number is too large for {re.escape(str(column.dtype))}"
    for convert in (to_series, to_input):
        with pytest.raises(UnsuitableData, match=reason):
            convert(column, np.array([does_not, *fits], dtype=kind[column.type]))


@pytest.mark.parametrize("convert", [to_series, to_input])
def test_large_integers_beside_missing_ones(convert: Any) -> None:
    column = Column("x", "long", dtype="int64", nullable=True)
    large = np.ma.MaskedArray([2**53 + 1, 0], mask=[False, True])
    with pytest.raises(UnsuitableData, match=r"column 'x': an integer beyond 2\*\*53 next to"):
        convert(column, large)
    hidden = np.ma.MaskedArray([2**53 + 1, 7], mask=[True, False])
    assert np.ravel(convert(column, hidden))[1] == 7.0
    complete = np.ma.MaskedArray([2**53 + 1, 7], mask=[False, False])
    assert np.ravel(convert(column, complete))[1] == 7
