"""Which adapters join first: a tree of merges with leaves coloured by group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

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
class Dendrogram:
    """A tree of n leaves.

    Attributes:
        title: what is shown.
        axis: the distance at which two clusters join.
        names: one a leaf.
        merges: n - 1 rows `(one, other, height)`; leaves are 0 .. n-1, the i-th merge is n + i.
        groups: one label a leaf, which gives its colour; empty text for none.
        note: small print.
    """

    title: str
    axis: str
    names: tuple[str, ...]
    merges: tuple[tuple[int, int, float], ...]
    groups: tuple[str, ...] = ()
    note: str = ""


@house_style()
def dendrogram_figure(
    data: Dendrogram, *, width: float = WIDTH, height: float | None = None
) -> Figure:
    """Draw the tree from left (one cluster) to right (leaves with their names).

    Args:
        data: what to draw.
        width: inches.
        height: inches; by default enough for the names.
    """
    n = len(data.names)
    figure = blank(width, height or 1.3 + 0.21 * max(n, 4))
    ax = figure.add_subplot()
    order = leaf_order(n, data.merges)
    _branches(ax, data.merges, order)
    names = [label(data.names[i], 34) for i in order]
    ax.set_yticks(range(n), names, fontsize=SMALL)
    ax.yaxis.tick_right()
    if data.groups:
        colours = {g: i for i, g in enumerate(dict.fromkeys(g for g in data.groups if g))}
        for text, leaf in zip(ax.get_yticklabels(), order, strict=True):
            place = colours.get(data.groups[leaf])
            text.set_color(MUTED if place is None else PALETTE[place % len(PALETTE)])
    ax.set_ylim(n - 0.4, -0.6)
    top = max([height for *_, height in data.merges], default=1.0) or 1.0
    ax.set_xlim(1.05 * top, min(0.0, *(height for *_, height in data.merges), 0.0))
    ax.set_xlabel(label(data.axis, 60))
    ax.set_ylabel("adapter")
    ax.spines["left"].set_visible(False)
    ax.set_title(wrapped(data.title, int(width * 72 / 7.5), 2), pad=8)
    grid(ax, "x")
    note(figure, data.note)
    return figure


def leaf_order(n: int, merges: Sequence[tuple[int, int, float]]) -> list[int]:
    """Leaves from top to bottom, so that no branches cross."""
    held: dict[int, list[int]] = {i: [i] for i in range(n)}
    for i, (one, other, _) in enumerate(merges):
        held[n + i] = held.pop(one) + held.pop(other)
    return [leaf for cluster in held.values() for leaf in cluster]


def _branches(ax: Axes, merges: Sequence[tuple[int, int, float]], order: Sequence[int]) -> None:
    n = len(order)
    at: dict[int, tuple[float, float]] = {leaf: (0.0, float(y)) for y, leaf in enumerate(order)}
    for i, (one, other, height) in enumerate(merges):
        (x1, y1), (x2, y2) = at[one], at[other]
        ax.plot([x1, height, height, x2], [y1, y1, y2, y2], color=INK, lw=1.1, zorder=2)
        at[n + i] = (height, (y1 + y2) / 2)
