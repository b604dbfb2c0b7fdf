import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mlserver_pyfunc.elements import NUMBERS, read_elements
from pyfunc_packaging.errors import InvalidRequest

DATATYPES = sorted(NUMBERS)
TARGETS = sorted(str(dtype) for dtype in NUMBERS.values())
BITS = (7, 8, 11, 15, 16, 24, 31, 32, 53, 63, 64)
EDGES = sorted({sign * 2**bits + step for bits in BITS for sign in (1, -1) for step in (-1, 0, 1)})
INTEGERS = st.sampled_from(EDGES) | st.integers() | st.integers(-3, 3) | st.just(10**400)
FLOATS = st.floats() | st.sampled_from(EDGES).map(float) | st.sampled_from([0.5, -0.0, 65520.0])
NUMBER = st.booleans() | INTEGERS | FLOATS
JSON = NUMBER | st.none() | st.text(max_size=2) | st.just([1]) | st.just({})


class Refused(Exception):
    """What the oracles below raise."""


def meaning(cell, datatype):
    """The number that an element of a datatype stands for."""
    kind = NUMBERS[datatype].kind
    if kind == "b":
        if type(cell) is bool:
            return cell
        raise Refused
    if type(cell) not in (int, float):
        raise Refused
    if kind == "f":
        try:
            value = float(cell)
        except OverflowError:
            raise Refused from None
        with np.errstate(over="ignore"):
            nearest = float(NUMBERS[datatype].type(value))
        if math.isinf(nearest) and not math.isinf(value):
            raise Refused
        if type(cell) is int and int(nearest) != cell:
            raise Refused
        return nearest
    limits = np.iinfo(NUMBERS[datatype])
    if not limits.min <= cell <= limits.max or cell != int(cell):
        raise Refused
    if type(cell) is float and cell == -(2.0**63):
        raise Refused  # a JSON parser may have rounded an integer to it
    return int(cell)


def converted(number, target):
    """The same number in the dtype of the model."""
    dtype = np.dtype(target)
    if dtype.kind == "b":
        if number in (0, 1):
            return bool(number)
        raise Refused
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if limits.min <= number <= limits.max and number == int(number):
            return int(number)
        raise Refused
    with np.errstate(over="ignore"):
        value = float(dtype.type(number))
    if value == number or (math.isnan(value) and math.isnan(number)):
        return value
    raise Refused


def expected(elements, datatype, target, *, nullable, finite):
    """What :func:`read_elements` should give: exact Python values, None for what is missing."""
    result = []
    for cell in elements:
        value = None if cell is None else converted(meaning(cell, datatype), target)
        missing = value is None or math.isnan(value)
        if (missing and not nullable) or (finite and not missing and math.isinf(value)):
            raise Refused
        result.append(None if missing else value)
    return result


def read(elements, datatype, target, *, nullable=True, finite=False):
    return read_elements("x", datatype, elements, target, nullable=nullable, finite=finite)


