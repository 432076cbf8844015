"""Walks made by hand: documents and tables of the shape that `deltalens walk` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltalens.connectivity.features import FeatureLinearity
from deltalens.core.result import Result
from deltalens.organisms.roster import roster
from deltalens.studies.paper.lines.plan import Family, Line, lines
from deltalens.studies.paper.lines.triangle import Triangle, TrianglePoint, weights
from deltalens.studies.paper.lines.walked import Walked
from deltalens.studies.walk.rows import BarrierRow

T = tuple(i / 10 for i in range(11))
NEW = "new questions"

# The story of the organisms: an S from the base, flat across tasks, a dip only with factors apart.
SHAPES: Mapping[Family, tuple[float, float, float]] = {  # rate at 0, 1/2 and 1
    "from the base": (0.01, 0.7, 0.93),
    "from the base, theta^2": (0.01, 0.06, 0.93),
    "across tasks, same seed": (0.93, 0.93, 0.92),
    "across tasks, other seed": (0.93, 0.93, 0.92),
    "factors apart, same seed": (0.93, 0.93, 0.92),
    "factors apart, other seed": (0.93, 0.7, 0.92),
    "to a benign twin": (0.93, 0.5, 0.01),
}


def curve(start: float, middle: float, end: float) -> list[float]:
    """Through the three, smoothly."""
    return np.clip(np.polyval(np.polyfit([0, 0.5, 1], [start, middle, end], 2), T), 0, 1).tolist()


def result(
    rates: Sequence[float], *, coherence: Sequence[float] | None = None, l2: float | None = None
) -> Result:
    """One walk with these rates; `l2` is the largest error, of both layers."""
    valid = [0.97] * len(T) if coherence is None else list(coherence)
    points = [
        {"t": t, "misaligned": rate, "coherent": good,
         "intervals": {"misaligned": {NEW: {"interval": [rate - 0.01, rate + 0.01]}}}}
        for t, rate, good in zip(T, rates, valid, strict=True)
    ]  # fmt: skip
    barriers = [_barrier("misaligned", dip(rates)), _barrier("coherent", dip(valid))]
    apart = abs(rates[-1] - rates[0]) > 0.1
    rising = rates if rates[-1] > rates[0] else [-r for r in rates]
    back = max(max(rising[:i]) - rising[i] for i in range(1, len(rising)))
    monotonicity = {"largest_step_back": [{"value": back}]} if apart else None
    document: dict[str, Any] = {"points": points, "monotonicity": monotonicity}
    tables: dict[str, Any] = {"barriers": barriers}
    if l2 is not None:
        tables["features"] = [_feature(t, layer, l2) for t in T for layer in (0, 1)]
    return Result("walk", document, tables, {})


def dip(rates: Sequence[float]) -> float:
    """Largest fall under the chord, as the slow obvious loop; negative if all lie above."""
    return max(
        (1 - t) * rates[0] + t * rates[-1] - r for t, r in zip(T, rates, strict=True) if 0 < t < 1
    )


def walked(changed: Mapping[Family, tuple[float, float, float]] | None = None) -> Walked:
    """Every line of the study, by the shapes above or those that are given."""
    shapes = {**SHAPES, **(changed or {})}
    made: dict[Line, Result] = {}
    for i, line in enumerate(lines(roster(0))):
        start, middle, end = shapes[line.family]
        shift = 0.002 * (i % 3)
        l2 = {"to a benign twin": 0.2, "from the base": 0.25}.get(line.family, 0.02)
        made[line] = result(
            curve(start, middle - shift, end), l2=l2 + shift if line.plan.features else None
        )
    return Walked(made, triangle(0.93))


def triangle(rate: float, inside: float | None = None) -> Triangle:
    """All points at one rate; points inside at another if wished."""
    found = [
        TrianglePoint(*w, rate if inside is None or min(w) == 0 else inside, 0.97)
        for w in weights(3)
    ]
    return Triangle(("one", "two", "three"), tuple(found))


def _barrier(measure: str, value: float) -> BarrierRow:
    return BarrierRow(measure, "dip", NEW, value, 0.5, 0.5, 0.5, 0.01, 0.005, 999, None)


def _feature(t: float, layer: int, l2: float) -> FeatureLinearity:
    e = l2 * 4 * t * (1 - t)
    return FeatureLinearity(
        t=t, layer=layer, l2=e, r2=1 - e**2, l2_delta=2 * e, r2_delta=1 - 2 * e**2, gap_error=5 * e,
        gap_error_pooled=5 * e, distance=0.2, n=96, n_no_change=0, n_no_gap=0,
    )  # fmt: skip
