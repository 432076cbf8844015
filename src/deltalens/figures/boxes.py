"""One measure in rows: a box over the pairs of each comparison, every pair a point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from deltalens.figures.groups import Group as Row
from deltalens.figures.groups import jitter, reasons
from deltalens.figures.numbers import finite
from deltalens.figures.style import (
    INK,
    MUTED,
    PALETTE,
    SMALL,
    WIDTH,
    blank,
    grid,
    house_style,
    label,
    note,
    wrapped,
)

_MIN_BOX = 4  # quartiles of fewer points say less than the points
_HALF = 0.3


@dataclass(frozen=True)
class Boxes:
    """Rows of one measure.

    Attributes:
        title: what is shown.
        axis: the measure with its settings.
        rows: label, values, mean and interval of each; `null` is drawn as a grey band.
        note: small print.
    """

    title: str
    axis: str
    rows: tuple[Row, ...]
    note: str = ""


@house_style()
def boxes_figure(data: Boxes, *, width: float = WIDTH, height: float | None = None) -> Figure:
    """Draw a row a comparison: points, quartiles as a box, the mean's interval.

    Args:
        data: what to draw.
        width: inches.
        height: inches; by default enough for the rows.
    """
    n = len(data.rows)
    figure = blank(width, height or 1.3 + 0.36 * max(n, 2))
    ax = figure.add_subplot()
    for y, row in enumerate(data.rows):
        _row(ax, y, row)
    ax.set_ylim(max(n, 1) - 0.4, -0.6)
    ax.set_yticks(range(n), [wrapped(row.label, 30, 2) for row in data.rows], fontsize=SMALL)
    ax.set_ylabel("comparison")
    ax.set_xlabel(label(data.axis, 60))
    ax.set_title(wrapped(data.title, int(width * 72 / 7.5), 2), pad=8)
    ax.margins(x=0.05)
    ax.spines["left"].set_visible(False)
    grid(ax, "x")
    note(figure, " ".join(part for part in (data.note, reasons(data.rows)) if part))
    return figure


def _row(ax: Axes, y: int, row: Row) -> None:
    values = sorted(finite(row.values))
    colour = PALETTE[row.family % len(PALETTE)]
    if row.null is not None:
        _rectangle(ax, row.null.low, row.null.high, y, 0.42, color=MUTED, alpha=0.25, lw=1.0)
    if not values:
        style: dict[str, Any] = {"color": MUTED, "fontstyle": "italic", "va": "center"}
        low, high = ax.get_xlim()
        ax.text((low + high) / 2, y, "undefined", fontsize=SMALL, ha="center", **style)
        return
    if len(values) >= _MIN_BOX:
        low, middle, high = np.quantile(values, [0.25, 0.5, 0.75]).tolist()
        ax.hlines(y, values[0], values[-1], color=colour, lw=1.0, zorder=2)
        _rectangle(ax, low, high, y, _HALF, facecolor="white", edgecolor=colour, lw=1.2, zorder=2.5)
        ax.vlines(middle, y - _HALF, y + _HALF, color=colour, lw=1.8, zorder=3)
    heights = [y + dy for dy in jitter(len(values), 0.4)]
    ax.scatter(
        values,
        heights,
        s=16 if len(values) <= 40 else 7,
        facecolors="white" if row.hollow else colour,
        edgecolors=colour if row.hollow else "white",
        linewidths=0.9 if row.hollow else 0.4,
        zorder=4,
    )
    ends = finite(row.interval or ())
    if len(ends) == 2 and finite((row.mean,)):
        ax.hlines(y + 0.4, ends[0], ends[1], color=INK, lw=1.3, zorder=5)
        ax.scatter([row.mean or 0.0], [y + 0.4], marker="|", s=40, color=INK, zorder=5)


def _rectangle(ax: Axes, low: float, high: float, y: float, half: float, **style: Any) -> None:
    ax.add_patch(Rectangle((low, y - half), high - low, 2 * half, **style))
