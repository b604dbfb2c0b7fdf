"""Transformers of tables: engineered columns, and columns of one plain form.

`pyfunc_packaging.pipeline.build_pipeline` puts them into pipelines. Saved models name them by
their path in this module, so it is their home for good; and each bundle carries a copy of it,
so it imports little.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import (
    # Private by name, but what scikit-learn's own transformers use to follow its conventions.
    _check_feature_names_in,
    check_is_fitted,
    validate_data,
)

from pyfunc_packaging.errors import PyFuncError, UnsuitableData
from pyfunc_packaging.expressions import Expression, ExpressionError, parse, plain_column

__all__ = ["ColumnFeatures", "Feature", "PipelineError", "PlainValues"]

Feature: TypeAlias = str | Callable[[pd.DataFrame], Any]

_KINDS = ("numbers", "categories")


class PipelineError(PyFuncError, ValueError):
    """A pipeline, or a feature in it, is described wrongly."""


# sklearn ships no type information, so its classes are Any to mypy
class ColumnFeatures(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Add engineered columns to a table.

    Parameters
    ----------
    features : dict of str to (str or callable), optional
        New columns by name, computed in this order; a later one may use an earlier one.
        A text is an expression (see `pyfunc_packaging.expressions`); its column is float64,
        a condition gives 0 and 1. A callable takes a DataFrame of all columns so far (a copy)
        and returns one value per row: an array or list in row order, or a Series with the
        DataFrame's index.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Their names; only when `fit` was given a DataFrame.

    Notes
    -----
    The result is always a DataFrame, also under ``set_output(transform="default")``: what
    follows selects columns by name. `transform` selects its columns by name as well: their
    order does not matter and further columns are ignored. The columns of an array are called
    ``x0``, ``x1`` and so on.

    Examples
    --------
    >>> table = pd.DataFrame({"rooms": [6, 8], "households": [2, 4]})
    >>> ColumnFeatures({"rooms_each": "rooms / households"}).fit_transform(table)
       rooms  households  rooms_each
    0      6           2         3.0
    1      8           4         2.0
    """

    def __init__(self, features: dict[str, Feature] | None = None) -> None:
        self.features = features

    def fit(self, X: Any, y: Any = None) -> ColumnFeatures:
        """Check the features against the columns there are.

        Parameters
        ----------
        X : DataFrame or array-like, shape (n, columns)
            The table. Values are not looked at.
        y : ignored
            Part of scikit-learn's interface.

        Returns
        -------
        ColumnFeatures
            Itself.

        Raises
        ------
        PipelineError
            A feature is no text or callable, or has the name of an existing column.
        UnsuitableData
            The names of the table's columns are not text, or not distinct.
        ExpressionError
            An expression cannot be read, or uses a column that is not there.
        """
        names = list(_input_frame(self, X, reset=True).columns)
        for name, feature in check_features(self.features).items():
            if name in names:
                raise PipelineError(
                    f"expected a new name for a feature, found {name!r}, which is a column of "
                    "the table; rename the feature"
                )
            if isinstance(feature, str):
                parse_feature(name, feature, names)
            names.append(name)
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Add the features.

        Parameters
        ----------
        X : DataFrame or array-like, shape (n, columns)
            The table, with at least the columns that `fit` saw.

        Returns
        -------
        DataFrame, shape (n, columns + features)
            The columns that `fit` saw, then the new ones; the index is that of `X`.

        Raises
        ------
        UnsuitableData
            Columns are missing.
        PipelineError
            A callable did not return one value per row.
        ExpressionError
            A column holds text where an expression needs numbers, or the reverse.
        """
        check_is_fitted(self)
        frame = _input_frame(self, X, reset=False)
        added: dict[str, pd.Series[Any]] = {}
        for name, feature in check_features(self.features).items():
            if callable(feature):
                values = _called(name, feature, _joined(frame, added))
            else:
                expression = parse_feature(name, feature, [*frame.columns, *added])
                columns: dict[str, Any] = {"": frame.index}  # the length, for a constant
                columns |= {c: added[c] if c in added else frame[c] for c in expression.columns}
                values = expression.evaluate(columns).astype(np.float64)
            added[name] = pd.Series(values, index=frame.index, name=name)
        return _joined(frame, added)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the columns of the result.

        Parameters
        ----------
        input_features : array-like of str, optional
            Names for the columns of an array; for a DataFrame only what `fit` saw.

        Returns
        -------
        ndarray of str
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.asarray([*names, *(self.features or {})], dtype=object)

    def __sklearn_tags__(self) -> Any:
        """Say that missing values, text and categories are welcome."""
        return _frame_tags(super().__sklearn_tags__())


# sklearn ships no type information, so its classes are Any to mypy
class PlainValues(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Bring columns of any pandas dtype into the one form that scikit-learn treats alike.

    scikit-learn's imputers pass over None in text columns, fail on `pandas.NA` and on the
    dtypes ``string`` and ``bool``, and refuse a fractional fill value for integers; which of
    these a column meets depends on how the table was read. After this step none can happen.

    scikit-learn's imputers, and most regressors, also refuse infinite numbers. A ratio that
    divides by zero measures nothing, so it is treated like a value that was not measured.

    Parameters
    ----------
    kind : {"numbers", "categories"}, default="numbers"
        ``"numbers"`` makes every column float64, in which a value that is infinite counts as
        missing; ``"categories"`` makes every column object and leaves its values alone. Either
        way every missing value becomes NaN.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns seen by `fit`.
    feature_names_in_ : ndarray of str, shape (n_features_in_,)
        Their names; only when `fit` was given a DataFrame.

    Examples
    --------
    >>> rooms = pd.array([6, pd.NA], dtype="Int64")
    >>> table = pd.DataFrame({"rooms": rooms, "rooms_each": [3.0, float("inf")]})
    >>> PlainValues().fit_transform(table)
       rooms  rooms_each
    0    6.0         3.0
    1    NaN         NaN
    """

    def __init__(self, kind: str = "numbers") -> None:
        self.kind = kind

    def fit(self, X: Any, y: Any = None) -> PlainValues:
        """Remember the columns and check that their values are of the right kind.

        Parameters
        ----------
        X : DataFrame or array-like, shape (n, columns)
            The table.
        y : ignored
            Part of scikit-learn's interface.

        Returns
        -------
        PlainValues
            Itself.

        Raises
        ------
        PipelineError
            `kind` is unknown.
        UnsuitableData
            A column of numbers holds something else.
        """
        check_choice("kind", self.kind, _KINDS)
        self._plain(_input_frame(self, X, reset=True))
        return self

    def transform(self, X: Any) -> pd.DataFrame:
        """Convert the columns.

        Parameters
        ----------
        X : DataFrame or array-like, shape (n, columns)
            The table, with at least the columns that `fit` saw.

        Returns
        -------
        DataFrame, shape (n, columns)
            float64 columns with NaN for missing and infinite values, or object columns with
            NaN for missing values.

        Raises
        ------
        UnsuitableData
            Columns are missing, or a column of numbers holds something else.
        """
        check_is_fitted(self)
        return self._plain(_input_frame(self, X, reset=False))

    def _plain(self, frame: pd.DataFrame) -> pd.DataFrame:
        convert = _as_numbers if self.kind == "numbers" else _as_categories
        return pd.DataFrame({c: convert(frame[c]) for c in frame}, index=frame.index)

    def __sklearn_tags__(self) -> Any:
        """Say that missing values, text and categories are welcome."""
        return _frame_tags(super().__sklearn_tags__())


