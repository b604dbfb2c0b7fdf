"""What the tests of faults share: a small model, and how often each fault is tried."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pyfunc_packaging import package_model

# the clients are those of benchmarks/faults.py, so that both measure the same
sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))


@pytest.fixture(scope="module", autouse=True)
def _all_unchecked(all_unchecked: None) -> None:
    """What is served here was packaged here; that bundles travel is tested in tests/e2e."""


@pytest.fixture(scope="session")
def often() -> Callable[[int, int], int]:
    """How many times: few within ``make test``, many within ``make faults``."""
    many = os.environ.get("PYFUNC_FAULTS") == "many"
    return lambda few, all_of_them: all_of_them if many else few


@pytest.fixture(scope="session")
def price(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose price is ten times its rooms."""
    return make_price(tmp_path_factory.mktemp("price") / "price", factor=10)


def make_price(path: Path, *, factor: int, **options: Any) -> Path:
    from sklearn.linear_model import LinearRegression

    rows = pd.DataFrame({"rooms": np.arange(2.0, 60.0)})
    target = pd.Series(factor * rows["rooms"], name="price")
    model = LinearRegression().fit(rows, target)
    return package_model(model, rows, y=target, path=path, name="price", **options).path


@pytest.fixture(scope="session")
def package_price() -> Callable[..., Path]:
    """Package a model of ``price = factor * rooms``."""
    return make_price
