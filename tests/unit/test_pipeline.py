import pickle

import numpy as np
import pandas as pd
import pytest
import skops.io
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from pyfunc_packaging.errors import PyFuncError
from pyfunc_packaging.pipeline import build_pipeline
from pyfunc_packaging.reference import ALLOWED_TYPES

TABLE = pd.DataFrame(
    {
        "rooms": [6.0, 8.0, np.nan, 5.0, 3.0, 9.0],
        "households": [2, 4, 1, 5, 3, 3],
        "place": ["sea", "hill", "sea", None, "hill", "sea"],
        "unused": list("abcdef"),
    },
    index=[10, 11, 12, 13, 14, 14],
)
TARGET = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
EACH = {"rooms_each": "rooms / households"}


def double(table):
    return table["rooms"] * 2


def build(regressor=None, **options):
    options = {"numeric": ["rooms", "households"], "categorical": ["place"]} | options
    regressor = LinearRegression() if regressor is None else regressor
    return build_pipeline(regressor, **options)


def transformed(pipeline, table=TABLE):
    return pipeline.set_output(transform="pandas").fit(TABLE, TARGET)[:-1].transform(table)


def test_structure():
    pipeline = build(features=EACH, scale=True)
    assert isinstance(pipeline, Pipeline)
    assert list(pipeline.named_steps) == ["features", "columns", "regressor"]
    columns = pipeline["columns"]
    assert isinstance(columns, ColumnTransformer)
    (numeric, first, names), (categorical, second, places) = columns.transformers
    assert (numeric, names) == ("numeric", ["rooms", "households", "rooms_each"])
    assert (categorical, places) == ("categorical", ["place"])
    assert list(first.named_steps) == ["plain", "impute", "scale"]
    assert list(second.named_steps) == ["plain", "impute", "encode"]
    assert isinstance(first["scale"], StandardScaler)
    assert isinstance(second["encode"], OneHotEncoder)
    assert list(build().named_steps) == ["columns", "regressor"]
    assert [part[0] for part in build(categorical=[])["columns"].transformers] == ["numeric"]
    assert [part[0] for part in build(numeric=())["columns"].transformers] == ["categorical"]


def test_values_and_names():
    result = transformed(build(features=EACH))
    names = ["rooms", "households", "rooms_each", "place_hill", "place_sea"]
    assert list(result) == names
    assert build(features=EACH).fit(TABLE, TARGET)[:-1].get_feature_names_out().tolist() == names
    assert result.to_numpy().tolist() == [
        [6, 2, 3, 0, 1],
        [8, 4, 2, 1, 0],
        [6, 1, 2, 0, 1],
        [5, 5, 1, 0, 1],
        [3, 3, 1, 1, 0],
        [9, 3, 3, 0, 1],
    ]


def test_columns_need_not_be_listed_to_be_used_by_features():
    pipeline = build(numeric=[], categorical=[], features=EACH)
    assert transformed(pipeline)["rooms_each"].tolist() == [3, 2, 2, 1, 1, 3]


@pytest.mark.parametrize(
    ("imputation", "expected"),
    [("mean", 6.2), ("median", 6), ("most_frequent", 3), ("constant", -1.5), (None, np.nan)],
)
@pytest.mark.parametrize("dtype", ["float64", "float32", "Float64", "Int64", "object"])
def test_numeric_imputation(imputation, expected, dtype):
    table = TABLE.astype({"rooms": dtype})
    pipeline = build(numeric_imputation=imputation, numeric_fill_value=-1.5)
    result = pipeline.set_output(transform="pandas")[:-1].fit_transform(table)
    np.testing.assert_allclose(result["rooms"].iloc[2], expected)
    assert result.notna().all(axis=None) == (imputation is not None)


