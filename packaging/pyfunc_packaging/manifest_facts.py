"""What a manifest says about quality, speed and code, checked: anybody may have written it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyfunc_packaging.bundle import MANIFEST, Bundle
from pyfunc_packaging.errors import MalformedBundle


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
    """The ``metrics`` of a manifest; none where the bundle was made without a target.

    Raises
    ------
    MalformedBundle
        If they are not what the bundle format says.
    """
    found = []
    for item in _expect(bundle, "metrics", bundle.manifest.get("metrics", []), list):
        entry = _expect(bundle, "metrics", item, dict)
        figures = _expect(bundle, "metrics", entry.get("figures"), dict)
        rows = _expect(bundle, "metrics", entry.get("rows"), int)
        numbers = {
            name: float(_expect(bundle, "metrics", value, (int, float)))
            for name, value in figures.items()
        }
        found.append(Quality(str(entry.get("target")), rows, numbers))
    return tuple(found)


def read_seconds(bundle: Bundle) -> dict[str, dict[str, float]]:
    """What packaging timed: seconds by engine, by number of rows (such as ``"one row"``).

    Raises
    ------
    MalformedBundle
        If it is not what the bundle format says.
    """
    compilation = _expect(bundle, "compilation", bundle.manifest.get("compilation", {}), dict)
    timed = _expect(bundle, "compilation", compilation.get("seconds") or {}, dict)
    return {
        str(rows): {
            str(engine): float(_expect(bundle, "compilation", seconds, (int, float)))
            for engine, seconds in _expect(bundle, "compilation", engines, dict).items()
        }
        for rows, engines in timed.items()
    }


def read_code(bundle: Bundle) -> tuple[str, ...]:
    """Names in ``code/`` that are the user's own.

    Raises
    ------
    MalformedBundle
        If it is not what the bundle format says.
    """
    names = _expect(bundle, "code", bundle.manifest.get("code", []), list)
    return tuple(str(name) for name in names)


def _expect(bundle: Bundle, key: str, value: Any, kind: Any) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise MalformedBundle(
            f"{bundle.path}: {MANIFEST}: {key!r} is not what the bundle format says (found"
            f" {value!r:.40}); fetch the bundle again"
        )
    return value
