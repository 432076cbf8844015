"""Where values stand among their bank's: a row a pair, a panel a measure."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltalens.figures.groups import jitter
from deltalens.figures.numbers import finite, number
from deltalens.figures.style import (
    BAND,
    INK,
    MUTED,
    PALETTE,
    SMALL,
    WIDTH,
    blank,
    grid,
    house_style,
    note,
    wrapped,
)


@dataclass(frozen=True)
class RankRow:
    """One pair.

    Attributes:
        label: the pair.
        value: its value; None where undefined.
        bank: the same measure between either adapter and each member; empty without a bank.
    """

    label: str
    value: float | None
    bank: tuple[float, ...] = ()


@dataclass(frozen=True)
class RankPanel:
    """One measure; every panel has the same rows in the same order."""

    title: str
    rows: tuple[RankRow, ...]


@dataclass(frozen=True)
class Ranks:
    """Panels side by side, each with its own scale, and a line of small print."""

    panels: tuple[RankPanel, ...]
    note: str = ""


@house_style()
def ranks_figure(data: Ranks, *, width: float = WIDTH, height: float | None = None) -> Figure:
    """Draw the bank's values as grey points on a band, the pair's own as a diamond.

    Args:
        data: what to draw.
        width: inches.
        height: inches; by default enough for the rows.
    """
    rows = data.panels[0].rows if data.panels else ()
    figure = blank(width, height or 1.3 + 0.42 * max(len(rows), 2))
    for i, panel in enumerate(data.panels):
        ax = figure.add_subplot(1, len(data.panels), 1 + i)
        for y, row in enumerate(panel.rows):
            _row(ax, y, row)
        ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
        ax.set_yticks(range(len(rows)), [wrapped(row.label, 24, 2) for row in rows], fontsize=SMALL)
        ax.tick_params(labelleft=i == 0)
        ax.set_ylabel("pair" if i == 0 else "")
        ax.set_xlabel(wrapped(panel.title, 24, 2))
        ax.margins(x=0.16)
        ax.spines["left"].set_visible(False)
        grid(ax, "x")
    note(figure, data.note)
    return figure


def _row(ax: Axes, y: int, row: RankRow) -> None:
    bank, value = sorted(finite(row.bank)), finite((row.value,))
    if bank:
        ax.hlines(y, bank[0], bank[-1], color=BAND, lw=9, alpha=0.6, zorder=1)
        heights = [y + dy for dy in jitter(len(bank), 0.26)]
        ax.scatter(bank, heights, s=7, color=MUTED, linewidths=0, zorder=2)
    for x in value:
        ax.scatter([x], [y], marker="D", s=34, color=PALETTE[0], edgecolors="white", zorder=3)
        ax.annotate(
            number(x),
            (x, y),
            (0, 6),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=SMALL - 1,
            color=INK,
            zorder=4,
        )
    if not value:
        x = sum(ax.get_xlim()) / 2
        ax.text(x, y, "undefined", fontsize=SMALL, fontstyle="italic", color=MUTED, ha="center")
