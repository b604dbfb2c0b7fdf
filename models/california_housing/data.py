"""California housing: the real census data where it is, else a synthetic census like it.

python models/california_housing/data.py housing.csv    # writes the synthetic one
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd

TARGET = "median_house_value"
NUMERIC = (
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
)
CATEGORICAL = ("ocean_proximity",)
COLUMNS = (*NUMERIC, *CATEGORICAL, TARGET)

#: Block groups of the real data (Pace and Barry, Statistics and Probability Letters 33, 1997).
ROWS = 20_640


def load_housing(path: str | Path | None = None) -> tuple[pd.DataFrame, str]:
    """Read the real data, or make synthetic data.

    Parameters
    ----------
    path : path, optional
        A CSV file; default the environment variable ``CALIFORNIA_HOUSING_CSV``, if it is set.

    Returns
    -------
    rows : pandas.DataFrame of shape (n, 10)
    source : str
        One line for people: what these rows are.
    """
    path = path or os.environ.get("CALIFORNIA_HOUSING_CSV") or None
    if path is None:
        return make_synthetic(), (
            f"{ROWS} synthetic block groups (seeded; for the real ones pass --data housing.csv)"
        )
    path = Path(path)
    if not path.is_file():
        raise SystemExit(f"{path}: no such file; --data should be the California housing CSV")
    rows = pd.read_csv(path)
    missing = [column for column in COLUMNS if column not in rows.columns]
    if missing:
        raise SystemExit(f"{path}: the column(s) {', '.join(missing)} are not in it")
    return rows[list(COLUMNS)], f"{len(rows)} block groups from {path}"


def make_synthetic(rows: int = ROWS, *, seed: int = 1990) -> pd.DataFrame:
    """Make a census of the same columns, units, categories and gaps as the real one.

    Parameters
    ----------
    rows : int
    seed : int

    Returns
    -------
    pandas.DataFrame of shape (rows, 10)
        Values to a cent of the real ranges; prices in US dollars, capped at 500,001 as in 1990.
    """
    rng = np.random.default_rng(seed)
    along = rng.uniform(0, 1, rows)  # from San Diego (0) to the Oregon border (1)
    inland = rng.gamma(1.5, 0.8, rows)  # degrees from the coast
    latitude = 32.6 + 9.3 * along
    longitude = -117.1 - 7.2 * along + inland
    households = np.maximum(1, rng.lognormal(6.0, 0.7, rows)).round()
    population = np.maximum(3, households * rng.gamma(9, 0.33, rows)).round()
    total_rooms = np.maximum(2, households * rng.gamma(12, 0.44, rows)).round()
    total_bedrooms = np.maximum(1, total_rooms * rng.beta(20, 74, rows)).round()
    income = np.clip(rng.lognormal(1.25, 0.45, rows), 0.4999, 15.0001).round(4)
    age = np.clip(rng.normal(29, 12, rows), 1, 52).round()
    island = rng.uniform(size=rows) < 0.0003
    proximity = np.select(
        [
            island,
            inland > 1.2,
            (inland < 0.35) & (np.abs(latitude - 37.8) < 0.9),
            inland < 0.45,
        ],
        ["ISLAND", "INLAND", "NEAR BAY", "NEAR OCEAN"],
        "<1H OCEAN",
    )
    price = (
        42_000 * income
        + 90_000 * np.exp(-inland)
        + 25_000 * (total_rooms / households - 5)
        - 18_000 * (population / households - 3)
        + 900 * (age - 28)
        + 70_000 * np.exp(-((latitude - 37.6) ** 2))
        + 180_000 * island
    )
    value = np.clip(price * rng.lognormal(0, 0.18, rows), 14_999, 500_001).round(-2)
    gaps = rng.choice(rows, size=round(rows * 0.01), replace=False)
    total_bedrooms[gaps] = np.nan
    return pd.DataFrame(
        {
            "longitude": longitude.round(2),
            "latitude": latitude.round(2),
            "housing_median_age": age,
            "total_rooms": total_rooms,
            "total_bedrooms": total_bedrooms,
            "population": population,
            "households": households,
            "median_income": income,
            "ocean_proximity": proximity,
            TARGET: value,
        }
    )


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: data.py FILE.csv")
    make_synthetic().to_csv(sys.argv[1], index=False)
    print(f"{sys.argv[1]}: {ROWS} synthetic block groups")