@pytest.mark.parametrize("datatype", DATATYPES)
@settings(max_examples=100, deadline=None)
@given(
    elements=st.lists(NUMBER, max_size=3) | st.lists(JSON, max_size=3),
    target=st.sampled_from(TARGETS),
    nullable=st.booleans(),
    finite=st.booleans(),
)
@example(elements=[True, None], target="bool", nullable=True, finite=False)
@example(elements=[1.0, None], target="int64", nullable=True, finite=False)
@example(elements=[2**63 - 1], target="int64", nullable=False, finite=False)
@example(elements=[2**64 - 1], target="float64", nullable=False, finite=False)
def test_elements_are_read_exactly_or_refused(datatype, elements, target, nullable, finite):
    finite = finite and np.dtype(target).kind == "f"
    try:
        want = expected(elements, datatype, target, nullable=nullable, finite=finite)
    except Refused:
        with pytest.raises(InvalidRequest, match=r"^input 'x'"):
            read(elements, datatype, target, nullable=nullable, finite=finite)
        return
    got = read(elements, datatype, target, nullable=nullable, finite=finite)
    assert got.dtype == target
    assert got.shape == (len(elements),)
    cells = [None if cell is None or cell != cell else cell for cell in got.tolist()]  # noqa: PLR0124 - NaN
    assert cells == want


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("datatype", "edge"),
    [(datatype, edge) for datatype in DATATYPES for edge in ("min", "max")]
    + [(datatype, edge) for datatype in ("FP16", "FP32", "FP64") for edge in ("nan", "inf")],
)
def test_extremes_in_arrays_are_read_exactly_or_refused(datatype, target, edge):
    dtype = NUMBERS[datatype]
    if edge in ("nan", "inf"):
        value = dtype.type(edge)
    elif dtype.kind == "b":
        value = np.bool_(edge == "max")
    else:
        value = getattr(np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype), edge)
    array = np.array([value, 1], dtype=dtype)
    array.flags.writeable = False  # as numpy.frombuffer makes them
    try:
        want = converted(array[0].item(), target)
    except Refused:
        with pytest.raises(InvalidRequest, match=r"^input 'x', value 0: "):
            read(array, datatype, target)
        return
    got = read(array, datatype, target)
    assert got.dtype == target
    np.testing.assert_array_equal(got, np.array([want, 1], dtype=target))


@pytest.mark.parametrize(
    ("elements", "datatype", "target", "message"),
    [
        (
            [1, 2.5],
            "FP64",
            "int64",
            "value 1: got a FP64 that is no integer, where int64 is expected",
        ),
        ([1, 2.5], "INT64", "int64", "value 1: expected an integer for INT64, got a number with a"),
        ([0, 2**53 + 1], "FP64", "float64", r"value 1: an integer beyond 2\*\*53 that FP64 cannot"),
        ([2**53 + 1], "INT64", "float64", "value 0: got a INT64 that a floating-point number"),
        ([10**400], "FP64", "float64", "a number is too large for FP64"),
        ([1e39], "FP32", "float32", "value 0: got a number too large for FP32"),
        (
            [1e39],
            "FP64",
            "float32",
            r"value 0: got a FP64 that a floating-point number \(float32\)",
        ),
        ([0.1], "FP64", "float32", r"value 0: got a FP64 that a floating-point number \(float32\)"),
        ([0, 128], "INT8", "int8", "value 1: got an integer outside INT8"),
        ([-1], "UINT64", "uint64", "value 0: got an integer outside UINT64"),
        ([2**31], "INT64", "int32", "value 0: got a INT64 too large for int32"),
        ([2**63], "UINT64", "int64", "value 0: got a UINT64 too large for int64"),
        ([-1], "INT64", "uint64", "value 0: got a INT64 too large for uint64"),
        ([2.0**63], "FP64", "int64", "value 0: got a FP64 too large for int64"),
        ([float("inf")], "FP64", "int64", "value 0: got a FP64 too large for int64"),
        ([float("nan")], "FP64", "int64", "value 0: got a FP64 that is no integer"),
        ([2], "INT64", "bool", r"value 0: got a INT64 that a boolean \(bool\) cannot hold exactly"),
        ([1], "BOOL", "bool", "value 0: expected true or false for BOOL, got a number"),
        ([1.5], "BOOL", "bool", "value 0: .* got a number with a fraction"),
        ([1, True], "INT64", "int64", "value 1: expected a number for INT64, got true or false"),
        (["1"], "FP64", "float64", "value 0: expected a number for FP64, got text"),
        ([b"1"], "FP64", "float64", "value 0: expected a number for FP64, got bytes"),
        ([[1]], "FP64", "float64", "value 0: expected a number for FP64, got a list"),
        ([{}], "FP64", "float64", "value 0: expected a number for FP64, got an object"),
        ([None, "1"], "FP64", "float64", "value 1: expected a number for FP64, got text"),
        ([1], "STRING", "float64", "expected a datatype of BOOL, .*, BYTES, got 'STRING'"),
        ([1], "fp64", "float64", "expected a datatype of BOOL, .*, BYTES, got 'fp64'"),
    ],
)
def test_refusals_say_where_and_why(elements, datatype, target, message):
    with pytest.raises(InvalidRequest, match=f"^input 'x'(, |: ){message}"):
        read(elements, datatype, target)


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("target", TARGETS)
def test_null_is_a_missing_value_where_one_may_be(datatype, target):
    one = NUMBERS[datatype].kind == "b" or 1
    got = read([None, one, None], datatype, target)
    assert got.dtype == target
    if np.dtype(target).kind == "f":
        np.testing.assert_array_equal(got, np.array([np.nan, 1, np.nan], target))
    else:
        assert got.tolist() == [None, 1, None]
        assert got.mask.tolist() == [True, False, True]


