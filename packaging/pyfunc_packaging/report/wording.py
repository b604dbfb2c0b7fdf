"""Figures and times in words, for reports and notebooks; light to import."""

from __future__ import annotations

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


def number(value: float) -> str:
    """A number for people: four digits that matter.

    Examples
    --------
    >>> number(1234.567), number(0.0123456), number(3e-15), number(12), number(1.5e20)
    ('1,235', '0.01235', '3e-15', '12', '1.5e+20')
    """
    if value != value:  # noqa: PLR0124 - only NaN differs so
        return "unknown"
    if value and not 1e-4 <= abs(value) < 1e12:
        return f"{value:.3g}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}"


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
