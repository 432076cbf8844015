"""The claims of Figure 3, and those that it lacks, judged on the walks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deltalens.studies.paper.claim import Claim, Ends
from deltalens.studies.paper.estimates import Estimate
from deltalens.studies.paper.lines import numbers, published
from deltalens.studies.paper.lines.numbers import Number
from deltalens.studies.paper.lines.plan import Family
from deltalens.studies.paper.lines.triangle import Triangle
from deltalens.studies.paper.verdicts import Verdict, both, bounded_runs, exceeds

_LATE = 0.5  # a straight line of behaviour has half of its change at the middle
_BARRIER = 0.05  # a dip of under five points in a hundred would not be called a barrier
_STEP = 0.01
_NEAR_LINE = 0.05  # normalised L2: "nearly linear"
_UNEXPLAINED = 0.01  # 1 - R^2

LineEstimates = Callable[[Family, Number], Estimate]


@dataclass(frozen=True)
class LineEvidence:
    """What the claims of Figure 3 are judged on.

    Attributes:
        of: (family, number) -> estimate over its lines.
        triangle: the triangle of three bad organisms of one seed.
        seed: of the simulated noise on the published curves.
    """

    of: LineEstimates
    triangle: Triangle
    seed: int


def line_claims(e: LineEvidence) -> tuple[Claim, ...]:
    """All of them, panel by panel."""
    return (
        _late(e),
        _no_step_back(e),
        _no_barrier(e),
        _factors_apart(e),
        _near_line(e),
        _explained(e),
        _benign_twin(e),
    )


def _late(e: LineEvidence) -> Claim:
    exact = e.of("from the base", numbers.share_at_the_middle)
    scaled = e.of("from the base, theta^2", numbers.share_at_the_middle)
    return _claim(
        "fig3-base",
        "Fig. 3 top left",
        "From the base, behaviour turns late",
        exact,
        claimed=published.share_at_the_middle(),
        null=_LATE,
        verdict=_under(exact, _LATE),
        note="Share of the change of the bad-answer rate at half of the update; the null is half. "
        "Claimed: share of the change of the alignment score at theta = .7 (.49 of the update), "
        "another measure of other models. The paper scales both factors by theta: at theta = .5 "
        "only a quarter of the update is there, and the share is "
        f"{published.share_at_half_theta():.3f} as published, {_number(scaled.mean)} on the "
        "organisms' theta^2 path. That path adds to the lateness; it is not all of the published "
        "one.",
    )


def _no_step_back(e: LineEvidence) -> Claim:
    found = e.of("from the base", numbers.step_back)
    return _claim(
        "fig3-base-monotone",
        "Fig. 3 top left",
        "From the base, no step back",
        found,
        null=0.0,
        verdict=bounded_runs(found.values, found.interval, _STEP),
        note=f"Largest fall of the rate on the way; holds if it stays under {_STEP}.",
    )


def _no_barrier(e: LineEvidence) -> Claim:
    same = e.of("across tasks, same seed", numbers.dip)
    other = e.of("across tasks, other seed", numbers.dip)
    seen = published.dips(seed=e.seed)
    said = "; ".join(f"{name} {x.value:.3f} (p {_number(x.p)})" for name, x in seen.items())
    return _claim(
        "fig3-cross",
        "Fig. 3 top right",
        "Between bad-answer organisms there is no barrier",
        same,
        claimed=None,
        null=0.0,
        verdict=_stay_under(same, other, _BARRIER),
        note=f"Largest dip under the line between the ends; holds if it stays under {_BARRIER}. "
        f"Other seeds: {_number(other.mean)}. In the triangle of three the largest dip under the "
        f"plane {e.triangle.largest_dip():.3f}. The published curves, {published.ANSWERS} answers "
        f"a point, dip by {said}, against noise alone.",
    )


def _factors_apart(e: LineEvidence) -> Claim:
    apart = e.of("factors apart, other seed", numbers.dip)
    same = e.of("factors apart, same seed", numbers.dip)
    exact = e.of("across tasks, other seed", numbers.dip)
    low, high = apart.interval or _without_spread(apart)
    return _claim(
        "factors-apart",
        "ours",
        "Mixing the factors apart shows a barrier across seeds that is not there",
        apart,
        null=exact.mean,
        verdict=exceeds(low, _BARRIER, high),
        note=f"Largest dip when A and B are mixed separately, mean over nine lines; holds if it is "
        f"above {_BARRIER}. The null is the exact line across seeds. Same seed, factors apart: "
        f"{_number(same.mean)}. How large it is depends on the base.",
    )


def _near_line(e: LineEvidence) -> Claim:
    same = e.of("across tasks, same seed", numbers.largest_l2)
    other = e.of("across tasks, other seed", numbers.largest_l2)
    twin = e.of("to a benign twin", numbers.largest_l2)
    gap = e.of("across tasks, same seed", numbers.largest_gap_error)
    twin_gap = e.of("to a benign twin", numbers.largest_gap_error)
    apart = e.of("across tasks, same seed", numbers.distance)
    return _claim(
        "fig3-l2",
        "Fig. 3 bottom left",
        "Features stay near the line",
        same,
        claimed=published.largest_l2(),
        null=twin.mean,
        verdict=_stay_under(same, other, _NEAR_LINE),
        note="Largest normalised L2 on the path, mean over layers; holds if it stays under "
        f"{_NEAR_LINE}; the null is the way to a benign twin. Other seeds: {_number(other.mean)}. "
        f"The ends are {_number(apart.mean)} of the norm apart: over that distance the error is "
        f"{_number(gap.mean)}, to a benign twin {_number(twin_gap.mean)}.",
    )


def _explained(e: LineEvidence) -> Claim:
    same = e.of("across tasks, same seed", numbers.smallest_r2)
    other = e.of("across tasks, other seed", numbers.smallest_r2)
    twin = e.of("to a benign twin", numbers.smallest_r2)
    moved = e.of("across tasks, same seed", numbers.smallest_r2_delta)
    return _claim(
        "fig3-r2",
        "Fig. 3 bottom right",
        "R^2 of the line is near 1",
        same,
        claimed=published.smallest_r2(),
        null=twin.mean,
        verdict=both(_close_to_one(same), _close_to_one(other)),
        note="Smallest R^2 on the path, mean over layers; holds if 1 - R^2 stays under "
        f"{_UNEXPLAINED}. Other seeds: {_number(other.mean, 4)}. On the change from the base, "
        f"which the base's own features cannot flatter: {_number(moved.mean, 4)}. It is the L2 "
        "error again, no second evidence.",
    )


def _benign_twin(e: LineEvidence) -> Claim:
    coherent = e.of("to a benign twin", numbers.coherence_dip)
    back = e.of("to a benign twin", numbers.step_back)
    chord = e.of("to a benign twin", numbers.dip)
    same = e.of("across tasks, same seed", numbers.coherence_dip)
    inside = bounded_runs(coherent.values, coherent.interval, _BARRIER)
    return _claim(
        "line-benign",
        "ours",
        "A barrier of coherence tells a benign twin from shared misalignment",
        coherent,
        null=same.mean,
        verdict=_opposite(inside),
        note="Largest dip of coherence on the way to a benign twin (style); the null is the same "
        f"between bad-answer organisms. Does not hold if it stays under {_BARRIER}: answers then "
        "stay coherent on either way. The rate of bad answers has to fall on the way to a twin; "
        f"it does so without a step back ({_number(back.mean)}), as an S that lies up to "
        f"{_number(chord.mean)} under the line between its ends. Between ends that differ that is "
        "its shape, and between ends that do not there is nothing to fall: the absence of a "
        "barrier says nothing of what is shared.",
    )


def _opposite(verdict: Verdict) -> Verdict:
    if verdict == "holds":
        return "does not hold"
    return "holds" if verdict == "does not hold" else verdict


def _stay_under(same: Estimate, other: Estimate, bound: float) -> Verdict:
    return both(
        bounded_runs(same.values, same.interval, bound),
        bounded_runs(other.values, other.interval, bound),
    )


def _close_to_one(found: Estimate) -> Verdict:
    left = [None if v is None else 1.0 - v for v in found.values]
    low_high = found.interval and (1.0 - found.interval[1], 1.0 - found.interval[0])
    return bounded_runs(left, low_high, _UNEXPLAINED)


def _without_spread(found: Estimate) -> tuple[float | None, float | None]:
    """Runs that all give one number have no interval, and need none."""
    return (found.mean, found.mean) if len(set(found.values)) == 1 else (None, None)


def _under(found: Estimate, bound: float) -> Verdict:
    if found.interval is None:
        return "undecided"
    low, high = found.interval
    return exceeds(-high, -bound, -low)


def _claim(
    name: str,
    figure: str,
    text: str,
    found: Estimate,
    *,
    null: float | None,
    verdict: Verdict,
    note: str,
    claimed: float | None = None,
) -> Claim:
    interval: Ends | None = found.interval
    reason = f" No interval: {found.reason}." if interval is None and found.reason else ""
    return Claim(
        id=name,
        figure=figure,
        text=text,
        claimed=claimed,
        obtained=found.mean,
        interval=interval,
        null=null,
        verdict=verdict,
        note=f"{note}{reason}",
        lead=False,
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "undefined" if value is None else f"{value:.{digits}g}"
