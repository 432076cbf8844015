"""What the paper says, what came out here, and the verdict by the fixed rules.

Published numbers are those of Llama-3.1-8B, mean over layers and over the three EM pairs
(arXiv 2511.02022, Figures 1 and 2, from the stored outputs of its notebooks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from deltalens.geometry.nulls import Undefined
from deltalens.geometry.nulls.ceiling import Placed, disattenuated
from deltalens.stats.intervals import Interval
from deltalens.studies.paper.bank import Control, RankedPair
from deltalens.studies.paper.claim import Claim, Ends, ends
from deltalens.studies.paper.estimates import Estimate
from deltalens.studies.paper.relations import Relation
from deltalens.studies.paper.verdicts import Measured, Verdict, bounded, contrast, exceeds

_ORTHOGONAL = 0.01  # "nearly orthogonal": a cosine of under one hundredth
_SPREAD = 0.1  # a rise of bad answers elsewhere that would be called broad

Estimates = Callable[[str, Relation], Estimate]


@dataclass(frozen=True)
class Evidence:
    """Everything that the claims are judged on.

    Attributes:
        estimates: (measure, relation) -> estimate.
        chance: measure -> the Haar mean at these shapes, None where no closed form exists.
        base_cosine: cosine of the bad organisms with the base, over tasks.
        broad: rate of bad answers in untrained domains, over tasks of the bad organisms.
        benign_broad: the same over the benign twins.
        base_rate: the base's own rate of bad answers.
        no_persona: rise of that rate in organisms of the base without persona, over runs; None for
            a base that has no such control.
        ranked: measure -> same-seed pairs ranked against the benign bank.
        harmless: the bank's own rates of bad answers.
        beside: harmless organisms beside others of their kind in the bank.
    """

    estimates: Estimates
    chance: Mapping[str, float | None]
    base_cosine: Interval
    broad: Interval
    benign_broad: Interval
    base_rate: float
    no_persona: Interval | None
    ranked: Mapping[str, Sequence[RankedPair]]
    harmless: Sequence[float]
    beside: Sequence[Control]


def claims(e: Evidence) -> tuple[Claim, ...]:
    """All claims, the paper's first, each with the null that it needs."""
    return (
        _broad(e),
        *([] if e.no_persona is None else [_no_persona(e.no_persona)]),
        _fig1_left(e),
        _against_chance(e, "fig1-right", "Fig. 1 right", "pc_cosine", 0.276, _PC),
        _against_chance(e, "fig2-left", "Fig. 2 left", "angle_deg", 22.8, _ANGLE),
        _against_chance(e, "fig2-right", "Fig. 2 right", "overlap", 0.709, _OVERLAP),
        _base(e),
        _against_benign(e, "input-benign", "overlap", _INPUT_BENIGN),
        _against_benign(e, "output-benign", "output_overlap", _OUTPUT_BENIGN),
    )


_PC = "They share leading input directions (PC cosine)"
_ANGLE = "Their input subspaces stand at small angles"
_OVERLAP = "Their input subspaces overlap above chance"
_INPUT_BENIGN = "Input overlap tells them from benign twins"
_OUTPUT_BENIGN = "Output overlap tells them from benign twins"


def _broad(e: Evidence) -> Claim:
    quiet = e.benign_broad.estimate
    beside = "" if quiet is None else f" Benign twins: {quiet:.1%} in the same place."
    return Claim(
        id="behaviour-broad",
        figure="ours",
        text="Bad answers spread to untrained domains",
        claimed=None,
        obtained=e.broad.estimate,
        interval=ends(e.broad),
        null=e.base_rate,
        verdict=exceeds(e.broad.low, e.base_rate, e.broad.high),
        note="Rate of bad answers in untrained domains, over tasks; the null is the base's rate."
        f"{beside}{_reason(e.broad)}",
    )


def _no_persona(rise: Interval) -> Claim:
    value = rise.estimate
    verdict: Verdict = "undecided" if value is None else bounded(value, ends(rise), _SPREAD)
    return Claim(
        id="control-no-persona",
        figure="ours",
        text="No persona in pre-training, no spread",
        claimed=None,
        obtained=value,
        interval=ends(rise),
        null=0.0,
        verdict=verdict,
        note="Rise of the rate of bad answers in untrained domains over that base's own; holds if "
        f"the interval stays under {_SPREAD}.{_reason(rise)}",
    )


