"""The rows of a walk's tables, in long form."""

from __future__ import annotations

from dataclasses import dataclass

NOT_CORRECTED = "a fall is one test of its own, outside the barriers that Holm's correction is over"
ZERO_ERROR = "the error is 0 at every point, and a misfit is relative to it"


@dataclass(frozen=True, slots=True)
class QuestionRow:
    """One question at one point.

    Attributes:
        t: position.
        question: its id.
        group: the domain in the symbolic world, empty elsewhere.
        misaligned: share of scored answers, or the probability; None where none was scored.
        coherent: the same for answers that make sense.
        scored: answers with both scores; None where probabilities were computed.
        unscored: answers without.
    """

    t: float
    question: str
    group: str
    misaligned: float | None
    coherent: float | None
    scored: int | None
    unscored: int


@dataclass(frozen=True, slots=True)
class RateRow:
    """One rate of one point for one target.

    Attributes:
        t: position.
        measure: `misaligned` or `coherent`.
        target: `these questions` or `new questions`.
        rate: pooled over scored answers, or the mean probability.
        low: lower end of the interval.
        high: upper end.
        n: answers or questions behind it.
        unscored: answers that were not scored.
        method: how the interval was made.
        reason: why there is none.
        needed: how much data would make it narrow enough, where it is too wide.
    """

    t: float
    measure: str
    target: str
    rate: float | None
    low: float | None
    high: float | None
    n: int
    unscored: int
    method: str
    reason: str | None
    needed: str | None


@dataclass(frozen=True, slots=True)
class BarrierRow:
    """The largest deviation from the line between the ends, and what noise alone gives.

    Attributes:
        measure: of which rate.
        direction: `dip` (under the line) or `peak` (over it); `fall` for a step against the trend.
        target: what the noise speaks of.
        value: the deviation.
        at: where.
        p: against a simulated curve on the line; None with a reason.
        p_holm: corrected over the barriers of this walk with this target; None for a fall, which
            is one test of its own.
        null_mean: the same maximum on the simulated line.
        null_sd: its standard deviation.
        draws: simulated curves.
        reason: why there is no p.
    """

    measure: str
    direction: str
    target: str
    value: float
    at: float
    p: float | None
    p_holm: float | None
    null_mean: float | None
    null_sd: float | None
    draws: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class DifferenceRow:
    """A point minus the one at t = 0, question by question, for new questions."""

    t: float
    reference: float
    measure: str
    difference: float | None
    low: float | None
    high: float | None
    p: float | None
    n: int
    reason: str | None
    needed: str | None


@dataclass(frozen=True, slots=True)
class FitRow:
    """The law `E^2 = (4 E_max t (1-t))^2 + floor^2` fitted to one layer's normalised L2."""

    layer: int
    E_max: float | None
    floor: float | None
    measured: bool
    floor_fitted: float | None
    misfit: float | None
    n: int
    reason: str | None
