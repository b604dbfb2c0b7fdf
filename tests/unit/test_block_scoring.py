"""Which row a model fails on."""

import numpy as np
import pytest

from pyfunc_packaging.block_scoring import BlockScorer
from pyfunc_packaging.blocks import Block
from pyfunc_packaging.errors import ModelFailure
from pyfunc_packaging.schema import Schema


class Failing:
    """Stands for a model that fails on some rows; real ones that do are in tests/e2e."""

    engine = "pyfunc"
    schema = Schema(())

    def __init__(self, fails):
        self.fails = fails
        self.calls = 0

    def predict_columns(self, columns, rows):
        self.calls += 1
        assert len(columns["x"]) == rows > 0
        if self.fails(columns["x"]):
            raise ValueError("of the\nmodel")
        return {}


def find(scorer, rows):
    with pytest.raises(ModelFailure) as caught:
        BlockScorer(scorer, None).predict({"x": np.arange(rows)}, Block(101, rows, {}))
    return str(caught.value)


@pytest.mark.parametrize("rows", [2, 3, 7, 8, 8192])
@pytest.mark.parametrize("share", [0, 0.3, 0.5, 1])
def test_the_first_row_that_a_model_fails_on_is_found(rows, share):
    bad = int(share * (rows - 1))
    scorer = Failing(lambda cells: (cells >= bad).any())
    assert find(scorer, rows) == f"row {101 + bad:,}: the model raised ValueError: of the model"
    assert scorer.calls < 20


@pytest.mark.parametrize("rows", [2, 3, 8192])
def test_no_row_is_blamed_for_what_they_do_together(rows):
    scorer = Failing(lambda cells: len(cells) == rows)
    assert find(scorer, rows).startswith(f"rows 101 to {100 + rows:,}: the model raised")
    assert scorer.calls < 20


def test_a_single_row_is_to_blame_itself():
    assert find(Failing(lambda cells: True), 1).startswith("row 101: the model raised")
