"""The typed rows of the calibration's tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LevelRow:
    """How often one rung rejects with one statistic in one world, at level .05.

    Attributes:
        group: `"a"`, `"b"`, `"c"` (trained) or `"d"` (a planted shared task).
        world: how the updates came about.
        rung: haar, rotation, activation or bank.
        statistic: signed cosine, overlap, output overlap or PC cosine.
        n: pairs.
        rejected: share of them with p <= .05: a false-positive rate in a, b and c, power in d.
        error: its standard error: binomial; over organisms for trained pairs; None if unknown.
        reason: why `rejected` or `error` is missing.
    """

    group: str
    world: str
    rung: str
    statistic: str
    n: int
    rejected: float | None
    error: float | None
    reason: str | None = None


@dataclass(frozen=True)
class LabelRow:
    """What a rung may be used for with one statistic, by the rule in `labels`."""

    rung: str
    statistic: str
    label: str
    worst: float | None
    worst_error: float | None
    worst_world: str
    power_at_30: float | None


@dataclass(frozen=True)
class CoverageRow:
    """How often an interval covers the truth; nominally .95."""

    interval: str
    world: str
    replicates: int
    n: int
    covered: float
    error: float
