"""Compile selectors of features: whatever chose them, they are columns by position."""

from __future__ import annotations

from typing import Any

from sklearn import feature_selection
from sklearn.utils import get_tags

from pyfunc_packaging.compile.composition import output_names, returns_frame
from pyfunc_packaging.compile.registry import Context, register_compiler
from pyfunc_packaging.compile.table import Table, check_booleans

SELECTORS = (
    feature_selection.GenericUnivariateSelect,
    feature_selection.RFE,
    feature_selection.RFECV,
    feature_selection.SelectFdr,
    feature_selection.SelectFpr,
    feature_selection.SelectFromModel,
    feature_selection.SelectFwe,
    feature_selection.SelectKBest,
    feature_selection.SelectPercentile,
    feature_selection.SequentialFeatureSelector,
    feature_selection.VarianceThreshold,
)


def _selector(estimator: Any, table: Table, context: Context) -> Table:
    if table.text:
        raise context.error("expected numbers, found text")
    # a DataFrame that stays one is not looked into
    untouched = returns_frame(estimator) and table.names is not None
    if not untouched and not get_tags(estimator).input_tags.allow_nan:
        check_booleans(table)
        context.refuse_missing(table)
        context.refuse_infinite(table)
    chosen = [int(position) for position in estimator.get_support(indices=True)]
    if not chosen:
        raise context.error("no column is left")
    return Table(table.take(chosen).blocks, output_names(estimator, table))


for _class in SELECTORS:
    register_compiler(_class, _selector)
