"""Curves along a path, in one or several panels with their own axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltalens.figures.style import (
    PALETTE,
    SMALL,
    WIDTH,
    grid,
    house_style,
    label,
    note,
    panels_in_rows,
    wrapped,
)


@dataclass(frozen=True)
class PathCurve:
    """One curve; None or NaN leaves a gap.

    Attributes:
        label: in the legend; curves of one label share an entry, an empty one has none.
        x: positions, rising.
        y: one value a position.
        low: lower end of the interval at each position, or empty.
        high: upper end, or empty.
        family: index of the colour.
        dashed: for a curve of another kind in the same colour.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float | None, ...]
    low: tuple[float | None, ...] = ()
    high: tuple[float | None, ...] = ()
    family: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class PathPanel:
    """One pair of axes.

    Attributes:
        title: over it.
        x_axis: what the position is.
        y_axis: what the value is.
        curves: what is drawn.
        limits: of the y axis; by default those of the data.
        legend: whether the curves are named here.
    """

    title: str
    x_axis: str
    y_axis: str
    curves: tuple[PathCurve, ...]
    limits: tuple[float, float] | None = None
    legend: bool = True


@house_style()
def curves_figure(
    panels: tuple[PathPanel, ...],
    *,
    small_print: str = "",
    width: float = WIDTH,
    height: float = 2.7,
) -> Figure:
    """Draw the panels, two in a row.

    Args:
        panels: what to draw.
        small_print: under everything.
        width: inches.
        height: inches of one row.
    """
    figure, axes = panels_in_rows(len(panels), width, height)
    for ax, panel in zip(axes, panels, strict=True):
        _panel(ax, panel, min(2, len(panels)))
    note(figure, small_print, width=98)
    return figure


def _panel(ax: Axes, panel: PathPanel, columns: int) -> None:
    named: set[str] = set()
    for curve in panel.curves:
        text = "" if curve.label in named else curve.label
        named.add(curve.label)
        _curve(ax, curve, text)
    ax.set_title(wrapped(panel.title, 76 // columns, 2), pad=6)
    ax.set_xlabel(label(panel.x_axis, 60))
    ax.set_ylabel(wrapped(panel.y_axis, 30, 2))
    ax.margins(y=0.08)
    if panel.limits is not None:
        ax.set_ylim(*panel.limits)
    grid(ax, "y")
    if panel.legend and ax.get_legend_handles_labels()[0]:
        ax.legend(loc="best", fontsize=SMALL, handlelength=1.6, labelspacing=0.25)


def _curve(ax: Axes, curve: PathCurve, text: str) -> None:
    colour = PALETTE[curve.family % len(PALETTE)]
    style = (0, (4, 3)) if curve.dashed else "-"
    y = [_gap(v) for v in curve.y]
    ax.plot(
        curve.x,
        y,
        color=colour,
        lw=1.6,
        ls=style,
        marker="o",
        ms=3.2,
        zorder=3,
        label=label(text, 48) if text else None,
    )
    if curve.low and curve.high:
        low, high = [_gap(v) for v in curve.low], [_gap(v) for v in curve.high]
        ax.fill_between(curve.x, low, high, color=colour, alpha=0.14, lw=0, zorder=1.5)


def _gap(value: float | None) -> float:
    return math.nan if value is None or not math.isfinite(value) else float(value)
