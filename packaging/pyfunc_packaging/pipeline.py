"""Pipelines that hold everything between raw columns and a prediction.

`build_pipeline` puts feature engineering, imputation, encoding and the regressor into one
ordinary scikit-learn `Pipeline`, from the transformers of `pyfunc_packaging.features` and
scikit-learn's own. Expression features are stored as text, so that they can be saved and compiled
as data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from pyfunc_packaging.features import (
    ColumnFeatures,
    Feature,
    PipelineError,
    PlainValues,
    check_choice,
    check_features,
    parse_feature,
)

__all__ = ["PipelineError", "build_pipeline"]

_NUMERIC_IMPUTATIONS = ("mean", "median", "most_frequent", "constant", None)
_CATEGORICAL_IMPUTATIONS = ("most_frequent", "constant", None)
_ENCODINGS = ("onehot", "ordinal")


def build_pipeline(
    regressor: Any,
    *,
    numeric: Iterable[str],
    categorical: Iterable[str] = (),
    features: Mapping[str, Feature] | None = None,
    numeric_imputation: str | None = "median",
    numeric_fill_value: float = 0.0,
    categorical_imputation: str | None = "most_frequent",
    categorical_fill_value: Any = "missing",
    encoding: str = "onehot",
    scale: bool = False,
) -> Pipeline:
    """Build a pipeline from raw columns to predictions.

    Parameters
    ----------
    regressor : estimator
        What predicts, unfitted: a regressor or a classifier.
    numeric, categorical : iterable of str
        Columns of numbers and of categories. All other columns are dropped, after the
        features were computed from them.
    features : mapping of str to (str or callable), optional
        Engineered columns, see `ColumnFeatures`. They join the numeric columns. A ratio that
        divides by zero is missing, as below; ``where(b != 0, a / b, 0)`` gives it a value.
    numeric_imputation : {"mean", "median", "most_frequent", "constant", None}
        What replaces missing numbers, of columns and of features alike; None leaves them, as
        NaN, to the regressor. An infinite number, such as a ratio that divided by zero, is no
        measurement and counts as missing (see `PlainValues`).
    numeric_fill_value : float
        The constant for ``numeric_imputation="constant"``.
    categorical_imputation : {"most_frequent", "constant", None}
        What replaces missing categories. With None a missing value is a category of its own
        if it was seen in training, and otherwise treated like an unseen category.
    categorical_fill_value : str or number
        The constant for ``categorical_imputation="constant"``; of the columns' own type.
    encoding : {"onehot", "ordinal"}
        ``"onehot"`` gives one column per category, all zero for a category not seen in
        training. ``"ordinal"`` gives one column of codes, -1 for a category not seen in
        training and NaN for a missing one.
    scale : bool
        Whether numeric columns are brought to mean 0 and variance 1.

    Returns
    -------
    sklearn.pipeline.Pipeline
        Unfitted, with the steps ``features`` (if there are any), ``columns`` (a
        `ColumnTransformer` with the parts ``numeric`` and ``categorical``) and ``regressor``.

    Raises
    ------
    PipelineError
        An argument is not one of its choices, a column is named twice, no column is named,
        a feature has a column's name, or `regressor` is no estimator.
    ExpressionError
        The expression of a feature cannot be read.

    Examples
    --------
    >>> import pandas as pd
    >>> from sklearn.linear_model import LinearRegression
    >>> table = pd.DataFrame({"rooms": [2.0, 4.0, None], "place": ["sea", "hill", "sea"]})
    >>> pipeline = build_pipeline(
    ...     LinearRegression(),
    ...     numeric=["rooms"],
    ...     categorical=["place"],
    ...     features={"rooms_squared": "rooms ** 2"},
    ... )
    >>> pipeline.fit(table, [1.0, 2.0, 3.0])[:-1].get_feature_names_out().tolist()
    ['rooms', 'rooms_squared', 'place_hill', 'place_sea']
    """
    if isinstance(regressor, type) or not callable(getattr(regressor, "fit", None)):
        raise PipelineError(
            f"expected an estimator with fit() as regressor, found {regressor!r}; "
            "pass an object such as Ridge()"
        )
    numeric = _column_list("numeric", numeric)
    categorical = _column_list("categorical", categorical)
    features = dict(check_features(features))
    check_choice("numeric_imputation", numeric_imputation, _NUMERIC_IMPUTATIONS)
    check_choice("categorical_imputation", categorical_imputation, _CATEGORICAL_IMPUTATIONS)
    check_choice("encoding", encoding, _ENCODINGS)
    if not isinstance(numeric_fill_value, int | float):
        raise PipelineError(
            f"expected numeric_fill_value as a number, found {numeric_fill_value!r}"
        )
    if both := sorted(set(numeric) & set(categorical)):
        raise PipelineError(
            f"expected each column once, found {both} in both numeric and categorical; "
            "decide for one"
        )
    if taken := sorted(set(features) & {*numeric, *categorical}):
        raise PipelineError(
            f"expected new names for features, found {taken}, which are columns; rename the "
            "features (they join the numeric columns without being listed)"
        )
    if not (numeric or categorical or features):
        raise PipelineError("expected at least one column in numeric or categorical, found none")
    for name, feature in features.items():
        if isinstance(feature, str):
            parse_feature(name, feature, None)

    parts = []
    if numeric or features:
        steps = [("plain", PlainValues("numbers"))]
        if numeric_imputation is not None:
            steps.append(("impute", _imputer(numeric_imputation, numeric_fill_value)))
        if scale:
            steps.append(("scale", StandardScaler()))
        parts.append(("numeric", Pipeline(steps), [*numeric, *features]))
    if categorical:
        steps = [("plain", PlainValues("categories"))]
        if categorical_imputation is not None:
            steps.append(("impute", _imputer(categorical_imputation, categorical_fill_value)))
        steps.append(("encode", _encoder(encoding)))
        parts.append(("categorical", Pipeline(steps), categorical))
    columns = ColumnTransformer(parts, verbose_feature_names_out=False)
    first = [("features", ColumnFeatures(features))] if features else []
    return Pipeline([*first, ("columns", columns), ("regressor", regressor)])


def _imputer(strategy: str, fill_value: Any) -> SimpleImputer:
    # The value is left out where it has no effect, so that printed pipelines do not mislead.
    return SimpleImputer(
        strategy=strategy, fill_value=fill_value if strategy == "constant" else None
    )


def _encoder(encoding: str) -> OneHotEncoder | OrdinalEncoder:
    if encoding == "onehot":
        return OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    return OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def _column_list(argument: str, columns: Iterable[str]) -> list[str]:
    """Check the columns of an argument to be a list of distinct names."""
    if isinstance(columns, str) or not isinstance(columns, Iterable):
        raise PipelineError(
            f"expected a list of column names as {argument}, found {columns!r}; write [{columns!r}]"
        )
    names = list(columns)
    if strange := [name for name in names if not isinstance(name, str)]:
        raise PipelineError(f"expected column names as str in {argument}, found {strange}")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise PipelineError(f"expected each column once in {argument}, found {twice} repeated")
    return names
