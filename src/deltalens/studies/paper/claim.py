"""One row of the claims table, and the document that all of them make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deltalens.stats.intervals import Interval
from deltalens.studies.paper.verdicts import Verdict

Ends = tuple[float, float]


@dataclass(frozen=True)
class Claim:
    """One row of the claims table; the fields of the contract, and the claim in words.

    Attributes:
        lead: whether it belongs to the first screen of the report.
    """

    id: str
    figure: str
    text: str
    claimed: float | None
    obtained: float | None
    interval: Ends | None
    null: float | None
    verdict: Verdict
    note: str
    lead: bool = True


def ends(interval: Interval) -> Ends | None:
    """`(low, high)`, or None where the interval is undefined."""
    if interval.low is None or interval.high is None:
        return None
    return interval.low, interval.high


def summary(found: Sequence[Claim], provenance: Mapping[str, object]) -> dict[str, object]:
    """`summary.json` of the contract."""
    return {
        "claims": [
            {
                "id": c.id,
                "figure": c.figure,
                "text": c.text,
                "claimed": c.claimed,
                "obtained": c.obtained,
                "interval": None if c.interval is None else list(c.interval),
                "null": c.null,
                "verdict": c.verdict,
                "note": c.note,
            }
            for c in found
        ],
        "provenance": dict(provenance),
    }