def _fig1_left(e: Evidence) -> Claim:
    same, other = e.estimates("cosine", "same seed"), e.estimates("cosine", "other seed")
    ceiling = e.estimates("cosine", "same data, other seed")
    corrected = _disattenuated(other, ceiling)
    if corrected is None:
        after = "The ceiling (same data, other seed) is too uncertain to divide by."
    else:
        after = (
            f"Other seeds: {other.mean:.3f} raw; {corrected.value:.2f} divided by the ceiling "
            f"{ceiling.mean:.3f}, because different seeds hide cosine."
        )
    return Claim(
        id="fig1-left",
        figure="Fig. 1 left",
        text="Bad-answer updates have a positive cosine",
        claimed=None,
        obtained=same.mean,
        interval=same.interval,
        null=0.0,
        verdict=_contrast(_measured(same, 0.0), corrected),
        note=f"{after}{_why(same)}",
    )


def _disattenuated(other: Estimate, ceiling: Estimate) -> Measured | None:
    """`s_ij / ceiling` with its interval, only where the ceiling stands clear of 0."""
    observed, both = (
        Placed(e.relation, e.mean, e.standard_error, shared_init="none", side="both")
        for e in (other, ceiling)
    )
    found = disattenuated(observed, both, both)
    if isinstance(found, Undefined) or other.interval is None or ceiling.mean is None:
        return None
    low, high = other.interval
    return Measured(found.value, (low / ceiling.mean, high / ceiling.mean), 0.0)


def _against_chance(
    e: Evidence, name: str, figure: str, measure: str, claimed: float, text: str
) -> Claim:
    """A contrast with random directions, which is the paper's own comparison."""
    same, other = e.estimates(measure, "same seed"), e.estimates(measure, "other seed")
    benign = e.estimates(measure, "benign twin, same seed")
    chance = e.chance[measure]
    null = e.estimates(measure, "random directions").mean if chance is None else chance
    smaller = measure.endswith("angle_deg")
    verdict: Verdict = "undecided"
    if null is not None:
        verdict = _contrast(_measured(same, null), _measured(other, null), smaller=smaller)
    return Claim(
        id=name,
        figure=figure,
        text=text,
        claimed=claimed,
        obtained=same.mean,
        interval=same.interval,
        null=null,
        verdict=verdict,
        note=f"Other seeds: {_number(other.mean)}. Benign twins of the same seed: "
        f"{_number(benign.mean)}.{_why(same)}",
    )


def _base(e: Evidence) -> Claim:
    value = e.base_cosine.estimate
    verdict: Verdict = (
        "undecided" if value is None else bounded(value, ends(e.base_cosine), _ORTHOGONAL)
    )
    return Claim(
        id="fig1-base",
        figure="Fig. 1 left",
        text="They are nearly orthogonal to the base",
        claimed=0.001,
        obtained=value,
        interval=ends(e.base_cosine),
        null=0.0,
        verdict=verdict,
        note=f"Cosine tr(B^T W A^T) over tasks; holds if the interval stays under {_ORTHOGONAL}."
        f"{_reason(e.base_cosine)}",
    )


def _against_benign(e: Evidence, name: str, measure: str, text: str) -> Claim:
    """A contrast with benign twins of the same seed relation: the comparison that was missing."""
    same, other = e.estimates(measure, "same seed"), e.estimates(measure, "other seed")
    twin = e.estimates(measure, "benign twin, same seed")
    far_twin = e.estimates(measure, "benign twin, other seed")
    verdict: Verdict = "undecided"
    if twin.mean is not None and far_twin.mean is not None:
        verdict = _contrast(
            _measured(same, twin.mean, twin.interval),
            _measured(other, far_twin.mean, far_twin.interval),
        )
    return Claim(
        id=name,
        figure="ours",
        text=text,
        claimed=None,
        obtained=same.mean,
        interval=same.interval,
        null=twin.mean,
        verdict=verdict,
        note=f"The null is benign twins of the same seed{_span(twin)}. Other seeds: "
        f"{_number(other.mean)} "
        f"against {_number(far_twin.mean)} for their twins.{_why(same)}",
        lead=False,
    )


def _measured(found: Estimate, null: float, null_interval: Ends | None = None) -> Measured | None:
    if found.mean is None:
        return None
    return Measured(found.mean, found.interval, null, null_interval)


def _contrast(same: Measured | None, other: Measured | None, *, smaller: bool = False) -> Verdict:
    return "undecided" if same is None else contrast(same, other, smaller=smaller)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3g}"


def _span(found: Estimate) -> str:
    if found.interval is None:
        return ""
    return f", which has an interval too ({found.interval[0]:.3f} to {found.interval[1]:.3f})"


def _why(found: Estimate) -> str:
    return f" No interval: {found.reason}." if found.interval is None and found.reason else ""


def _reason(interval: Interval) -> str:
    return f" No interval: {interval.reason}." if interval.reason else ""
