"""The rule: a rung gives verdicts with a statistic only where its level was shown to hold.

The largest false-positive rate over the worlds (b) and (c) decides: at most .05 within three of its
own standard errors, and at most .10 in any case. Anything else describes. Where one of the two was
not tried, nothing is decided, unless the other already refuted it.
"""

from __future__ import annotations

from collections.abc import Sequence

from deltalens.studies.calibration.rows import LabelRow, LevelRow
from deltalens.studies.calibration.rungs import COMBINATIONS

LEVEL = 0.05
VERDICT, DESCRIPTION, UNDECIDED = "verdict", "description", "undecided"
_DECIDES = ("b", "c")
_ERRORS = 3.0
_CEILING = 0.10
_HALF_WAY = "30 %"


def holds_level(row: LevelRow) -> bool:
    """Whether this rate is compatible with level .05."""
    if row.rejected is None:
        return True
    return row.rejected <= min(LEVEL + _ERRORS * (row.error or 0.0), _CEILING)


def label_rows(rows: Sequence[LevelRow]) -> list[LabelRow]:
    """One label a rung and statistic."""
    return [_label(rows, rung, statistic) for rung, statistic in COMBINATIONS]


def _label(rows: Sequence[LevelRow], rung: str, statistic: str) -> LabelRow:
    mine = [r for r in rows if (r.rung, r.statistic) == (rung, statistic)]
    tried = [r for r in mine if r.group in _DECIDES and r.rejected is not None]
    broken = [r for r in tried if not holds_level(r)]
    worst = max(broken or tried, key=lambda r: r.rejected or 0.0, default=None)
    power = next((r.rejected for r in mine if r.group == "d" and _HALF_WAY in r.world), None)
    settled = {r.group for r in tried} == set(_DECIDES)
    return LabelRow(
        rung=rung,
        statistic=statistic,
        label=DESCRIPTION if broken else VERDICT if settled else UNDECIDED,
        worst=None if worst is None else worst.rejected,
        worst_error=None if worst is None else worst.error,
        worst_world="not tried" if worst is None else worst.world,
        power_at_30=power,
    )
