"""Intervals, barriers and differences of a walk's rates, each with its target (SCIENCE section 5).

*These questions*: answers are sampled again; where probabilities were computed there is no such
noise. *New questions*: questions are drawn again, and all points share them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from deltalens.behaviour.aggregate import LEAST_ICC, RESOLUTION
from deltalens.behaviour.planning import needed_for_difference, needed_for_rate
from deltalens.connectivity.barrier import Direction, Excess, barrier, largest_fall, trend_p
from deltalens.connectivity.contrasts import paired_differences
from deltalens.connectivity.curves import Curve
from deltalens.core.shapes import Array, Float
from deltalens.stats.intervals import (
    MIN_REPLICATES,
    Interval,
    make_t_interval,
    wilson,
    wilson_new_questions,
)
from deltalens.stats.multiplicity import holm
from deltalens.studies.walk.positions import inside
from deltalens.studies.walk.rows import BarrierRow, DifferenceRow, RateRow
from deltalens.studies.walk.tally import MEASURES, Tally

THESE, NEW = "these questions", "new questions"
EXACT_MEAN = "mean of exact probabilities"
NOT_MEASURED = "given answers are compared and none is generated, so coherence is not measured"
_BARRIERS: Sequence[tuple[str, Direction]] = (
    ("misaligned", "dip"), ("misaligned", "peak"), ("coherent", "dip"),
)  # fmt: skip


def rate_rows(tally: Tally) -> list[RateRow]:
    """Both rates of every point, for both targets."""
    return [
        _rate_row(tally, i, measure, target)
        for i in range(len(tally.t))
        for measure in MEASURES
        for target in (THESE, NEW)
    ]


def _rate_row(tally: Tally, i: int, measure: str, target: str) -> RateRow:
    if tally.hits is None or tally.scored is None:
        interval = _of_probabilities(tally.rates[measure][:, i], target)
        needed = None
    else:
        hits, scored = tally.hits[measure][:, i].tolist(), tally.scored[:, i].tolist()
        if target == THESE:
            interval = wilson(sum(hits), sum(scored))
        else:
            interval = wilson_new_questions(hits, scored, least_icc=LEAST_ICC)
        needed = needed_for_rate(interval, RESOLUTION)
    return RateRow(
        t=tally.t[i],
        measure=measure,
        target=target,
        rate=interval.estimate,
        low=interval.low,
        high=interval.high,
        n=interval.n,
        unscored=int(tally.unscored[:, i].sum()),
        method=interval.method,
        reason=interval.reason,
        needed=None if needed is None else str(needed),
    )


def _of_probabilities(rates: Float[Array, " question"], target: str) -> Interval:
    if not np.isfinite(rates).all():  # all or none of a measure is computed
        return Interval(None, None, None, None, 0, 0.95, EXACT_MEAN, NOT_MEASURED)
    n, mean = len(rates), float(rates.mean())
    if target == THESE:
        reason = "probabilities are computed and not sampled: for these questions there is no noise"
        return Interval(mean, None, None, None, n, 0.95, EXACT_MEAN, reason)
    found = make_t_interval(
        estimate=mean,
        standard_error=float(rates.std(ddof=1) / math.sqrt(n)),
        df=n - 1.0,
        n=n,
        level=0.95,
        method="t over questions, for new questions, cut to 0 and 1",
        reason=None if n >= MIN_REPLICATES else f"n = {n} questions",
        n_missing=0,
    )
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))


def curve(tally: Tally, measure: str, target: str) -> Curve:
    """A rate along the path with its noise."""
    if target == NEW:
        return Curve.of_questions(tally.rates[measure])
    if tally.hits is None or tally.scored is None:
        values = tally.rates[measure].mean(axis=0).tolist()
        if not np.isfinite(values).all():
            return Curve(np.array(values), None, None, THESE, 0, reason=NOT_MEASURED)
        return replace(Curve.of_points(values, [0.0] * len(values)), target=THESE)
    hits, n = tally.hits[measure].sum(axis=0), tally.scored.sum(axis=0)
    if not (n > 0).all():
        values = np.where(n > 0, hits / np.maximum(n, 1), np.nan)
        return Curve(values, None, None, THESE, 0, reason="a point has no scored answer")
    p = (hits + 0.5) / (n + 1)
    made = Curve.of_points((hits / n).tolist(), np.sqrt(p * (1 - p) / n).tolist())
    return replace(made, target=THESE, n=int(n.min()))


def barrier_rows(tally: Tally, *, seed: int, draws: int) -> list[BarrierRow]:
    """Barriers on both rates, each against a simulated straight line; Holm within a target.

    Args:
        tally: points from 0 to 1; without one between them there is no barrier to look for.
        seed: of the simulated curves.
        draws: how many of them.
    """
    if not any(inside(t) for t in tally.t):
        return []
    rows: list[BarrierRow] = []
    for target in (NEW, THESE):
        found: list[tuple[str, Direction, Excess]] = []
        for measure, direction in _BARRIERS:
            held = curve(tally, measure, target)
            if np.isfinite(held.values).all():
                rng = np.random.default_rng([seed, 1])
                made = barrier(tally.t, held, rng=rng, direction=direction, draws=draws)
                found.append((measure, direction, made))
        corrected = _holm([e.p for _, _, e in found], f"the barriers of this walk, {target}")
        for (measure, direction, e), p in zip(found, corrected, strict=True):
            rows.append(_barrier_row(measure, direction, target, e, p))
    return rows


def ends_differ(tally: Tally) -> bool:
    """Whether the misaligned rates of the ends are so far apart that no flat line is expected."""
    rates = tally.rates["misaligned"]
    apart = rates[:, -1] - rates[:, 0]
    known = apart[np.isfinite(apart)]
    return len(known) > 0 and bool(abs(known.mean()) > RESOLUTION)


def trend_rows(tally: Tally, *, seed: int, draws: int) -> tuple[list[BarrierRow], float | None]:
    """For ends that differ, as the base does: the largest step against the trend, and Page's p."""
    table = tally.rates["misaligned"]
    means = np.nanmean(table, axis=0) if np.isfinite(table).any(axis=0).all() else None
    if means is None:
        return [], None
    trend = "rising" if means[-1] >= means[0] else "falling"
    rows: list[BarrierRow] = []
    for target in (NEW, THESE):
        held = curve(tally, "misaligned", target)
        if np.isfinite(held.values).all():
            rng = np.random.default_rng([seed, 2])
            made = largest_fall(tally.t, held, rng=rng, trend=trend, draws=draws)
            rows.append(_barrier_row("misaligned", "fall", target, made, None))
    return rows, trend_p(table, tally.t, trend=trend)


