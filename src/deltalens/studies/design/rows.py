"""The typed row of a design's effects."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EffectRow:
    """One term of one measure: `results/design.parquet`.

    Attributes:
        measure: named as in the pairs.
        term: what two adapters share; `nothing shared` is the level of those that share nothing.
        estimate: how much more alike such pairs are, in the units of the measure (angles: degrees,
            and more alike is less).
        low: lower end of the 95 % interval, or None with the reason.
        high: upper end.
        df: degrees of freedom of the t quantile.
        unit: what the jackknife deletes, `task` or `adapter`.
        n_units: how many there are.
        n_pairs: pairs with a value.
        p: two-sided, of no effect; None with the reason, and for `nothing shared`.
        p_holm: Holm's correction over the effects of this measure.
        r2: of the whole model on this measure, over pairs.
        reason: why something is missing.
    """

    measure: str
    term: str
    estimate: float | None
    low: float | None
    high: float | None
    df: float | None
    unit: str
    n_units: int
    n_pairs: int
    p: float | None
    p_holm: float | None
    r2: float | None
    reason: str | None
