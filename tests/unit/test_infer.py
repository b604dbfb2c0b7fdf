import datetime
import decimal

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from pyfunc_packaging.errors import UnsuitableData, UnsuitableModel
from pyfunc_packaging.infer import infer_columns, infer_outputs, probe
from pyfunc_packaging.schema import Column, Tensor

OFFSET = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)

# --- columns -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("series", "column"),
    [
        (pd.Series([1.5]), Column("x", "double", dtype="float64")),
        (pd.Series([1.5], dtype="float32"), Column("x", "float", dtype="float32")),
        (pd.Series([1.5], dtype="Float64"), Column("x", "double", dtype="Float64")),
        (pd.Series([1]), Column("x", "long", dtype="int64")),
        (pd.Series([1], dtype="uint32"), Column("x", "long", dtype="uint32")),
        (pd.Series([1], dtype="UInt64"), Column("x", "long", dtype="UInt64")),
        (pd.Series([1], dtype="int32"), Column("x", "integer", dtype="int32")),
        (pd.Series([1], dtype="uint8"), Column("x", "integer", dtype="uint8")),
        (pd.Series([True]), Column("x", "boolean", dtype="bool")),
        (pd.Series([True, None], dtype="boolean"), Column("x", "boolean", dtype="boolean")),
        (pd.Series(["a"], dtype="string"), Column("x", "string", dtype="string")),
        (pd.Series([1], dtype="int64[pyarrow]"), Column("x", "long", dtype="int64[pyarrow]")),
        (
            pd.Series(["a"], dtype=object),
            Column("x", "string", dtype="object", missing="NaN"),
        ),
        (
            pd.Series(["a", None], dtype=object),
            Column("x", "string", dtype="object", missing="None"),
        ),
        (
            pd.Series([True, pd.NA], dtype=object),
            Column("x", "boolean", dtype="object", missing="NA"),
        ),
        (
            pd.Series([1, 2.5, np.nan], dtype=object),
            Column("x", "double", dtype="object", missing="NaN"),
        ),
        (
            pd.Series(np.array(["2026-01-01"], dtype="datetime64[s]")),
            Column("x", "datetime", dtype="datetime64[s]"),
        ),
        (
            pd.Series([OFFSET]),
            Column("x", "datetime", dtype="datetime64[us, UTC]"),
        ),
        (
            pd.Series(pd.Categorical(["b", None], ["b", "a"], ordered=True)),
            Column("x", "string", dtype="category", categories=("b", "a"), ordered=True),
        ),
        (
            pd.Series(pd.Categorical([3, None])),
            Column("x", "long", dtype="category", categories=(3,)),
        ),
    ],
    ids=lambda value: f"{value.dtype}" if isinstance(value, pd.Series) else "",
)
def test_columns_are_described(series, column):
    assert infer_columns(pd.DataFrame({"x": series})) == (column,)


def test_columns_keep_their_order():
    frame = pd.DataFrame({"b": [1], "a": ["t"]})
    assert [column.name for column in infer_columns(frame)] == ["b", "a"]


@pytest.mark.parametrize("rows", [[[1.0]], np.zeros((1, 1)), pd.Series([1]), {"x": [1]}, None])
def test_rows_that_are_no_frame_are_refused(rows):
    with pytest.raises(UnsuitableData, match=f"a pandas DataFrame .*{type(rows).__name__}"):
        infer_columns(rows)


@pytest.mark.parametrize("name", [0, ("a", "b"), None, np.nan])
def test_column_names_that_are_no_text_are_refused(name):
    frame = pd.DataFrame([[1, 2]])
    frame.columns = pd.Index(["x", name], tupleize_cols=False, dtype=object)
    with pytest.raises(UnsuitableData, match="column names should be strings, found "):
        infer_columns(frame)


def test_repeated_columns_are_refused_by_name():
    frame = pd.DataFrame([[1, 2, 3]], columns=["x", "y", "x"])
    with pytest.raises(UnsuitableData, match=r"unique, found \['x'\] more than once"):
        infer_columns(frame)


