"""What a report is about: everything that packaging knows of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyfunc_packaging.schema import Schema

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Subject:
    """A model that is being packaged.

    Parameters
    ----------
    name : str
    model : estimator
        The fitted pipeline.
    rows : pandas.DataFrame of shape (n, m)
        The rows that ``package_model()`` was given.
    y : Series, DataFrame or array of n values, or None
    schema : Schema
    graph : bytes or None
        The compiled pipeline.
    compilation : mapping
        As in the manifest.
    reference : mapping
        As in the manifest.
    versions : mapping of str to str
        As in the manifest.
    golden : mapping
        ``request`` and ``response``.
    profile : mapping
        The content of ``data/profile.json``.
    """

    name: str
    model: Any
    rows: pd.DataFrame
    y: Any
    schema: Schema
    graph: bytes | None
    compilation: Mapping[str, Any]
    reference: Mapping[str, Any]
    versions: Mapping[str, str]
    golden: Mapping[str, Any]
    profile: Mapping[str, Any]