def check_choice(argument: str, value: Any, choices: tuple[str | None, ...]) -> None:
    """Check that an argument is one of its choices."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise PipelineError(f"expected {argument} to be one of {listed}; found {value!r}")


def check_features(features: Mapping[str, Feature] | None) -> Mapping[str, Feature]:
    """Check that features are texts and callables by name; None means there are none."""
    if features is None:
        return {}
    if not isinstance(features, Mapping):
        raise PipelineError(
            f"expected features as a dict from name to expression, found {type(features).__name__}"
        )
    for name, feature in features.items():
        if not isinstance(name, str):
            raise PipelineError(f"expected the name of a feature as str, found {name!r}")
        if not (isinstance(feature, str) or callable(feature)):
            raise PipelineError(
                f"expected feature {name!r} as an expression or a callable, "
                f"found {type(feature).__name__}"
            )
    return features


def parse_feature(name: str, text: str, columns: list[str] | None) -> Expression:
    """Parse the expression of a feature, whose name stands in the error if there is one."""
    try:
        return parse(text, columns=columns)
    except ExpressionError as error:
        raise ExpressionError(f"feature {name!r}: {error}") from error


def _called(name: str, function: Callable[[pd.DataFrame], Any], frame: pd.DataFrame) -> Any:
    """Call a feature's function and check that it returned one value per row."""
    result = function(frame)
    if isinstance(result, pd.Series):
        if not result.index.equals(frame.index):
            raise PipelineError(
                f"expected feature {name!r} to return a Series with the index of the table, found "
                "another index; return an array in row order instead, for instance by .to_numpy()"
            )
        return result.array
    shape = np.shape(result)
    if shape != (len(frame),):
        raise PipelineError(
            f"expected feature {name!r} to return one value per row, shape ({len(frame)},); "
            f"found {type(result).__name__} of shape {shape}"
        )
    return result


