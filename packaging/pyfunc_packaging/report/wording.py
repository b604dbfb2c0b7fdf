"""Figures and times in words, for reports and notebooks; light to import."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

#: What figures are called, and what they say.
TITLES = {
    "r2": ("R²", "share of the target's variance that is explained; 1 is perfect"),
    "mae": ("Mean absolute error", "in the target's unit"),
    "rmse": ("RMSE", "root mean squared error, in the target's unit"),
    "median_ae": ("Median absolute error", "half of the rows are closer"),
    "accuracy": ("Accuracy", "share of right labels"),
    "balanced_accuracy": ("Balanced accuracy", "mean over the labels of the share found"),
    "log_loss": ("Log loss", "of the probabilities; 0 is perfect"),
    "roc_auc": ("ROC AUC", "0.5 is chance, 1 is perfect"),
}
_IN_UNITS = {"mae", "rmse", "median_ae"}


def name_figure(name: str) -> str:
    """What a figure is called within a sentence.

    Examples
    --------
    >>> name_figure("r2"), name_figure("mae"), name_figure("roc_auc"), name_figure("own")
    ('R²', 'mean absolute error', 'ROC AUC', 'own')
    """
    title = TITLES[name][0] if name in TITLES else name
    return title if title.isupper() or name not in TITLES else title.lower()


def number(value: float) -> str:
    """A number for people: four digits that matter.

    Examples
    --------
    >>> number(1234.567), number(0.0123456), number(-1e-9), number(12), number(1.5e20)
    ('1,235', '0.01235', '-1e-9', '12', '1.5e20')
    """
    if value != value:  # noqa: PLR0124 - only NaN differs so
        return "unknown"
    if value and not 1e-4 <= abs(value) < 1e12:
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{exponent[0].strip('+')}{exponent[1:].lstrip('0')}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


def numbers(values: Iterable[float]) -> list[str]:
    """Numbers that stand in one column: as many decimals each as the largest needs.

    Examples
    --------
    >>> numbers([46527.3, -602.14, 0.2]), numbers([0.4442, 0.162]), numbers([3e-15, 0])
    (['46,527', '-602', '0'], ['0.4442', '0.1620'], ['3e-15', '0'])
    """
    found = list(values)
    largest = max((abs(value) for value in found if math.isfinite(value)), default=0.0)
    if not 1e-4 <= largest < 1e12 or not all(map(math.isfinite, found)):
        return [number(value) for value in found]
    whole = all(float(value).is_integer() for value in found)
    places = 0 if whole else min(max(3 - math.floor(math.log10(largest)), 0), 7)
    # a sum with zero, so that nothing is called -0
    return [f"{round(value, places) + 0.0:,.{places}f}" for value in found]


def share(value: float) -> str:
    """A share of all rows, 0 to 1, for people.

    Examples
    --------
    >>> share(0.4419), share(1.0), share(0.0005), share(0.00001), share(0.9996), share(0)
    ('44.2%', '100%', '0.05%', '<0.01%', '99.96%', '0%')
    """
    if value in (0, 1):
        return f"{value:.0%}"
    if value < 0.0001:
        return "<0.01%"
    if value < 0.01 or value >= 0.9995:
        return ">99.99%" if value >= 0.99995 else f"{value:.2%}"
    return f"{value:.1%}"


def duration(seconds: float) -> str:
    """A time for people.

    Examples
    --------
    >>> duration(0.000042), duration(0.0123), duration(2)
    ('42 µs', '12.3 ms', '2 s')
    """
    if seconds < 1e-3:
        return f"{seconds * 1e6:.3g} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def minus(text: str) -> str:
    """Numbers of a text with a sign as wide as a plus, which breaks no line.

    Examples
    --------
    >>> minus("-1,234 to -0.5, 1e-9, 2024-01-31")
    '−1,234 to −0.5, 1e-9, 2024-01-31'
    """
    return re.sub(r"(?<![\w.])-(?=\d)", "−", text)


def figure_texts(figures: Mapping[str, float]) -> dict[str, str]:
    """Figures of a target with digits alike: those in its unit, and those that have none.

    Examples
    --------
    >>> figure_texts({"r2": 0.84, "mae": 30419.2, "rmse": 45138.7})
    {'r2': '0.8400', 'mae': '30,419', 'rmse': '45,139'}
    """
    texts: dict[str, str] = {}
    for alike in (_IN_UNITS, figures.keys() - _IN_UNITS):
        names = [name for name in figures if name in alike]
        texts |= dict(zip(names, numbers(figures[name] for name in names), strict=True))
    return {name: texts[name] for name in figures}