@pytest.mark.parametrize("target", TARGETS)
def test_null_is_refused_where_none_may_be(target):
    with pytest.raises(InvalidRequest, match="value 1: expected INT8, got null; the model cannot"):
        read([1, None], "INT8", target, nullable=False)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
@pytest.mark.parametrize("pack", [list, np.array])
def test_nan_is_refused_where_nothing_may_be_missing(datatype, pack):
    elements = pack([1.0, float("nan")])
    assert np.isnan(read(elements, datatype, "float64")[1])
    with pytest.raises(InvalidRequest, match="value 1: got NaN, and the model cannot handle"):
        read(elements, datatype, "float64", nullable=False)


@pytest.mark.parametrize("sign", [1, -1])
def test_infinite_numbers_are_refused_where_the_model_refuses_them(sign):
    elements = [1.0, sign * float("inf")]
    assert read(elements, "FP64", "float64").tolist() == elements
    with pytest.raises(InvalidRequest, match="value 1: got an infinite number, which the model"):
        read(elements, "FP64", "float64", finite=True)


@pytest.mark.parametrize("datatype", ["INT64", "FP64", "BOOL"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("nothing", [[], np.array([])])
def test_no_elements_are_an_empty_array(datatype, target, nothing):
    got = read(nothing, datatype, target, nullable=False)
    assert (got.dtype, got.shape) == (np.dtype(target), (0,))


def test_a_decimal_of_datatype_fp32_is_the_nearest_float32():
    assert read([0.1], "FP32", "float64").tolist() == [float(np.float32(0.1))]
    assert read([0.1], "FP32", "float32").tolist() == [float(np.float32(0.1))]


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array(["a", None], dtype=object), "value 0: expected a number for INT8, got text"),
        (np.array(["1"]), "value 0: expected a number for INT8, got text"),
        (np.array([1, 300]), "value 1: got an integer outside INT8"),
        (np.array([1.5]), "value 0: expected an integer for INT8"),
        (np.array([True]), "value 0: expected a number for INT8, got true or false"),
    ],
)
def test_arrays_of_another_dtype_than_the_datatype_are_read_as_lists(array, message):
    assert read(np.array([1.0, -128.0]), "INT8", "float32").tolist() == [1.0, -128.0]
    with pytest.raises(InvalidRequest, match=message):
        read(array, "INT8", "float32")


def test_what_was_sent_is_not_changed():
    elements = [1.0, None]
    array = np.array([1.0, np.nan])
    read(elements, "FP64", "float64")
    read(array, "FP64", "float64")
    assert elements == [1.0, None]
    np.testing.assert_array_equal(array, [1.0, np.nan])


@pytest.mark.parametrize(
    ("datatype", "value", "bits"), [("FP16", 2**11 + 1, 11), ("FP32", 2**24 + 1, 24)]
)
def test_an_integer_that_its_datatype_cannot_hold_is_refused(datatype, value, bits):
    for target in ("float64", "int64"):
        with pytest.raises(
            InvalidRequest, match=rf"beyond 2\*\*{bits} that {datatype} cannot hold"
        ):
            read_elements("x", datatype, [value], target, nullable=False, finite=False)
        held = read_elements("x", datatype, [value - 1], target, nullable=False, finite=False)
        assert held.tolist() == [value - 1]
