"""Effects beside each other: a point with its interval for every term, a panel a measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltalens.figures.numbers import finite, number
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


@dataclass(frozen=True)
class Effect:
    """One term of one panel; None where it is undefined or has no interval."""

    estimate: float | None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class CoefficientPanel:
    """One measure: an effect for every term of the figure, in its order."""

    title: str
    effects: tuple[Effect, ...]


@dataclass(frozen=True)
class Coefficients:
    """Panels that share their rows."""

    terms: tuple[str, ...]
    panels: tuple[CoefficientPanel, ...]
    axis: str = "effect"
    note: str = ""


@house_style()
def coefficients_figure(
    data: Coefficients, *, width: float = WIDTH, height: float | None = None
) -> Figure:
    """Draw a row a term and a panel a measure, with 0 as a dashed line.

    Args:
        data: what to draw.
        width: inches.
        height: inches; by default enough for the terms.
    """
    n = len(data.terms)
    figure = blank(width, height or 1.5 + 0.4 * max(n, 2))
    letters = int((width - 1.5) * 72 / max(len(data.panels), 1) / 6.6)
    for p, panel in enumerate(data.panels):
        ax = figure.add_subplot(1, len(data.panels), p + 1)
        ax.axvline(0.0, color=MUTED, lw=1.1, ls=(0, (4, 3)), zorder=1)
        for row, effect in enumerate(panel.effects):
            _effect(ax, row, effect)
        ax.set_ylim(n - 0.4, -0.6)
        ax.set_yticks(range(n), [wrapped(term, 18, 2) for term in data.terms])
        ax.tick_params(labelleft=p == 0)
        if p == 0:
            ax.set_ylabel("what two adapters share")
        ax.set_xlabel(label(data.axis, 30))
        ax.margins(x=0.18)
        ax.locator_params(axis="x", nbins=4)
        ax.set_title(wrapped(panel.title, letters, 2), fontsize=SMALL + 0.5, pad=6)
        ax.spines["left"].set_visible(False)
        grid(ax, "x")
    note(figure, data.note)
    return figure


def _effect(ax: Axes, row: int, effect: Effect) -> None:
    known = finite((effect.estimate,))
    if not known:
        style: dict[str, Any] = {"color": MUTED, "fontstyle": "italic", "va": "center"}
        ax.text(0.0, row, "undefined", fontsize=SMALL, ha="center", **style)
        return
    ends = finite(effect.interval or ())
    if len(ends) == 2:
        ax.hlines(row, ends[0], ends[1], color=INK, lw=1.4, zorder=2)
    colour = PALETTE[1]
    face = colour if len(ends) == 2 else "white"
    ax.scatter(known, [row], s=34, facecolors=face, edgecolors=colour, lw=1.2, zorder=3)
    ax.annotate(
        number(known[0]),
        (known[0], row),
        (0, 6),
        textcoords="offset points",
        ha="center",
        fontsize=SMALL - 0.5,
        zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
    )
