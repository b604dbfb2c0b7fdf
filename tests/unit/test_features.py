import ast
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

import pyfunc_packaging
from pyfunc_packaging.errors import UnsuitableData
from pyfunc_packaging.expressions import ExpressionError
from pyfunc_packaging.features import ColumnFeatures, PipelineError, PlainValues
from pyfunc_packaging.package import _LIBRARY

TABLE = pd.DataFrame(
    {
        "rooms": [6.0, 8.0, np.nan, 5.0, 3.0, 9.0],
        "households": [2, 4, 1, 5, 3, 3],
        "place": ["sea", "hill", "sea", None, "hill", "sea"],
        "unused": list("abcdef"),
    },
    index=[10, 11, 12, 13, 14, 14],
)
EACH = {"rooms_each": "rooms / households"}


def double(table):
    return table["rooms"] * 2


# PlainValues("categories") returns objects on purpose, which the checks cannot compare.
CHECKS = [
    pytest.param(estimator, check, id=f"{type(estimator).__name__}-{check.func.__name__}")
    for one in (ColumnFeatures({}), PlainValues())
    for estimator, check in estimator_checks_generator(one)
    # these take no other arrays than numpy's, and the check needs scipy to be set up for it
    if check.func.__name__ != "check_array_api_input"
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_scikit_learn_conventions(estimator, check):
    check(estimator)


# --- ColumnFeatures ------------------------------------------------------------------------


def test_features_are_appended():
    transformer = ColumnFeatures({**EACH, "many": "rooms_each > 2", "twice": double, "one": "1"})
    result = transformer.fit_transform(TABLE)
    assert list(result) == [*TABLE, "rooms_each", "many", "twice", "one"]
    assert result.index.equals(TABLE.index)
    pd.testing.assert_frame_equal(result[list(TABLE)], TABLE)
    np.testing.assert_array_equal(result["rooms_each"], [3, 2, np.nan, 1, 1, 3])
    np.testing.assert_array_equal(result["many"], [1.0, 0, 0, 0, 0, 1])
    np.testing.assert_array_equal(result["twice"], [12, 16, np.nan, 10, 6, 18])
    assert result["one"].tolist() == [1.0] * 6
    assert (result.dtypes[["rooms_each", "many", "twice", "one"]] == np.float64).all()
    assert transformer.get_feature_names_out().tolist() == list(result)
    assert transformer.n_features_in_ == 4
    assert transformer.feature_names_in_.tolist() == list(TABLE)


def test_columns_are_selected_by_name():
    transformer = ColumnFeatures(EACH).fit(TABLE)
    expected = transformer.transform(TABLE)
    other = TABLE[TABLE.columns[::-1]].assign(extra=1, rooms_each="ignored")
    pd.testing.assert_frame_equal(transformer.transform(other), expected)
    with pytest.raises(UnsuitableData, match=r"none called \['households', 'place'\]"):
        transformer.transform(TABLE[["rooms", "unused"]])


def test_the_callers_table_is_left_alone():
    def greedy(table):
        table["rooms"] = 0.0
        table.iloc[0, 1] = 99
        del table["place"]
        return np.ones(len(table))

    before = TABLE.copy(deep=True)
    result = ColumnFeatures({"a": greedy, "b": "households"}).fit_transform(TABLE)
    pd.testing.assert_frame_equal(TABLE, before)
    pd.testing.assert_frame_equal(result[list(TABLE)], before)
    assert result["b"].tolist() == TABLE["households"].tolist()
    plain = ColumnFeatures().fit_transform(TABLE)
    plain.loc[:, "rooms"] = 0.0
    pd.testing.assert_frame_equal(TABLE, before)


@pytest.mark.parametrize(
    "function",
    [
        lambda table: table["place"].fillna("none"),
        lambda table: table["place"].fillna("none").to_numpy(),
        lambda table: ["sea", "hill", "sea", "none", "hill", "sea"],
        lambda table: table["place"].fillna("none").array,
    ],
)
def test_a_callable_may_return_text_in_any_form(function):
    result = ColumnFeatures({"a": function}).fit_transform(TABLE)
    assert result["a"].tolist() == ["sea", "hill", "sea", "none", "hill", "sea"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda table: 1.0, r"shape \(6,\); found float of shape \(\)"),
        (lambda table: np.ones(5), r"found ndarray of shape \(5,\)"),
        (lambda table: np.ones((6, 1)), r"found ndarray of shape \(6, 1\)"),
        (lambda table: table[["rooms"]], r"found DataFrame of shape \(6, 1\)"),
        (lambda table: pd.Series(np.ones(6)), "found another index"),
        (lambda table: table["rooms"].sort_values(), "found another index"),
        (lambda table: None, "found NoneType"),
    ],
)
def test_a_callable_returns_one_value_per_row(function, message):
    transformer = ColumnFeatures({"a": function}).fit(TABLE)
    with pytest.raises(PipelineError, match=message):
        transformer.transform(TABLE)


@pytest.mark.parametrize(
    ("features", "error", "message"),
    [
        ({"rooms": "households"}, PipelineError, "found 'rooms', which is a column"),
        ({"a": "roms * 2"}, ExpressionError, "feature 'a': unknown column 'roms'; did you mean"),
        ({"a": "b", "b": "rooms"}, ExpressionError, "unknown column 'b'"),
        ({"a": "rooms +"}, ExpressionError, "found the end"),
        ({"a": 3}, PipelineError, "'a' as an expression or a callable, found int"),
        ({1: "rooms"}, PipelineError, "name of a feature as str, found 1"),
        (["rooms * 2"], PipelineError, "features as a dict from name to expression, found list"),
    ],
)
def test_features_are_checked_by_fit(features, error, message):
    with pytest.raises(error, match=message):
        ColumnFeatures(features).fit(TABLE)


