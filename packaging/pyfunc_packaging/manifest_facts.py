"""What a manifest says about quality, speed and code; `contents` has checked what form it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pyfunc_packaging.bundle import Bundle


@dataclass(frozen=True)
class Quality:
    """How good the predictions of a target are.

    Parameters
    ----------
    target : str
    rows : int
        Rows that were given to ``package_model``, on which it was measured.
    figures : mapping of str to float
    """

    target: str
    rows: int
    figures: Mapping[str, float]


def read_quality(bundle: Bundle) -> tuple[Quality, ...]:
    """The ``metrics`` of a manifest; none where the bundle was made without a target."""
    return tuple(
        Quality(entry["target"], entry["rows"], entry["figures"])
        for entry in bundle.manifest.get("metrics", [])
    )


def read_seconds(bundle: Bundle) -> Mapping[str, Mapping[str, float]]:
    """What packaging timed: seconds by engine, by number of rows (such as ``"one row"``)."""
    return bundle.manifest.get("compilation", {}).get("seconds") or {}


def read_code(bundle: Bundle) -> tuple[str, ...]:
    """Names in ``code/`` that are the user's own."""
    return tuple(bundle.manifest.get("code", []))
