"""Train the California housing regressor and package it.

python models/california_housing/train.py --output bundle [--data housing.csv]
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd
from data import CATEGORICAL, NUMERIC, TARGET, load_housing
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline

from pyfunc_packaging import Bundle, build_pipeline, package_model

NAME = "CaliforniaHousingRegressor"

#: Counts of a block group say little by themselves; what a household has of them says more.
FEATURES = {
    "rooms_per_household": "total_rooms / households",
    "bedrooms_per_room": "total_bedrooms / total_rooms",
    "population_per_household": "population / households",
}


def make_pipeline() -> Pipeline:
    return build_pipeline(
        HistGradientBoostingRegressor(random_state=0),
        numeric=NUMERIC,
        categorical=CATEGORICAL,
        features=FEATURES,
    )


def train(rows: pd.DataFrame) -> tuple[Pipeline, str]:
    """Fit on four fifths of the rows; say how well the rest is predicted."""
    training, held_out = train_test_split(rows, test_size=0.2, random_state=0)
    pipeline = make_pipeline()
    pipeline.fit(training.drop(columns=TARGET), training[TARGET])
    predicted = pipeline.predict(held_out.drop(columns=TARGET))
    score = r2_score(held_out[TARGET], predicted)
    error = mean_absolute_error(held_out[TARGET], predicted)
    return pipeline, f"R² {score:.3f}, mean absolute error {error:,.0f} US dollars"


def main() -> Bundle:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="the California housing CSV; default: synthetic data")
    parser.add_argument("--output", type=Path, default=Path("bundle"), help="default: bundle")
    options = parser.parse_args()

    rows, source = load_housing(options.data)
    print(f"data      {source}")
    start = time.perf_counter()
    pipeline, score = train(rows)
    print(f"trained   in {time.perf_counter() - start:.1f} s; on held-out rows: {score}")
    bundle = package_model(
        pipeline,
        rows.drop(columns=TARGET),
        y=rows[TARGET],
        path=options.output,
        name=NAME,
        overwrite=True,
    )
    packed = bundle.timings["schema"] + bundle.timings["write"]
    print(
        f"packaged  in {packed:.1f} s, checked in a new process in {bundle.timings['check']:.1f} s"
    )
    print(bundle)
    return bundle


if __name__ == "__main__":
    main()