def test_column_names_must_be_distinct_text():
    with pytest.raises(UnsuitableData, match=r"found \[0, 1\]"):
        ColumnFeatures().fit(pd.DataFrame([[1, 2]]))
    with pytest.raises(UnsuitableData, match=r"found \[1\]"):
        ColumnFeatures().fit(pd.DataFrame([[1, 2]], columns=["a", 1]))
    with pytest.raises(UnsuitableData, match=r"found \['a'\] repeated"):
        ColumnFeatures().fit(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(UnsuitableData, match=r"found \['rooms'\] repeated"):
        ColumnFeatures().fit(TABLE).transform(TABLE[["rooms", *TABLE]])


def test_arrays_have_columns_named_by_position():
    transformer = ColumnFeatures({"sum": "x0 + x1"})
    result = transformer.fit_transform(np.array([[1, 2], [3, 4]]))
    assert result.to_dict("list") == {"x0": [1, 3], "x1": [2, 4], "sum": [3.0, 7.0]}
    assert transformer.get_feature_names_out().tolist() == ["x0", "x1", "sum"]
    with pytest.warns(UserWarning, match="X has feature names"):
        result = transformer.transform(pd.DataFrame({"a": [1], "b": [2]}))
    assert result.to_dict("list") == {"x0": [1], "x1": [2], "sum": [3.0]}


def test_set_output():
    transformer = ColumnFeatures(EACH)
    expected = transformer.fit_transform(TABLE)
    for output in ("default", "pandas"):
        result = transformer.set_output(transform=output).fit_transform(TABLE)
        pd.testing.assert_frame_equal(result, expected)


def test_parameters():
    features = dict(EACH)
    transformer = ColumnFeatures(features)
    assert transformer.features is features
    assert transformer.get_params() == {"features": EACH}
    copy = clone(transformer.fit(TABLE))
    assert copy.features == EACH
    assert not hasattr(copy, "n_features_in_")
    assert copy.set_params(features=None).fit_transform(TABLE).equals(TABLE)


def test_many_features_do_not_warn():
    features = {f"f{i}": f"rooms + {i}" for i in range(150)}
    result = ColumnFeatures(features).fit_transform(TABLE)
    assert result.shape == (6, 154)
    assert result["f149"].iloc[0] == 155


def test_no_rows():
    transformer = ColumnFeatures({**EACH, "twice": double}).fit(TABLE)
    assert transformer.transform(TABLE.iloc[:0]).shape == (0, 6)


# --- PlainValues ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["Int64", "Float64", "float32", "object", "int64[pyarrow]"])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_plain_numbers(dtype, missing):
    if dtype in ("float32", "int64[pyarrow]"):
        missing = None
    column = pd.Series([1, missing, 3], dtype=dtype, index=[5, 6, 7])
    result = PlainValues().fit_transform(pd.DataFrame({"a": column}))
    pd.testing.assert_frame_equal(
        result, pd.DataFrame({"a": [1.0, np.nan, 3.0]}, index=[5, 6, 7]), check_exact=True
    )


@pytest.mark.parametrize("dtype", ["str", "string", "object", "category", "string[pyarrow]"])
@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_plain_categories(dtype, missing):
    table = pd.DataFrame({"a": pd.Series(["x", missing, "y"], dtype=dtype)})
    result = PlainValues("categories").fit_transform(table)
    assert result["a"].dtype == object
    assert result["a"].tolist()[::2] == ["x", "y"]
    assert isinstance(result["a"][1], float)


def test_plain_values_errors():
    with pytest.raises(PipelineError, match="kind to be one of 'numbers', 'categories'; found 'x'"):
        PlainValues("x").fit(TABLE)
    with pytest.raises(UnsuitableData, match="expected numbers in column 'place', found text"):
        PlainValues().fit(TABLE[["place"]])
    with pytest.raises(UnsuitableData, match="column 'when': expected numbers or text"):
        PlainValues().fit(pd.DataFrame({"when": pd.to_datetime(["2020-01-01"])}))


@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "object"])
def test_infinite_numbers_are_missing(dtype):
    table = pd.DataFrame({"a": pd.Series([1, np.inf, -np.inf, None, 1e30], dtype=dtype)})
    before = table.copy(deep=True)
    result = PlainValues().fit_transform(table)["a"]
    assert result.isna().tolist() == [False, True, True, True, False]
    assert result.dtype == np.float64
    pd.testing.assert_frame_equal(table, before)


def test_categories_may_be_infinite():
    table = pd.DataFrame({"a": [1.0, np.inf, np.nan]})
    result = PlainValues("categories").fit_transform(table)["a"]
    assert result.tolist()[:2] == [1.0, np.inf]


# --- as a home ------------------------------------------------------------------------------


def test_bundles_carry_every_module_that_this_one_needs():
    package = Path(pyfunc_packaging.__file__).parent
    # needed to write bundles only, or to show and try them where the library is installed
    not_needed = {"display", "endpoint", "modules"}
    elsewhere = {"loader", *not_needed}  # the loader is copied to another place
    needed, waiting = set(not_needed), ["features", "loader"]
    while waiting:
        module = waiting.pop()
        needed.add(module)
        for statement in ast.walk(ast.parse((package / f"{module}.py").read_text())):
            if isinstance(statement, ast.ImportFrom) and statement.module.startswith("pyfunc_"):
                name = statement.module.partition(".")[2] or "__init__"
                waiting += [] if name in needed else [name]
    assert len(needed) > 3
    assert needed - elsewhere <= set(_LIBRARY)