def _joined(frame: pd.DataFrame, added: Mapping[str, pd.Series[Any]]) -> pd.DataFrame:
    """Make a new table of `frame` and the added columns."""
    if not added:
        return frame.copy()
    return pd.concat([frame.copy(), *added.values()], axis=1)


def _input_frame(estimator: Any, X: Any, *, reset: bool) -> pd.DataFrame:
    """Make a DataFrame of the input, with the columns that `fit` saw, in their order."""
    if not isinstance(X, pd.DataFrame):
        # dtype=None and no check for NaN: text and missing values are for later steps.
        array = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite=False)
        return pd.DataFrame(array, columns=_check_feature_names_in(estimator))
    if not X.columns.is_unique:
        twice = list(X.columns[X.columns.duplicated()].unique())
        raise UnsuitableData(f"expected each column once, found {twice} repeated")
    if reset:
        if strange := [name for name in X.columns if not isinstance(name, str)]:
            raise UnsuitableData(
                f"expected column names as str, found {strange}; rename them, for instance by "
                "table.columns = table.columns.astype(str)"
            )
        validate_data(estimator, X, reset=True, skip_check_array=True)
        return X
    if not hasattr(estimator, "feature_names_in_"):
        # Fitted on an array: scikit-learn's own check of the count, and its warning.
        validate_data(estimator, X, reset=False, skip_check_array=True)
        return X.set_axis(_check_feature_names_in(estimator), axis=1)
    names = list(estimator.feature_names_in_)
    if missing := [name for name in names if name not in X.columns]:
        raise UnsuitableData(
            f"expected the columns that fit() saw, found none called {missing}; "
            f"the table has {list(X.columns)}"
        )
    return X[names]


def _as_numbers(column: pd.Series[Any]) -> pd.Series[Any]:
    try:
        values = plain_column(column)
    except ExpressionError as error:
        raise UnsuitableData(f"column {column.name!r}: {error}") from error
    if values.dtype == object:
        raise UnsuitableData(
            f"expected numbers in column {column.name!r}, found text (dtype {column.dtype}); "
            "convert it, or list it as categorical"
        )
    # not in place: the array may be the caller's own
    return pd.Series(np.where(np.isinf(values), np.nan, values), index=column.index)


def _as_categories(column: pd.Series[Any]) -> pd.Series[Any]:
    values = column.to_numpy(dtype=object, copy=True)
    values[column.isna().to_numpy()] = np.nan
    return pd.Series(values, index=column.index, dtype=object)


def _frame_tags(tags: Any) -> Any:
    """Say in tags that a transformer takes any table and returns a DataFrame."""
    tags.input_tags.allow_nan = True
    tags.input_tags.string = True
    tags.input_tags.categorical = True
    tags.transformer_tags.preserves_dtype = []
    return tags