def _barrier_row(
    measure: str, direction: str, target: str, e: Excess, p_holm: float | None
) -> BarrierRow:
    return BarrierRow(
        measure=measure,
        direction=direction,
        target=target,
        value=e.value,
        at=e.at,
        p=e.p,
        p_holm=p_holm,
        null_mean=e.null_mean,
        null_sd=e.null_sd,
        draws=e.draws,
        reason=e.reason,
    )


def _holm(p_values: Sequence[float | None], family: str) -> Sequence[float | None]:
    if all(p is None for p in p_values):
        return p_values
    return holm(p_values, family=family).p


def difference_rows(tally: Tally) -> list[DifferenceRow]:
    """Every point against the one at t = 0, question by question; the last compares the ends."""
    rows: list[DifferenceRow] = []
    for measure in MEASURES:
        for d in paired_differences(tally.t, tally.rates[measure]):
            needed = needed_for_difference(d.interval, RESOLUTION)
            rows.append(
                DifferenceRow(
                    t=d.t,
                    reference=d.reference,
                    measure=measure,
                    difference=d.interval.estimate,
                    low=d.interval.low,
                    high=d.interval.high,
                    p=d.p,
                    n=d.interval.n,
                    reason=d.interval.reason,
                    needed=None if needed is None else str(needed),
                )
            )
    return rows
