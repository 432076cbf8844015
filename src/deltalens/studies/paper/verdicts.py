"""When a claim holds: fixed rules, applied to every claim alike.

A contrast is claimed to exceed its null. It *holds* if it does so under a shared seed and keeps at
least half of that excess when the seeds differ; it *holds only under a shared seed* if the excess
is there under a shared seed and less than half of it is left when the seeds differ; it *does not
hold* if there is no excess under a shared seed; anything that the intervals cannot tell is
*undecided*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["holds", "holds only under a shared seed", "does not hold", "undecided"]
_KEPT = 0.5
_RUNS = 3
_LEVEL = 0.05
_ENOUGH = 19  # members of a bank for p = .05


@dataclass(frozen=True)
class Measured:
    """An estimate, its interval (None where it is undefined) and the null it is set against.

    Attributes:
        value: the estimate.
        interval: `(low, high)` or None.
        null: what the null gives.
        null_interval: the null's own interval; None for a closed form.
    """

    value: float
    interval: tuple[float, float] | None
    null: float
    null_interval: tuple[float, float] | None = None

    def excess(self, *, smaller: bool) -> tuple[float, float, float] | None:
        """Low end, estimate and high end of the excess over the null, in the claimed direction."""
        if self.interval is None:
            return None
        low_null, high_null = self.null_interval or (self.null, self.null)
        if smaller:
            low, high = self.interval
            return low_null - high, self.null - self.value, high_null - low
        low, high = self.interval
        return low - high_null, self.value - self.null, high - low_null


def contrast(same: Measured, other: Measured | None, *, smaller: bool = False) -> Verdict:
    """The verdict on `EM pairs exceed the null`.

    Args:
        same: pairs that share their initialisation.
        other: the same kind of pairs with different initialisations; None if there are none.
        smaller: whether the claim is that the measure is smaller than the null (angles).
    """
    here = same.excess(smaller=smaller)
    if here is None:
        return "undecided"
    low, estimate, high = here
    if high <= 0 or (low <= 0 and estimate <= 0):
        return "does not hold"
    if low <= 0:
        return "undecided"
    there = None if other is None else other.excess(smaller=smaller)
    if there is None:
        return "undecided"
    needed = _KEPT * estimate
    if there[0] > 0 and there[1] >= needed:
        return "holds"
    little = there[0] <= needed / 2 and there[2] < estimate  # all of it cannot be left
    if there[1] < needed and (there[2] < needed or little):
        return "holds only under a shared seed"
    return "undecided"


def bounded(value: float, interval: tuple[float, float] | None, bound: float) -> Verdict:
    """The verdict on `the absolute value stays under a bound` (nearly orthogonal)."""
    if interval is None:
        return "undecided"
    low, high = interval
    if max(abs(low), abs(high)) < bound:
        return "holds"
    if low > bound or high < -bound:
        return "does not hold"
    return "undecided" if abs(value) < bound else "does not hold"


def exceeds(low: float | None, null: float, high: float | None) -> Verdict:
    """The verdict on `a rate exceeds a null`, where seeds play no part."""
    if low is None or high is None:
        return "undecided"
    if low > null:
        return "holds"
    return "does not hold" if high <= null else "undecided"


def bounded_runs(
    values: Sequence[float | None], interval: tuple[float, float] | None, bound: float
) -> Verdict:
    """The verdict on `a size stays under a bound`, where every run may give the very same number.

    Runs that agree exactly have no spread and hence no interval: then the runs themselves decide,
    if there are three of them.
    """
    known = [v for v in values if v is not None]
    if not known:
        return "undecided"
    if interval is None and len(known) == len(values) >= _RUNS and len(set(known)) == 1:
        return "holds" if abs(known[0]) < bound else "does not hold"
    return bounded(sum(known) / len(known), interval, bound)


def both(same: Verdict, other: Verdict) -> Verdict:
    """What `stays under a bound` comes to, judged under a shared seed and under different ones."""
    if same == "holds" and other == "does not hold":
        return "holds only under a shared seed"
    if same == "holds":
        return other
    return same


def ranked(
    p_values: Sequence[float | None], members: int, value: float | None, mean: float | None
) -> Verdict:
    """The verdict on `every pair exceeds its bank`, by the largest p of the rank tests.

    It holds at .05. It does not hold if the pairs are no more alike than the bank's mean. A bank
    that is too small, and anything between, leave it undecided.
    """
    known = [p for p in p_values if p is not None]
    if not known or len(known) < len(p_values) or value is None or mean is None:
        return "undecided"
    if members >= _ENOUGH and max(known) <= _LEVEL:
        return "holds"
    return "does not hold" if value <= mean else "undecided"
