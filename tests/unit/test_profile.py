import json

import numpy as np
import pandas as pd
import pytest

from pyfunc_packaging.infer import infer_columns
from pyfunc_packaging.profile import MAX_CATEGORIES, profile, profile_predictions
from pyfunc_packaging.schema import Column, Tensor

QUANTILES = ["0.0", "0.05", "0.25", "0.5", "0.75", "0.95", "1.0"]


def summary(series):
    frame = pd.DataFrame({"x": series})
    result = profile(infer_columns(frame), frame)
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert result["rows"] == len(frame)
    return result["columns"]["x"]


@pytest.mark.parametrize("dtype", ["int64", "int8", "Int64", "float32", "float64", "uint8"])
def test_numbers_have_quantiles_and_a_mean(dtype):
    found = summary(pd.Series(range(101), dtype=dtype))
    assert list(found) == ["type", "missing", "quantiles", "mean"]
    assert list(found["quantiles"]) == QUANTILES
    values = list(found["quantiles"].values())
    assert values == pytest.approx([0.0, 5.0, 25.0, 50.0, 75.0, 95.0, 100.0])
    assert (found["missing"], found["mean"]) == (0, 50.0)


def test_missing_and_infinite_numbers_are_left_out():
    found = summary([1.0, np.nan, np.inf, -np.inf, 3.0])
    assert (found["missing"], found["mean"]) == (1, 2.0)
    assert (found["quantiles"]["0.0"], found["quantiles"]["1.0"]) == (1.0, 3.0)


@pytest.mark.parametrize("series", [[np.inf, np.nan], [np.nan, np.nan]])
def test_a_column_without_finite_numbers_has_no_quantiles(series):
    assert summary(series) == {"type": "double", "missing": sum(np.isnan(series))}


def test_numbers_whose_sum_overflows_have_no_mean():
    largest = np.finfo(np.float64).max
    found = summary([largest, largest])
    assert found["mean"] is None
    assert found["quantiles"]["0.5"] == largest


@pytest.mark.parametrize("dtype", ["object", "str", "category", "string"])
def test_text_is_counted_the_most_frequent_first(dtype):
    found = summary(pd.Series(["b", "a", None, "a"], dtype=dtype))
    assert found == {
        "type": "string",
        "missing": 1,
        "distinct": 2,
        "categories": {"a": 2, "b": 1},
    }
    assert list(found["categories"]) == ["a", "b"]


def test_a_column_of_names_keeps_none():
    found = summary([f"name {i}" for i in range(MAX_CATEGORIES + 7)])
    assert found["distinct"] == MAX_CATEGORIES + 7
    assert "categories" not in found


def test_booleans_are_counted():
    assert summary([True, False, True])["categories"] == {"True": 2, "False": 1}


def test_datetimes_have_a_range():
    found = summary(pd.to_datetime(["2026-11-22", None, "2025-01-01T12:00:00"], format="ISO8601"))
    assert found == {
        "type": "datetime",
        "missing": 1,
        "from": "2025-01-01T12:00:00.000000000",
        "to": "2026-11-22T00:00:00.000000000",
    }


def test_predictions_lie_between_their_tenths():
    found = profile_predictions(
        [Column("y", "double")], {"y": np.arange(1.0, 1002.0)}, labels=False
    )["y"]
    assert found["bounds"] == [1.0, *range(101, 1002, 100)]
    assert found["at_most"] == pytest.approx([k / 10 for k in range(11)], abs=1e-3)


def test_predictions_that_are_not_finite_are_left_out():
    values = np.array([1.0, np.nan, np.inf, 2.0])
    found = profile_predictions([Column("y", "double")], {"y": values}, labels=False)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["y"]["bounds"][0], found["y"]["bounds"][-1]) == (1.0, 2.0)
    assert found["y"]["at_most"][-1] == 1.0


@pytest.mark.parametrize("values", [["no", "yes", "no", "no"], [False, True, False, False]])
def test_labels_have_their_ratios(values):
    [first, second] = sorted({str(value) for value in values})
    column = Column("y", "string" if isinstance(values[0], str) else "boolean")
    found = profile_predictions([column], {"y": np.array(values)}, labels=True)
    assert found == {"y": {"labels": {first: 0.75, second: 0.25}}}


def test_probabilities_and_countless_labels_have_no_profile():
    outputs = [Column("y", "long"), Tensor("p", "float64", (-1, 2), (0, 1))]
    predictions = {"y": np.arange(MAX_CATEGORIES + 1), "p": np.zeros((MAX_CATEGORIES + 1, 2))}
    assert profile_predictions(outputs, predictions, labels=True) == {}
