"""One look for every figure, applied for the length of a call and never globally."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

from matplotlib import rc_context, rcParamsDefault
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

from deltalens.core.text import shown

WIDTH = 6.46  # inches: 620 pixels on a screen
TEXT, SMALL = 9.5, 8.5
INK, MUTED, GRID, BAND = "#1b1f24", "#57606a", "#e4e7eb", "#c9ced6"
# Okabe and Ito's colours, told apart by every common form of colour vision.
PALETTE = ("#d55e00", "#0072b2", "#009e73", "#a6427f", "#c98600", "#3f8fc0", "#4b4b4b")

# The families of matplotlib's settings that change how a figure looks.
_FAMILIES = (
    *("axes", "figure", "font", "grid", "hatch", "legend", "lines", "mathtext", "patch"),
    *("path", "savefig", "scatter", "svg", "text", "xaxis", "xtick", "yaxis", "ytick"),
)
_OURS: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": TEXT,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": SMALL,
    "svg.fonttype": "path",
    "svg.hashsalt": "deltalens",
    "text.usetex": False,
}


@contextmanager
def house_style() -> Generator[None]:
    """Our settings on top of matplotlib's defaults, whatever the user's own; restored after."""
    plain = {k: v for k, v in rcParamsDefault.items() if k.split(".")[0] in _FAMILIES}
    settings: Any = plain | _OURS
    with rc_context(settings):
        yield


def blank(
    width: float, height: float, layout: Literal["constrained", "compressed"] = "constrained"
) -> Figure:
    """An empty figure of `width` by `height` inches on an Agg canvas."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def panels_in_rows(n: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with axes for `n` panels, two in a row, each row `height` inches."""
    columns = min(2, n)
    rows = math.ceil(n / columns)
    figure = blank(width, height * rows)
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(n)]


def label(text: object, limit: int = 40) -> str:
    """A stranger's string, fit for drawing: one line, short, no mathematics, no missing glyphs."""
    known = (c if _drawable(ord(c)) else "\ufffd" for c in shown(text, max(limit, 8)))
    return "".join(known).replace("$", r"\$")


def wrapped(text: object, width: int, lines: int) -> str:
    """A label in at most `lines` lines of about `width` characters."""
    width = max(width, 4)
    whole = shown(text, width * lines)
    parts = textwrap.wrap(whole, width, max_lines=lines, placeholder="…") or [""]
    return "\n".join(label(part, width + 8) for part in parts)


def note(figure: Figure, text: str, width: int = 104) -> None:
    """A line or more of small print under everything else."""
    if text:
        lines = "\n".join(label(line, 200) for line in textwrap.wrap(shown(text, 600), width))
        figure.supxlabel(lines, x=0.012, ha="left", fontsize=SMALL, color=MUTED)


def grid(ax: Axes, axis: str) -> None:
    """A light grid along one axis only (`"x"` or `"y"`)."""
    (ax.xaxis if axis == "x" else ax.yaxis).grid(visible=True)


@cache
def _drawable(code: int) -> bool:
    return get_font(findfont("DejaVu Sans")).get_char_index(code) != 0