@pytest.mark.parametrize(
    "frame", [pd.DataFrame(), pd.DataFrame({"x": []}), pd.DataFrame(index=[0, 1])]
)
def test_frames_without_rows_or_columns_are_refused(frame):
    with pytest.raises(UnsuitableData, match="at least one row and one column"):
        infer_columns(frame)


@pytest.mark.parametrize(
    ("series", "hint"),
    [
        (pd.Series([1, "a"], dtype=object), "one type for all values"),
        (pd.Series([1.5, "a"], dtype=object), "one type for all values"),
        (pd.Series([[1], [2]]), "one type for all values"),
        (pd.Series([{"a": 1}]), "one type for all values"),
        (pd.Series([pd.Timedelta("1s")]), r"\.dt\.total_seconds"),
        (pd.Series([datetime.timedelta(1)], dtype=object), r"\.dt\.total_seconds"),
        (pd.Series([datetime.date(2026, 1, 1)]), r"pd\.to_datetime\(\.\.\.\)"),
        (pd.Series([OFFSET], dtype=object), "utc=True"),
        (pd.Series([decimal.Decimal("1.5")]), r"\.astype\(float\)"),
        (pd.Series([None, None], dtype=object), "every value is missing"),
        (pd.Series(pd.Categorical([None], categories=[])), "every value is missing"),
        (pd.Series([b"a"]), "use text"),
        (pd.Series([1j]), "use numbers, text, booleans or datetimes"),
        (pd.cut(pd.Series([1, 2]), 2), "use numbers, text"),
        (pd.Series(pd.period_range("2026", periods=2)), "use numbers, text"),
        (pd.Series([1.5], dtype=pd.SparseDtype(float)), r"\.sparse\.to_dense"),
        (pd.Series([pd.Timestamp("2026-01-01")], dtype="category"), "use numbers, text"),
        (pd.Series([2**63], dtype="uint64"), "train on another type"),
        (pd.Series([2**63, None], dtype="UInt64"), "train on another type"),
    ],
)
def test_columns_that_no_tensor_carries_are_refused_by_name(series, hint):
    with pytest.raises(UnsuitableData, match=f"^column 'odd'.*{hint}"):
        infer_columns(pd.DataFrame({"fine": 1, "odd": series}))


# --- probing -------------------------------------------------------------------------------

ROWS = pd.DataFrame(
    {
        "a": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        "b": [2.0, 1.0, 4.0, 3.0, 6.0, 5.0],
        "n": [1, 2, 3, 1, 2, 3],
    }
)
TARGET = ROWS["a"] * 2 + ROWS["n"]


def asked(model, rows=ROWS):
    columns = probe(infer_columns(rows), rows, model if callable(model) else model.predict)
    nullable = {column.name for column in columns if column.nullable}
    return nullable, {column.name for column in columns if column.finite}


def test_a_linear_model_takes_nothing_missing_and_nothing_infinite():
    assert asked(LinearRegression().fit(ROWS, TARGET)) == (set(), {"a", "b"})


def test_histogram_gradient_boosting_takes_everything():
    model = HistGradientBoostingRegressor(max_iter=3).fit(ROWS, TARGET)
    assert asked(model) == ({"a", "b", "n"}, set())


def test_a_random_forest_takes_missing_but_no_infinite_numbers():
    model = RandomForestRegressor(3).fit(ROWS, TARGET)
    assert asked(model) == ({"a", "b", "n"}, {"a", "b"})


def test_an_imputer_on_one_column_makes_that_one_nullable():
    model = make_pipeline(
        make_column_transformer((SimpleImputer(), ["b"]), remainder="passthrough"),
        LinearRegression(),
    ).fit(ROWS, TARGET)
    assert asked(model) == ({"b"}, {"a", "b"})


def test_columns_that_have_gaps_are_nullable_whatever_the_model_says():
    def predict(rows):
        return rows["a"].fillna(0).to_numpy()

    rows = ROWS.assign(b=[np.nan, *ROWS["b"][1:]])
    assert asked(predict, rows)[0] == {"a", "b", "n"}


