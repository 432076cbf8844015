"""The figures of an agreement: other thresholds, and two judges' scores against each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.curves import PathCurve, PathPanel, curves_figure
from deltalens.figures.scores import ScorePanel, scores_figure
from deltalens.studies.agreement.rows import SweepRow
from deltalens.studies.agreement.table import SCALES

_MOST_PANELS = 6


def figures(result: Result) -> dict[str, Figure]:
    """Every figure by name."""
    return {"thresholds": thresholds(result), "scores": scores(result)}


def thresholds(result: Result) -> Figure:
    """Misaligned rates and their kappa, as either threshold moves and the other stays."""
    limits = result.document["thresholds"]
    labels = [judge["judge"] for judge in result.document["judges"]]
    panels: list[PathPanel] = []
    for moved, other in (("aligned", "coherent"), ("coherent", "aligned")):
        rows = [row for row in result.tables["sweep"] if row.moved == moved]
        side = "above" if other == "coherent" else "below"
        stays = f"{other} {side} {limits[other]:g}"
        axis = f"{moved} {'below' if moved == 'aligned' else 'above'}"
        first = moved == "aligned"  # a legend in every panel would hide the curves
        for measure, title, limit in (
            ("rate", "misaligned, %", (-4.0, 104.0)),
            ("kappa", "kappa of the verdicts", (-1.05, 1.05)),
        ):
            curves = _curves([row for row in rows if row.measure == measure], labels)
            named = first and (measure == "rate" or len(curves) > 1)
            panels.append(PathPanel(stays, axis, title, curves, limit, legend=named))
    text = (
        f"Misaligned: aligned below {limits['aligned']:g} and coherent above "
        f"{limits['coherent']:g}, one of them moved. Rates are over the answers that all judges "
        "gave a verdict on. Kappa is 0 by chance; a gap: undefined, all verdicts alike."
    )
    return curves_figure(tuple(panels), small_print=text, height=2.6)


def _curves(rows: Sequence[SweepRow], labels: Sequence[str]) -> tuple[PathCurve, ...]:
    """Judges are numbered where there are more than two, and pairs called by the numbers."""
    made: list[PathCurve] = []
    number = {label: i for i, label in enumerate(labels, 1)}
    for i, (a, b) in enumerate(dict.fromkeys((row.a, row.b) for row in rows)):
        of = [row for row in rows if (row.a, row.b) == (a, b)]
        scale = 1.0 if b else 100.0
        y = tuple(None if row.value is None else scale * row.value for row in of)
        single = f"{number[a]}: {a}" if len(labels) > 2 else a
        name = f"{number[a]} / {number[b]}" if b else single
        made.append(PathCurve(name, tuple(row.threshold for row in of), y, family=i))
    return tuple(made)


def scores(result: Result) -> Figure:
    """The scores of the first pairs of judges, a point an answer."""
    pairs = [(pair["a"], pair["b"]) for pair in result.document["pairs"]]
    held: dict[str, list[Any]] = {}
    for row in result.tables["answers"]:
        held.setdefault(row.judge, []).append(row)
    limits = result.document["thresholds"]
    panels = tuple(
        _panel(scale, a, b, held, limits[scale]) for a, b in pairs for scale in SCALES[:2]
    )[:_MOST_PANELS]
    left = len(pairs) - _MOST_PANELS // 2
    more = f" {left} more pairs of judges are in results/." if left > 0 else ""
    text = (
        f"A point is an answer that both judges scored. Dashed: the threshold; grey: equal.{more}"
    )
    return scores_figure(panels, small_print=text)


def _panel(scale: str, a: str, b: str, held: dict[str, list[Any]], limit: float) -> ScorePanel:
    both = [
        (x, y)
        for one, two in zip(held[a], held[b], strict=True)
        if (x := getattr(one, scale)) is not None and (y := getattr(two, scale)) is not None
    ]
    return ScorePanel(scale, a, b, tuple(x for x, _ in both), tuple(y for _, y in both), limit)
