"""A walk in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Sequence

from deltalens.connectivity.features import FeatureLinearity
from deltalens.studies.walk.rows import BarrierRow

ALPHA = 0.05
DISCLAIMER = (
    "No barrier is no evidence of shared misalignment: on the way to a benign twin answers stay "
    "coherent, too, and change without a step back."
)
OUTSIDE = (
    "Points outside 0 to 1 are shown beside the line through the ends. Barriers, trends, the "
    "second-order law and the worst of the features speak of the points from 0 to 1."
)


def verdict(
    falls: Sequence[BarrierRow],
    barriers: Sequence[BarrierRow],
    features: Sequence[FeatureLinearity],
    *,
    measured: bool,
    between: bool = True,
    rates: Sequence[float | None] = (),
) -> str:
    """What can be said, each number with its null; the first row of a kind is for new questions.

    Args:
        falls: steps against the trend, where one is expected.
        barriers: deviations from the line between the ends.
        features: every layer and point between the ends.
        measured: whether behaviour was.
        between: whether there is a point between the ends.
        rates: of misaligned answers, at every point from 0 to 1.
    """
    flat = _flat(rates) if between else None
    behaviour = flat or _of_behaviour(falls, barriers, measured, between)
    return " ".join(part for part in (behaviour, _of_features(features)) if part)


def _flat(rates: Sequence[float | None]) -> str | None:
    """What is said of one and the same rate everywhere: no line, no trend and no barrier."""
    if not rates or rates[0] is None or any(rate != rates[0] for rate in rates):
        return None
    if rates[0] == 0:
        return "No answer was misaligned at any point: there is nothing to say of a line."
    return (
        f"The rate of misaligned answers is the same, {rates[0]:.2g}, at every point: there is "
        "nothing to say of a line."
    )


def _of_behaviour(
    falls: Sequence[BarrierRow], barriers: Sequence[BarrierRow], measured: bool, between: bool
) -> str:
    if measured and not between:
        return "No point lies between the ends: there is no line to leave."
    if falls:
        row = falls[0]
        said = (
            "no step against the trend"
            if row.value <= 0
            else f"the largest step against the trend is {row.value:.2g} (at t = {row.at:g}"
            f"{_against('a flat curve', row.p, row.null_mean)})"
        )
        return f"Misaligned answers go from one end's rate to the other's: {said}."
    dips = [row for row in barriers if (row.measure, row.direction) == ("misaligned", "dip")]
    if not dips:
        lacking = "A point has no scored answer: there is no curve to test."
        return lacking if measured else "Behaviour was not measured."
    row = dips[0]
    if row.value <= 0:
        return "Misaligned answers never fall under the line between the ends: no barrier."
    seen = row.p_holm is not None and row.p_holm < ALPHA
    judged = "more than noise gives" if seen else "no more than noise gives"
    if row.p_holm is None:
        judged = "with no noise to test it against"
    return (
        f"Misaligned answers fall at most {row.value:.2g} under the line between the ends "
        f"(at t = {row.at:g}{_against('a line without a barrier', row.p_holm, row.null_mean)}), "
        f"{judged}."
    )


def _against(what: str, p: float | None, null: float | None) -> str:
    if p is None or null is None:
        return ""
    return f"; {what} gives {null:.2g} on average, p = {p:.2g}"


def _of_features(features: Sequence[FeatureLinearity]) -> str:
    l2 = largest([row.l2 for row in features])
    gap = largest([row.gap_error for row in features])
    r2 = smallest([row.r2 for row in features])
    if l2 is None:
        return ""
    beside = "" if gap is None else f", {gap:.2g} of the distance between the ends"
    spread = "" if r2 is None else _of_r2(r2)
    return f"Features leave the line by at most {l2:.2g} of their norm{beside}{spread}."


def _of_r2(r2: float) -> str:
    said = f"; R^2, the same error against the spread of the samples, is at least {_down(r2)}"
    if r2 < 0:
        return f"{said}: below 0 the line is a worse guess than the samples' mean"
    return f"{said}: it is near 1 wherever base features dominate"


def largest(values: Sequence[float | None]) -> float | None:
    """The largest known value; None without one."""
    return max((v for v in values if v is not None), default=None)


def smallest(values: Sequence[float | None]) -> float | None:
    """The smallest known value; None without one."""
    return min((v for v in values if v is not None), default=None)


def _down(r2: float) -> str:
    """Three digits, never rounded up to 1."""
    return f"{math.floor(r2 * 1000) / 1000:g}"