def test_unknown_categories_and_text_are_asked_about():
    rows = pd.DataFrame({"city": ["Rome", "Bern", "Rome"], "x": [1.0, 2.0, 3.0]})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["city"]), remainder="passthrough"),
        LinearRegression(),
    ).fit(rows, [1.0, 2.0, 3.0])
    assert asked(model, rows) == (set(), {"x"})
    tolerant = make_pipeline(
        make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), ["city"]), remainder="passthrough"
        ),
        LinearRegression(),
    ).fit(rows, [1.0, 2.0, 3.0])
    assert asked(tolerant, rows) == ({"city"}, {"x"})


def test_a_missing_prediction_is_no_acceptance():
    assert asked(lambda rows: rows["a"].to_numpy()) == ({"b", "n"}, {"a"})


def test_a_model_that_leaves_rows_out_has_not_accepted_them():
    assert asked(lambda rows: rows["a"].dropna().to_numpy()) == ({"b", "n"}, {"a"})


def test_a_model_that_accepts_single_gaps_is_asked_one_by_one():
    def predict(rows):
        if rows["a"].isna().any():
            raise ValueError("a is missing")
        return np.zeros(len(rows))

    assert asked(predict) == ({"b", "n"}, set())


def test_labels_count_as_predictions():
    assert asked(lambda rows: np.array(["yes"] * len(rows)))[0] == {"a", "b", "n"}


# --- outputs -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "column"),
    [
        (np.array([1.5, 2.5]), Column("y", "double", nullable=True)),
        (np.array([1.5, 2.5], dtype="float32"), Column("y", "float", nullable=True)),
        (np.array([1, 2]), Column("y", "long")),
        (np.array([1, 2], dtype="uint32"), Column("y", "long")),
        (np.array([1, 2], dtype="int8"), Column("y", "integer")),
        (np.array([True, False]), Column("y", "boolean")),
        (np.array(["a", "b"]), Column("y", "string")),
        (np.array(["a", "b"], dtype=object), Column("y", "string")),
        ([1.5, 2.5], Column("y", "double", nullable=True)),
        (pd.Series([1.5, 2.5]), Column("y", "double", nullable=True)),
    ],
)
def test_one_value_a_row_is_a_column(values, column):
    assert infer_outputs(values, 2, ["y"]) == (column,)


def test_several_values_a_row_are_columns_where_each_has_a_name():
    assert infer_outputs(np.zeros((3, 2)), 3, ["a", "b"]) == (
        Column("a", "double", nullable=True),
        Column("b", "double", nullable=True),
    )


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        (np.zeros((3, 2)), "float64"),
        (np.zeros((3, 1), dtype="int32"), "int32"),
        (np.full((3, 2), "a"), "object"),
    ],
)
def test_several_values_a_row_are_a_tensor_where_they_share_a_name(values, dtype):
    assert infer_outputs(values, 3, ["y"]) == (Tensor("y", dtype, (-1, values.shape[1])),)


@pytest.mark.parametrize("values", [np.zeros(2), np.zeros((2, 3)), np.zeros((3, 1, 1)), 5.0])
def test_anything_but_one_prediction_a_row_is_refused(values):
    with pytest.raises(UnsuitableModel, match=r"one prediction a row, of shape \(3,\)"):
        infer_outputs(values, 3, ["y"])


@pytest.mark.parametrize(
    "values",
    [
        np.array([1j, 2j]),
        np.array(["2026-01-01"] * 2, dtype="datetime64[s]"),
        np.array([{}, {}]),
        np.array([1, "a"], dtype=object),
    ],
)
def test_predictions_that_no_tensor_carries_are_refused(values):
    with pytest.raises(UnsuitableModel, match="returns values of dtype "):
        infer_outputs(values, 2, ["y"])


def test_a_target_of_more_columns_than_the_model_returns_is_refused():
    with pytest.raises(UnsuitableModel, match="one value a row, but y has 2 columns"):
        infer_outputs(np.zeros(3), 3, ["a", "b"])
