"""The pipeline that is served: nothing in it but scikit-learn and a function of pandas.

As somebody writes it who has never heard of this project, so that the comparison is fair.
"""

from __future__ import annotations

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler


def add_ratios(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(
        rooms_per_household=rows["total_rooms"] / rows["households"],
        bedrooms_per_room=rows["total_bedrooms"] / rows["total_rooms"],
        population_per_household=rows["population"] / rows["households"],
    )


def make_plain_pipeline(numeric: list[str], categorical: list[str]) -> Pipeline:
    ratios = ["rooms_per_household", "bedrooms_per_room", "population_per_household"]
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    texts = make_pipeline(
        SimpleImputer(strategy="most_frequent"),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False),
    )
    columns = ColumnTransformer(
        [("numeric", numbers, [*numeric, *ratios]), ("categorical", texts, categorical)]
    )
    return Pipeline(
        [
            ("ratios", FunctionTransformer(add_ratios)),
            ("columns", columns),
            ("regressor", HistGradientBoostingRegressor(random_state=0)),
        ]
    )
