"""Holm's correction over the pairs of one call, a family a measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltalens.stats.multiplicity import holm, smallest_adjusted_p
from deltalens.stats.resample import smallest_reachable_p
from deltalens.studies.compare.rows import Pair

# The measures that a sentence may judge; the overlaps only where a bank ranks them.
JUDGED = ("cosine", "overlap", "output_overlap")
LEVEL = 0.05


@dataclass(frozen=True)
class Correction:
    """One measure of one pair after correction.

    Attributes:
        p: adjusted; None where the raw p is undefined.
        family: pairs that were corrected together.
        smallest: the smallest adjusted p that could have been reached; None with p.
    """

    p: float | None
    family: int
    smallest: float | None


def corrections(pairs: Sequence[Pair]) -> list[dict[str, Correction]]:
    """The corrections of every pair, by measure, in the order of the pairs."""
    found: list[dict[str, Correction]] = [{} for _ in pairs]
    for measure in JUDGED:
        raw = [_p(pair, measure) for pair in pairs]
        adjusted = holm(raw, family=f"{measure} of every pair")
        size = adjusted.family.size
        for row, pair, p in zip(found, pairs, adjusted.p, strict=True):
            smallest = None
            if p is not None:
                smallest = smallest_adjusted_p(size, smallest_p(pair, measure))
            row[measure] = Correction(p, size, smallest)
    return found


def smallest_p(pair: Pair, measure: str) -> float:
    """The smallest p that the null used could have given; 0 for a closed form."""
    moments = pair.nulls[pair.null_used[measure]]
    m = None if isinstance(moments, str) else moments.get(measure)
    return smallest_reachable_p(m.draws) if m is not None and m.p is not None else 0.0


def _p(pair: Pair, measure: str) -> float | None:
    if measure != "cosine" and pair.null_used.get(measure) != "bank":
        return None
    return pair.p[measure]


def out_of_reach(pairs: Sequence[Pair]) -> list[str]:
    """A warning where a bank cannot reach .05 after correction, whatever the pairs are."""
    if all(isinstance(pair.nulls["bank"], str) for pair in pairs):
        return []
    stuck = [
        (moments["cosine"].draws, row["cosine"])
        for pair, row in zip(pairs, corrections(pairs), strict=True)
        if pair.null_used.get("cosine") == "bank"
        and not isinstance(moments := pair.nulls["bank"], str)
        and (row["cosine"].smallest or 0.0) > LEVEL
        and row["cosine"].family > 1
    ]
    if not stuck:
        return []
    m, worst = max(stuck, key=lambda item: item[1].smallest or 0.0)
    needed = round(worst.family / LEVEL) - 1
    return [
        f"a bank of {m} cannot give p {LEVEL:g} after Holm's correction over {worst.family} pairs "
        f"(smallest {worst.smallest:.2g}): compare fewer pairs, or give {needed} members"
    ]
