"""A rate over the triangle of three mixtures, in barycentric coordinates."""

from __future__ import annotations

import math
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from deltalens.figures.style import INK, SMALL, blank, house_style, label, note, wrapped

_HEIGHT = math.sqrt(3) / 2


@dataclass(frozen=True)
class TrianglePlot:
    """Values at points of a triangle.

    Attributes:
        title: over the figure.
        measure: what the colour says.
        corners: names at the three corners.
        weights: `(w1, w2, w3)` of every point, summing to 1.
        values: one a point.
        small_print: under the figure.
    """

    title: str
    measure: str
    corners: tuple[str, str, str]
    weights: tuple[tuple[float, float, float], ...]
    values: tuple[float, ...]
    small_print: str = ""


@house_style()
def triangle_figure(data: TrianglePlot, *, width: float = 4.6, height: float = 3.6) -> Figure:
    """Draw the triangle with its points; the colour between them is interpolated.

    Args:
        data: what to draw.
        width: inches.
        height: inches.
    """
    figure = blank(width, height)
    ax = figure.add_subplot()
    x = [w[1] + w[2] / 2 for w in data.weights]
    y = [w[2] * _HEIGHT for w in data.weights]
    drawn = ax.tripcolor(
        Triangulation(x, y), list(data.values), shading="gouraud", cmap="cividis", vmin=0, vmax=1
    )
    ax.plot(x, y, ls="", marker="o", ms=2.5, color=INK, alpha=0.7)
    places = ((0.0, -0.06, "center"), (1.0, -0.06, "center"), (0.5, _HEIGHT + 0.03, "center"))
    for name, (at_x, at_y, align) in zip(data.corners, places, strict=True):
        ax.annotate(
            label(name, 24),
            (at_x, at_y),
            ha=align,
            va="top" if at_y < 0 else "bottom",
            fontsize=SMALL,
            annotation_clip=False,
        )
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.set_ylim(-0.14, _HEIGHT + 0.1)
    ax.set_title(wrapped(data.title, 52, 2), pad=4)
    bar = figure.colorbar(drawn, ax=ax, shrink=0.7, pad=0.06)
    bar.set_label(label(data.measure, 60))
    note(figure, data.small_print, width=72)
    return figure
