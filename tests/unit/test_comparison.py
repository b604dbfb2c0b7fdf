"""How predictions of the same rows are compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from pyfunc_packaging.prediction_changes import compare_outputs
from pyfunc_packaging.schema import Column, Tensor


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
    assert (facts["differing"], facts["largest"], facts["row"]) == (3, 0.5, 5)
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
