"""Numpy's elementwise functions, on all the numbers that are special to one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
import spox.opset.ai.onnx.v21 as op
from spox import Tensor, Var, argument, build

from pyfunc_packaging.compile import arithmetic as ar

Array = npt.NDArray[np.float64]

_SIZES = [0.0, 1.0, 0.5, 2.0, 2.5, 3.0, 7.0, 0.1, 0.3, 1 / 3, 0.69, 36.0, 38.0, 709.0, 710.0, 745.0]
_SIZES += [750.0, 1e-30, 5e-324, 1e-300, 1e-16, 1e-15, 1e-8, 1e-5, 1e9, 2.0**53 + 2, 1e30, 1e300]
_SIZES += [1.7e308, np.inf, np.nextafter(1, 0), np.nextafter(1, 2), 1 - 1e-8]


def numbers() -> Array:
    """Special numbers and usual ones, of both signs, and NaN."""
    random = np.random.default_rng(1)
    sizes = [
        _SIZES,
        random.normal(size=100),
        random.lognormal(0, 10, 100),
        random.integers(0, 9, 9),
    ]
    positive = np.abs(np.concatenate(sizes))
    return np.concatenate([positive, -positive, [np.nan]])


def run(function: Callable[..., Var], *arrays: Array) -> Array:
    """Compute a function of float64 in a graph."""
    inputs = {f"x{n}": argument(Tensor(np.float64, ("n",))) for n in range(len(arrays))}
    graph = build(inputs, {"result": function(*inputs.values())})
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    (result,) = session.run(None, dict(zip(inputs, arrays, strict=True)))
    return np.asarray(result)


def assert_equal(found: Array, expected: Array, *, rtol: float = 0.0) -> None:
    """Equal but for rounding; exactly, the sign of zero included, without a tolerance."""
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=0, equal_nan=True)
    if rtol == 0.0:
        known = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(expected[known]))


@pytest.mark.parametrize(
    ("function", "reference"),
    [(ar.log1p, np.log1p), (ar.expm1, np.expm1), (op.log, np.log), (op.exp, np.exp)],
    ids=lambda function: function.__name__,
)
def test_to_a_few_units_of_the_last_place(function: Any, reference: Any) -> None:
    x = numbers()
    with np.errstate(all="ignore"):
        assert_equal(run(function, x), reference(x), rtol=1e-15)


@pytest.mark.parametrize(
    ("function", "reference"), [(op.sqrt, np.sqrt), (op.abs, np.abs), (op.neg, np.negative)]
)
def test_exact_functions_of_one_number(function: Any, reference: Any) -> None:
    x = numbers()
    with np.errstate(all="ignore"):
        assert_equal(run(function, x), reference(x))


@pytest.mark.parametrize(
    ("function", "reference"),
    [
        (ar.minimum, np.minimum),
        (ar.maximum, np.maximum),
        (ar.remainder, np.remainder),
        (ar.floor_divide, np.floor_divide),
        (op.div, np.divide),
        (op.mul, np.multiply),
        (op.add, np.add),
        (op.sub, np.subtract),
    ],
    ids=lambda function: function.__name__,
)
def test_exact_functions_of_two_numbers(function: Any, reference: Any) -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(numbers(), numbers()))
    with np.errstate(all="ignore"):
        assert_equal(run(function, a, b), reference(a, b))


def test_powers_are_those_of_the_c_library() -> None:
    a, b = (grid.ravel() for grid in np.meshgrid(numbers(), numbers()))
    found = run(op.pow, a, b)
    with np.errstate(all="ignore"):
        # one by one numpy takes them from the C library; in arrays, on CPUs with AVX-512, it
        # computes its own, which differ in the last places
        assert_equal(found, np.array([x**y for x, y in zip(a, b, strict=True)]))
        assert_equal(found, np.power(a, b), rtol=2e-15)


def test_what_counts_as_true() -> None:
    x = numbers()
    assert (run(ar.is_nonzero, x) == (x != 0)).all()
