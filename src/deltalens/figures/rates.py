"""A table of rates as a heat map: rows are situations, columns are tests, groups set apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from deltalens.figures.style import SMALL, blank, house_style, label, note


@dataclass(frozen=True)
class Rates:
    """Rates between 0 and 1.

    Attributes:
        title: what is shown.
        rows: names of the rows.
        columns: names of the columns.
        values: a row each; None where undefined.
        breaks: rows before which a line is drawn.
        marked: columns whose names are set in bold.
        note: small print.
    """

    title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    breaks: tuple[int, ...] = ()
    marked: tuple[int, ...] = ()
    note: str = ""


@house_style()
def rates_figure(data: Rates, *, width: float = 9.0) -> Figure:
    """Draw the table, each cell with its number.

    Args:
        data: what to draw.
        width: inches.
    """
    figure = blank(width, 2.9 + 0.3 * len(data.rows))
    ax = figure.add_subplot()
    cells = np.array([[math.nan if v is None else v for v in row] for row in data.values])
    ax.imshow(cells, cmap=colormaps["YlOrRd"], vmin=0, vmax=1, aspect="auto", alpha=0.85)
    for (i, j), value in np.ndenumerate(cells):
        text = "–" if math.isnan(value) else f"{value:.2f}"
        ink = "white" if value > 0.75 else "black"
        ax.text(j, i, text, ha="center", va="center", fontsize=SMALL - 0.5, color=ink)
    ax.set_xticks(range(len(data.columns)), [label(name, 30) for name in data.columns])
    ax.set_yticks(range(len(data.rows)), [label(name, 60) for name in data.rows])
    ax.tick_params(labelsize=SMALL, top=True, labeltop=True, bottom=False, labelbottom=False)
    for place, tick in enumerate(ax.get_xticklabels()):
        tick.set(rotation=45, ha="left", rotation_mode="anchor")
        tick.set_fontweight("bold" if place in data.marked else "normal")
    for row in data.breaks:
        ax.axhline(row - 0.5, color="black", lw=1.0)
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.set_title(label(data.title, 120), pad=12)
    note(figure, data.note, width=140)
    return figure