@pytest.mark.parametrize("dtype", ["bool", "int64"])
@pytest.mark.parametrize("imputation", ["mean", "most_frequent", "constant", None])
def test_numeric_imputation_of_columns_without_missing_values(dtype, imputation):
    table = pd.DataFrame({"a": np.array([1, 0, 1], dtype=dtype)})
    pipeline = build_pipeline(
        LinearRegression(),
        numeric=["a"],
        numeric_imputation=imputation,
        numeric_fill_value=0.5,
    )
    assert pipeline[:-1].fit_transform(table).ravel().tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("imputation", "encoding", "names", "expected"),
    [
        ("most_frequent", "onehot", ["place_hill", "place_sea"], [0, 1]),
        ("constant", "onehot", ["place_hill", "place_none", "place_sea"], [0, 1, 0]),
        (None, "onehot", ["place_hill", "place_sea", "place_nan"], [0, 0, 1]),
        ("most_frequent", "ordinal", ["place"], [1]),
        ("constant", "ordinal", ["place"], [1]),
        (None, "ordinal", ["place"], [np.nan]),
    ],
)
@pytest.mark.parametrize(
    ("dtype", "missing"),
    [  # only object keeps whichever missing value it is given
        *[("object", None), ("object", np.nan), ("object", pd.NA)],
        *[("str", None), ("string", None), ("category", None)],
    ],
)
def test_categorical_imputation(imputation, encoding, names, expected, missing, dtype):
    place = pd.Series(["sea", "hill", "sea", missing], dtype=dtype)
    pipeline = build(
        numeric=[],
        categorical_imputation=imputation,
        categorical_fill_value="none",
        encoding=encoding,
    )
    table = pd.DataFrame({"place": place})
    result = pipeline.set_output(transform="pandas")[:-1].fit_transform(table)
    assert list(result) == names
    np.testing.assert_array_equal(result.iloc[3], expected)


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
@pytest.mark.parametrize("imputation", ["most_frequent", "constant", None])
@pytest.mark.parametrize("encoding", ["onehot", "ordinal"])
def test_values_first_missing_after_training(missing, imputation, encoding):
    complete = TABLE[TABLE["place"].notna() & TABLE["rooms"].notna()]
    pipeline = build(
        HistGradientBoostingRegressor(max_iter=2),
        categorical_imputation=imputation,
        encoding=encoding,
    ).fit(complete, TARGET[: len(complete)])
    row = pd.DataFrame({"rooms": [missing], "households": [missing], "place": [missing]})
    assert np.isfinite(pipeline.predict(row)).all()


def test_a_regressor_may_take_missing_values_itself():
    pipeline = build(
        HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=1),
        numeric_imputation=None,
        categorical_imputation=None,
        encoding="ordinal",
        features=EACH,
        scale=True,
    )
    assert np.isfinite(pipeline.fit(TABLE, TARGET).predict(TABLE)).all()


DIVIDES_BY_ZERO = pd.DataFrame(
    {"rooms": [5.0, -5.0, 0.0], "households": 0, "place": "sea", "unused": "g"}
)


@pytest.mark.parametrize(
    ("imputation", "expected"),
    [("mean", 2), ("median", 2), ("most_frequent", 1), ("constant", -1)],
)
def test_a_ratio_that_divides_by_zero_is_imputed_like_a_missing_value(imputation, expected):
    pipeline = build(features=EACH, numeric_imputation=imputation, numeric_fill_value=-1)
    result = transformed(pipeline, DIVIDES_BY_ZERO)
    assert result["rooms_each"].tolist() == [expected] * 3
    assert np.isfinite(pipeline.predict(DIVIDES_BY_ZERO)).all()


def test_training_rows_may_divide_by_zero():
    table = pd.concat([TABLE, DIVIDES_BY_ZERO])
    pipeline = build(features=EACH, numeric_imputation="mean", scale=True)
    assert np.isfinite(pipeline.fit(table, np.arange(9.0)).predict(table)).all()
    # the same mean as without those rows
    assert pipeline["columns"].named_transformers_["numeric"]["impute"].statistics_[2] == 2


def test_the_regressor_sees_nan_where_a_ratio_divides_by_zero():
    regressor = HistGradientBoostingRegressor(max_iter=2, min_samples_leaf=1)
    pipeline = build(regressor, features=EACH, numeric_imputation=None)
    assert transformed(pipeline, DIVIDES_BY_ZERO)["rooms_each"].isna().all()
    assert np.isfinite(pipeline.predict(DIVIDES_BY_ZERO)).all()


def test_scaling():
    result = transformed(build(scale=True))[["rooms", "households"]]
    np.testing.assert_allclose(result.mean(), 0, atol=1e-15)
    np.testing.assert_allclose(result.std(ddof=0), 1)


def test_integer_categories():
    table = pd.DataFrame({"zone": pd.Series([3, 1, 3, None], dtype="Int64")})
    pipeline = build_pipeline(
        LinearRegression(),
        numeric=[],
        categorical=["zone"],
        categorical_imputation="constant",
        categorical_fill_value=0,
    )
    result = pipeline[:-1].fit_transform(table)
    assert result.tolist() == [[0, 0, 1], [0, 1, 0], [0, 0, 1], [1, 0, 0]]


def test_classifiers_work():
    pipeline = build(RandomForestClassifier(n_estimators=3, random_state=0))
    labels = np.array(["x", "y"] * 3)
    assert set(pipeline.fit(TABLE, labels).predict(TABLE)) <= {"x", "y"}


FITTED = {
    encoding: build(encoding=encoding).fit(TABLE, TARGET) for encoding in ("onehot", "ordinal")
}


