"""Two judges' scores of the same answers against each other."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltalens.figures.style import (
    BAND,
    MUTED,
    PALETTE,
    WIDTH,
    grid,
    house_style,
    note,
    panels_in_rows,
    wrapped,
)


@dataclass(frozen=True)
class ScorePanel:
    """One pair of axes, 0 to 100 both.

    Attributes:
        title: over it: the scale.
        x_axis: one judge.
        y_axis: the other.
        x: its scores.
        y: of the same answers.
        limit: a threshold that both are held against; None: none is drawn.
    """

    title: str
    x_axis: str
    y_axis: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    limit: float | None = None


@house_style()
def scores_figure(
    panels: tuple[ScorePanel, ...],
    *,
    small_print: str = "",
    width: float = WIDTH,
    height: float = 3.0,
) -> Figure:
    """Draw the panels, two in a row; answers with equal scores are one larger point.

    Args:
        panels: what to draw.
        small_print: under everything.
        width: inches.
        height: inches of one row.
    """
    figure, axes = panels_in_rows(len(panels), width, height)
    for ax, panel in zip(axes, panels, strict=True):
        _panel(ax, panel)
    note(figure, small_print)
    return figure


def _panel(ax: Axes, panel: ScorePanel) -> None:
    ax.plot([0, 100], [0, 100], color=BAND, lw=1.0, zorder=1)
    if panel.limit is not None:
        style: dict[str, Any] = {"color": MUTED, "lw": 0.8, "ls": (0, (4, 3)), "zorder": 1.5}
        ax.axvline(panel.limit, **style)
        ax.axhline(panel.limit, **style)
    many = Counter(zip(panel.x, panel.y, strict=True))
    if many:
        x, y = zip(*many, strict=True)
        sizes = [14.0 * math.sqrt(n) for n in many.values()]
        ax.scatter(x, y, s=sizes, color=PALETTE[1], alpha=0.6, linewidths=0, zorder=3)
    else:
        ax.text(50, 50, "no answer scored by both", color=MUTED, ha="center", va="center")
    ax.set_xlim(-4, 104)
    ax.set_ylim(-4, 104)
    ax.set_title(wrapped(panel.title, 36, 2), pad=6)
    ax.set_xlabel(wrapped(panel.x_axis, 40, 2))
    ax.set_ylabel(wrapped(panel.y_axis, 30, 2))
    grid(ax, "x")
    grid(ax, "y")
