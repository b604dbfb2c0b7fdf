"""Discretizers. CASES is what docs/compilation.md lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.preprocessing import Binarizer, KBinsDiscretizer
from spox import Tensor, argument, build

from pyfunc_packaging.compile.discretizing import search_sorted
from pyfunc_packaging.testing import assert_compiles

CASES = [
    (KBinsDiscretizer(quantile_method="averaged_inverted_cdf"), "numbers"),
    (KBinsDiscretizer(n_bins=2, encode="onehot-dense", strategy="uniform"), "numbers"),
    (KBinsDiscretizer(n_bins=9, encode="ordinal", strategy="kmeans"), "positive"),
    (KBinsDiscretizer(encode="onehot-dense", quantile_method="linear"), "flags"),
    (KBinsDiscretizer(encode="ordinal", strategy="uniform", dtype=np.float32), "numbers"),
    (KBinsDiscretizer(encode="onehot", strategy="uniform"), "counts"),
    (Binarizer(), "numbers"),
    (Binarizer(threshold=1.5), "counts"),
]


@pytest.mark.parametrize(("estimator", "data"), CASES)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(10, 200))
@settings(max_examples=3, deadline=None, derandomize=True)
def test_equal(
    estimator: Any, data: str, seed: int, rows: int, prove_case: Callable[..., None]
) -> None:
    prove_case(estimator, data, seed=seed, rows=rows, method="transform")


def test_bins_differ_by_column() -> None:
    X = pd.DataFrame({"few": [0.0, 1.0, 2.0, 5.0], "many": [1.0, 2.0, 3.0, 9.0], "one": 7.0})
    bins = KBinsDiscretizer([2, 4, 3], strategy="uniform", encode="onehot-dense")
    with pytest.warns(UserWarning, match="constant"):
        bins.fit(X)
    assert_compiles(bins, X, method="transform")


def test_values_on_edges_belong_above() -> None:
    x = np.array([0.0, 1.0, 1.0, 2.0, np.nextafter(2.0, 0), 3.0, -1.0, np.nan])
    edges = np.array([0.0, 1.0, 1.0, 2.0])
    column = argument(Tensor(np.float64, ("n", 1)))
    graph = build({"x": column}, {"bins": search_sorted(column, [edges])})
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (bins,) = session.run(None, {"x": x.reshape(-1, 1)})
    assert bins.ravel().tolist() == np.searchsorted(edges, x, side="right").tolist()