@seed(20240503)
@settings(max_examples=60, deadline=None, database=None)
@given(
    st.lists(st.one_of(st.text(), st.none(), st.just(np.nan), st.just(pd.NA)), min_size=1),
    st.sampled_from(["object", "str", "string", "category"]),
    st.sampled_from(list(FITTED)),
)
def test_unseen_categories_never_fail(places, dtype, encoding):
    place = pd.Series(places, dtype=dtype)
    table = pd.DataFrame({"rooms": 6.0, "households": 2.0, "place": place})
    assert np.isfinite(FITTED[encoding].predict(table)).all()


def test_unseen_categories_are_encoded_as_such():
    table = TABLE.assign(place="moon")
    assert transformed(build(), table).filter(like="place_").to_numpy().sum() == 0
    ordinal = build(encoding="ordinal")
    assert isinstance(ordinal["columns"].transformers[1][1]["encode"], OrdinalEncoder)
    assert transformed(ordinal, table)["place"].tolist() == [-1] * 6


def test_row_order_and_column_order_do_not_matter():
    pipeline = build(features=EACH).fit(TABLE, TARGET)
    expected = pipeline.predict(TABLE)
    shuffled = TABLE.iloc[::-1, ::-1]
    np.testing.assert_array_equal(pipeline.predict(shuffled)[::-1], expected)


@pytest.mark.parametrize("features", [None, EACH, {"twice": double}])
def test_pickle_and_clone(features):
    pipeline = build(features=features).fit(TABLE, TARGET)
    expected = pipeline.predict(TABLE)
    again = pickle.loads(pickle.dumps(pipeline))
    np.testing.assert_array_equal(again.predict(TABLE), expected)
    np.testing.assert_array_equal(clone(pipeline).fit(TABLE, TARGET).predict(TABLE), expected)


@pytest.mark.parametrize("encoding", ["onehot", "ordinal"])
@pytest.mark.parametrize("imputation", ["most_frequent", "constant", None])
def test_skops_round_trip(encoding, imputation):
    features = EACH | {"also": "rooms_each * 2"}  # the order matters
    pipeline = build(
        DummyRegressor(),
        features=features,
        encoding=encoding,
        categorical_imputation=imputation,
        numeric_imputation="constant",
        scale=True,
    ).fit(TABLE, TARGET)
    data = skops.io.dumps(pipeline)
    found = set(skops.io.get_untrusted_types(data=data))
    assert found - {"numpy.dtype"} == {  # the paths that saved models rely on
        "pyfunc_packaging.features.ColumnFeatures",
        "pyfunc_packaging.features.PlainValues",
    }
    again = skops.io.loads(data, trusted=sorted(ALLOWED_TYPES))
    np.testing.assert_array_equal(again[:-1].transform(TABLE), pipeline[:-1].transform(TABLE))
    np.testing.assert_array_equal(again.predict(TABLE), pipeline.predict(TABLE))
    assert list(again["features"].features.items()) == list(features.items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"regressor": LinearRegression}, "expected an estimator with fit"),
        ({"regressor": "ridge"}, "found 'ridge'; pass an object"),
        (
            {"numeric": "rooms"},
            r"list of column names as numeric, found 'rooms'; write \['rooms'\]",
        ),
        ({"categorical": "place"}, r"as categorical, found 'place'"),
        ({"numeric": 3}, "list of column names as numeric, found 3"),
        ({"numeric": [0, "a"]}, r"names as str in numeric, found \[0\]"),
        ({"numeric": ["a", "b", "a"]}, r"once in numeric, found \['a'\] repeated"),
        ({"numeric": ["rooms", "place"]}, r"found \['place'\] in both numeric and categorical"),
        ({"numeric": [], "categorical": []}, "at least one column"),
        ({"numeric_imputation": "mode"}, "'mean', 'median', 'most_frequent', 'constant', None; fo"),
        ({"numeric_fill_value": "0"}, "numeric_fill_value as a number, found '0'"),
        ({"categorical_imputation": "median"}, "one of 'most_frequent', 'constant', None; found"),
        ({"encoding": "target"}, "encoding to be one of 'onehot', 'ordinal'; found 'target'"),
        ({"features": {"rooms": "households"}}, r"new names for features, found \['rooms'\]"),
        ({"features": {"place": "households"}}, r"new names for features, found \['place'\]"),
        ({"features": {"a": "rooms +"}}, "feature 'a': expected a number"),
        ({"features": {"a": None}}, "'a' as an expression or a callable, found NoneType"),
        ({"features": ["a"]}, "features as a dict"),
    ],
)
def test_arguments_are_checked(options, message):
    with pytest.raises(ValueError, match=message) as caught:
        build(**options)
    assert isinstance(caught.value, PyFuncError)


def test_names_may_come_from_any_iterable():
    pipeline = build_pipeline(
        LinearRegression(),
        numeric=TABLE.columns[:2],
        categorical=(name for name in ["place"]),
        features=None,
    )
    assert pipeline.fit(TABLE, TARGET).n_features_in_ == 4
