"""Plots as SVG that takes its colours from the page, so that it suits dark and light alike."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import EngFormatter
from sklearn.calibration import calibration_curve

Array = npt.NDArray[Any]

#: Stand for what the page decides: matplotlib knows no CSS variables.
_INK, _ACCENT, _LINE = "#010203", "#040506", "#070809"
_CSS = {_INK: "currentColor", _ACCENT: "var(--accent)", _LINE: "var(--warm)"}

# Any: matplotlib's own type for this is a literal of all its settings
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: found, read aloud, and in the page's font
    "svg.hashsalt": "mlserver-pyfunc",  # ids are the same every time
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "path.simplify": True,
}
#: Up to so many rows each gets a dot; more are shown as how many there are in a cell.
MAX_DOTS = 500
_CELLS = 44
_SHADES = 6


def predicted_against_actual(actual: Array, predicted: Array, key: str) -> str:
    """How far predictions are off the diagonal."""

    def draw(axes: Axes) -> None:
        low = float(min(actual.min(), predicted.min()))
        high = float(max(actual.max(), predicted.max()))
        _cloud(axes, actual, predicted)
        axes.plot([low, high], [low, high], color=_LINE, linewidth=1.5)
        axes.set_xlabel("actual")
        axes.set_ylabel("predicted")

    return _svg(draw, f"{key}-predicted")


def residuals(actual: Array, predicted: Array, key: str) -> str:
    """Predicted minus actual, over what was predicted."""

    def draw(axes: Axes) -> None:
        _cloud(axes, predicted, predicted - actual)
        axes.axhline(0, color=_LINE, linewidth=1.5)
        axes.set_xlabel("predicted")
        axes.set_ylabel("predicted − actual")

    return _svg(draw, f"{key}-residuals")


def calibration(right: Array, chance: Array, label: str, key: str) -> str:
    """How often what is said to be likely is so."""

    def draw(axes: Axes) -> None:
        share, said = calibration_curve(right, np.clip(chance, 0, 1), n_bins=10)
        axes.plot([0, 1], [0, 1], color=_INK, linewidth=1, linestyle="--", alpha=0.5)
        axes.plot(said, share, color=_ACCENT, linewidth=1.8, marker="o", markersize=5)
        axes.set_xlabel(label)
        axes.set_ylabel("share of rows where it is so")
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)

    return _svg(draw, f"{key}-calibration", plain=True)


def _cloud(axes: Axes, x: Array, y: Array) -> None:
    if len(x) <= MAX_DOTS:
        axes.plot(x, y, linestyle="", marker="o", markersize=4, color=_ACCENT, alpha=0.45, mew=0)
        return
    counts, columns, lines = np.histogram2d(x, y, bins=_CELLS)
    shade = np.ceil(_SHADES * np.log1p(counts) / np.log1p(counts.max())).astype(int)
    for level in range(1, _SHADES + 1):
        # one path a shade, not one a cell: a tenth of the bytes
        cells = [
            Path(
                [
                    (columns[i], lines[j]),
                    (columns[i + 1], lines[j]),
                    (columns[i + 1], lines[j + 1]),
                    (columns[i], lines[j + 1]),
                    (columns[i], lines[j]),
                ],
                closed=True,
            )
            for i, j in np.argwhere(shade == level)
        ]
        if cells:
            path = Path.make_compound_path(*cells)
            opacity = 0.12 + 0.88 * level / _SHADES
            axes.add_patch(PathPatch(path, facecolor=_ACCENT, alpha=opacity, linewidth=0))
    axes.autoscale_view()


def _svg(draw: Any, key: str, *, plain: bool = False) -> str:
    """Draw on new axes; an ``<svg>`` element whose ids start with ``key``."""
    with mpl.rc_context(_SETTINGS):
        figure = Figure(figsize=(4.7, 3.5), layout="constrained")
        figure.patch.set_alpha(0)
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_alpha(0)
        draw(axes)
        axes.grid(color=_INK, alpha=0.12, linewidth=0.8)
        axes.set_axisbelow(True)
        if not plain:
            for axis in (axes.xaxis, axes.yaxis):
                # thousands have a letter; what is small has none that people know
                if np.abs(axis.get_view_interval()).max() >= 1000:
                    axis.set_major_formatter(EngFormatter(sep=""))
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{key}-', text)
    text = re.sub(r'(url\(|href=")#', rf"\1#{key}-", text)
    for colour, css in _CSS.items():
        text = text.replace(colour, css)
    # the page says how large it is, and what it shows
    text = re.sub(r'<svg ([^>]*?)width="[^"]*" ?', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*" ?', r"<svg \1", text, count=1)
    return text.replace("<svg ", '<svg aria-hidden="true" ', 1)
