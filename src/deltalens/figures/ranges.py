"""Published curves over the range that a null gives, with the range split by assumption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from deltalens.figures.style import (
    BAND,
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

_COLUMNS = 2
_BAR = 0.055  # of the curves' width


@dataclass(frozen=True)
class Band:
    """What one assumption gives: the lowest and the highest mean."""

    label: str
    low: float
    high: float


@dataclass(frozen=True)
class Curve:
    """One published series; a single value is drawn as a line across."""

    label: str
    x: tuple[int, ...]
    y: tuple[float, ...]


@dataclass(frozen=True)
class RangePanel:
    """One measure: curves over the union of the bands, and each band as a bar at the right."""

    title: str
    axis: str
    curves: tuple[Curve, ...]
    bands: tuple[Band, ...]


@house_style()
def ranges_figure(
    panels: Sequence[RangePanel], *, note: str = "", width: float = WIDTH, height: float = 0.0
) -> Figure:
    """Draw the panels in two columns, with one legend.

    Args:
        panels: at least one; bands of one label have one colour.
        note: small print.
        width: inches.
        height: inches; by the number of rows unless given.
    """
    rows = -(-len(panels) // _COLUMNS)
    columns = min(len(panels), _COLUMNS)
    figure = blank(width, height or 0.9 + 2.2 * rows)
    colours = _colours(panels)
    for place, panel in enumerate(panels):
        ax = figure.add_subplot(rows, columns, place + 1)
        _panel(ax, panel, colours)
        ax.set_title(wrapped(panel.title, 34 if columns > 1 else 70, 2), fontsize=9.5)
    _legend(figure, panels, colours)
    _small_print(figure, note)
    return figure


def _small_print(figure: Figure, text: str) -> None:
    note(figure, text)


def _colours(panels: Sequence[RangePanel]) -> dict[str, str]:
    names = dict.fromkeys(band.label for panel in panels for band in panel.bands)
    return {name: PALETTE[i % len(PALETTE)] for i, name in enumerate(names)}


def _panel(ax: Axes, panel: RangePanel, colours: dict[str, str]) -> None:
    places = [x for curve in panel.curves for x in curve.x]
    first, last = min([*places, 1]), max([*places, 1])
    if panel.bands:
        low, high = min(b.low for b in panel.bands), max(b.high for b in panel.bands)
        ax.axhspan(low, high, color=BAND, alpha=0.45, lw=0, zorder=0)
    for i, band in enumerate(panel.bands):
        at = last * (1.05 + _BAR * i)
        ax.vlines(at, band.low, band.high, color=colours[band.label], lw=3.2, zorder=2)
    for i, curve in enumerate(panel.curves):
        style = _STYLES[i % len(_STYLES)]
        if len(curve.y) == 1:
            ax.hlines(curve.y[0], 0, last, color="black", lw=1.3, ls=style, zorder=3)
        else:
            ax.plot(curve.x, curve.y, color="black", lw=1.3, ls=style, zorder=3)
    right = 1.05 + _BAR * (len(panel.bands) + 0.3) if panel.bands else 1.03
    ax.set_xlim(first - 0.03 * last, last * right)
    ax.set_xlabel(panel.axis)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    ax.set_xticks([t for t in ax.get_xticks() if first <= t <= last])
    ax.margins(y=0.06)
    grid(ax, "y")


_STYLES = ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))


def _legend(figure: Figure, panels: Sequence[RangePanel], colours: dict[str, str]) -> None:
    names = list(dict.fromkeys(curve.label for panel in panels for curve in panel.curves))
    order = {curve.label: i for panel in panels for i, curve in enumerate(panel.curves)}
    entries: list[Line2D | Patch] = [
        Line2D(
            [], [], color="black", lw=1.3, ls=_STYLES[order[name] % len(_STYLES)], label=label(name)
        )
        for name in names
    ]
    entries += [Line2D([], [], color=c, lw=3.2, label=label(name)) for name, c in colours.items()]
    if colours:
        entries.append(Patch(color=BAND, alpha=0.45, label="all of these"))
    figure.legend(
        handles=entries, loc="outside upper left", ncols=3, fontsize=SMALL, labelcolor=MUTED
    )
