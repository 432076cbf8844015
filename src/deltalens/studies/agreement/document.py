"""An agreement in JSON, and in a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from deltalens.studies.agreement.measures import ALL
from deltalens.studies.agreement.rows import AgreementRow, ScoredRow, SweepRow
from deltalens.studies.agreement.table import SCALES

RELIABLE, TENTATIVE = 0.8, 0.667
"""Krippendorff's customary limits for alpha: relied upon, and for tentative conclusions."""
_LEVEL = 0.05  # of p: where it cannot come that low, the verdict says so

DISCLAIMER = (
    "Judges that agree may be wrong together: agreement says how far scores depend on who gives "
    "them, and not whether they are right."
)
_NAMES = {"aligned": "aligned scores", "coherent": "coherent scores",
          "misaligned": "the verdict misaligned"}  # fmt: skip
_NUMBERS = ("value", "n", "questions", "method", "reason", "p", "smallest_p", "draws",
            "exchanged", "chance_reason")  # fmt: skip


def document(
    head: Mapping[str, Any],
    rows: Sequence[AgreementRow],
    counted: Sequence[ScoredRow],
    swept: Sequence[SweepRow],
) -> dict[str, Any]:
    """Settings first, then all judges at once, every two, and other thresholds."""
    return {
        **head,
        "all": {row.scale: _numbers(row) for row in rows if row.a == ALL and not row.b},
        "pairs": [
            _pair(a, b, rows, counted) for a, b in dict.fromkeys((r.a, r.b) for r in counted)
        ],
        "sweep": [asdict(row) for row in swept],
        "verdict": verdict(rows),
        "disclaimer": DISCLAIMER,
    }


def _pair(
    a: str, b: str, rows: Sequence[AgreementRow], counted: Sequence[ScoredRow]
) -> dict[str, Any]:
    scales: dict[str, Any] = {}
    for scale in SCALES:
        (count,) = (r for r in counted if (r.scale, r.a, r.b) == (scale, a, b))
        measures = {r.measure: _numbers(r) for r in rows if (r.scale, r.a, r.b) == (scale, a, b)}
        scales[scale] = {
            **{name: getattr(count, name) for name in ("both", "only_a", "only_b", "neither")},
            **measures,
        }
    return {"a": a, "b": b, **scales}


def _numbers(row: AgreementRow) -> dict[str, Any]:
    ends = None if row.low is None or row.high is None else [row.low, row.high]
    chance = None
    if row.chance_mean is not None:
        chance = {"mean": row.chance_mean, "sd": row.chance_sd}
    return {**{name: getattr(row, name) for name in _NUMBERS}, "interval": ends, "chance": chance}


def verdict(rows: Sequence[AgreementRow]) -> str:
    """Alpha on every scale beside chance, and what is customarily made of it."""
    alphas = {row.scale: row for row in rows if row.measure == "alpha"}
    said = "; ".join(f"{_NAMES[scale]}: {_said(alphas[scale])}" for scale in SCALES)
    row = alphas["misaligned"]
    return f"Krippendorff's alpha of all judges, {said}. {_custom(row.value)}"


def _said(row: AgreementRow) -> str:
    if row.value is None:
        return f"undefined ({row.reason})"
    ends = "no interval" if row.low is None else f"95 % {row.low:.2f} to {row.high:.2f}"
    p = "" if row.p is None else f", p = {row.p:.2g} by chance"
    if row.smallest_p is not None and row.smallest_p > _LEVEL:
        p += f", which cannot be under {row.smallest_p:.2g}"
    return f"{row.value:.2f} ({ends}{p})"


def _custom(value: float | None) -> str:
    if value is None:
        return "On the verdict nothing can be said of agreement."
    if value >= RELIABLE:
        grade = f"at least the {RELIABLE:g} that is customarily relied upon"
    elif value >= TENTATIVE:
        grade = f"enough for tentative conclusions ({TENTATIVE:g}), not to be relied upon"
    else:
        grade = f"under the {TENTATIVE:g} that even tentative conclusions customarily need"
    return f"On the verdict that is {grade}."
