"""The figures of a walk: rates along t with the straight line, features by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.style import (
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
from deltalens.studies.walk.statistics import NEW

_CURVES = {"misaligned": 0, "coherent": 1}
_FEATURES = {
    "l2": "error over the norm of the features",
    "r2": "R^2 of the line between the ends",
    "gap_error": "error over the distance between the ends",
}
_MOST_LAYERS = len(PALETTE)  # no two curves of one colour
_SEEN = 0.5  # percentage points: a curve nearer to the line covers it
_DOTTED = "Dotted: the ends. "


def figures(result: Result) -> dict[str, Figure]:
    """Every figure of a walk by name."""
    found: dict[str, Figure] = {}
    if "rates" in result.tables:
        found["behaviour"] = behaviour(result)
    if "features" in result.tables:
        for measure, title in _FEATURES.items():
            found[f"features-{measure.replace('_', '-')}"] = features(result, measure, title)
    return found


@house_style()
def behaviour(result: Result, *, width: float = WIDTH, height: float = 3.4) -> Figure:
    """Rates with their intervals for new questions, beside the line between the ends."""
    figure = blank(width, height)
    ax = figure.add_subplot()
    rows = [row for row in result.tables["rates"] if row.target == NEW]
    apart = [
        _rate(ax, [row for row in rows if row.measure == measure], family)
        for measure, family in _CURVES.items()
    ]
    ax.set_ylim(-4, 104)
    ax.set_ylabel("rate, %")
    _positions(ax, result.document)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))  # beside the data, never on it
    how = "Computed, not sampled." if result.document["computed"] else "Sampled."
    if result.document["not_measured"]:
        how = "Mean preference for the misaligned one of given answers, computed."
    lost = sum(row.unscored for row in rows if row.measure == "misaligned")
    unscored = "" if result.document["not_measured"] else f"{lost} answers unscored."
    line = "Dashed: the" if max(apart) > _SEEN else "The curves cover the"
    note(
        figure,
        f"{how} Intervals are for new questions (95 %). {line} straight line between the "
        f"ends. {_DOTTED if result.document['outside'] else ''}{unscored}",
    )
    return figure


def _rate(ax: Axes, rows: Sequence[Any], family: int) -> float:
    """Draw a rate; how far it leaves the line between the ends, in percentage points."""
    colour = PALETTE[family]
    known = [row for row in rows if row.rate is not None]
    if not known:
        return 0.0
    t, rate = [row.t for row in known], [100 * row.rate for row in known]
    ax.plot(t, rate, color=colour, lw=1.8, marker="o", ms=4.5, zorder=3, label=known[0].measure)
    ends = [row for row in known if row.low is not None]
    low, high = [100 * row.low for row in ends], [100 * row.high for row in ends]
    ax.vlines([row.t for row in ends], low, high, color=colour, lw=1.2, zorder=2.5)
    at = dict(zip(t, rate, strict=True))
    if 0.0 not in at or 1.0 not in at:
        return 0.0
    ax.plot([0, 1], [at[0.0], at[1.0]], color=MUTED, lw=1.2, ls=(0, (4, 3)), zorder=2)
    inner = [(x, y) for x, y in at.items() if 0.0 <= x <= 1.0]
    return max(abs(y - (1 - x) * at[0.0] - x * at[1.0]) for x, y in inner)


@house_style()
def features(
    result: Result, measure: str, title: str, *, width: float = WIDTH, height: float = 3.2
) -> Figure:
    """One measure along t, a curve a layer; the fitted second-order law where it is l2."""
    figure = blank(width, height)
    ax = figure.add_subplot()
    rows = result.tables["features"]
    layers = sorted({row.layer for row in rows})
    chosen = _chosen(layers)
    for i, layer in enumerate(chosen):
        of = [row for row in rows if row.layer == layer and getattr(row, measure) is not None]
        if of:
            values = [getattr(row, measure) for row in of]
            ax.plot([row.t for row in of], values, color=PALETTE[i % len(PALETTE)], marker="o",
                    ms=3.5, lw=1.4, label=f"layer {layer}", zorder=3)  # fmt: skip
    if measure == "l2":
        fits = [row for row in result.tables["fits"] if row.layer in chosen]
        _laws(ax, fits, _range(result.document))
    ax.set_ylabel(wrapped(title, int(height * 11), 2))
    _positions(ax, result.document)
    if ax.get_legend_handles_labels()[0]:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=SMALL)
    left = len(layers) - len(chosen)
    dashed = "Dashed: the second-order law with its floor, fitted between the ends. "
    dashed = dashed if measure == "l2" else ""
    dashed += _DOTTED if result.document["outside"] else ""
    note(figure, dashed + (f"{left} layers between these are in results/." if left else ""))
    return figure


def _chosen(layers: Sequence[int]) -> list[int]:
    if len(layers) <= _MOST_LAYERS:
        return list(layers)
    places = np.linspace(0, len(layers) - 1, _MOST_LAYERS).round().astype(int)
    return [layers[i] for i in places]


def _laws(ax: Axes, fits: Sequence[Any], shown: tuple[float, float]) -> None:
    t = np.linspace(*shown, 201)
    for fit in fits:
        if fit.E_max is not None:
            law = np.hypot(4 * fit.E_max * t * (1 - t), fit.floor)
            ax.plot(t, law, color=MUTED, lw=0.9, ls=(0, (4, 3)), zorder=2)


def _range(document: Mapping[str, Any]) -> tuple[float, float]:
    return document["points"][0]["t"], document["points"][-1]["t"]


def _positions(ax: Axes, document: Mapping[str, Any]) -> None:
    first, last = _range(document)
    edge = 0.03 * (last - first)
    ax.set_xlim(first - edge, last + edge)
    for end in (0.0, 1.0):
        if first < end < last:
            ax.axvline(end, color=MUTED, lw=0.8, ls=(0, (1, 2)), zorder=1)
    ax.set_xlabel(
        f"t ({document['path']}): 0 is {label(document['a'], 30)}, 1 is {label(document['b'], 30)}"
    )
    grid(ax, "y")
