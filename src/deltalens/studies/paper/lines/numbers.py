"""One number a line for each question, and its mean over the lines of a family."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from deltalens.core.result import Result
from deltalens.stats.intervals import t_interval
from deltalens.stats.resample import jackknife_pairs
from deltalens.studies.paper.estimates import Estimate
from deltalens.studies.paper.lines.plan import FAMILIES, Family
from deltalens.studies.paper.lines.walked import Walked
from deltalens.studies.walk.statistics import NEW


def share_at_the_middle(result: Result) -> float | None:
    """`(L(1/2) - L(0)) / (L(1) - L(0))` of the misaligned rate."""
    rate = {p["t"]: p["misaligned"] for p in result.document["points"]}
    whole = rate[1.0] - rate[0.0]
    return (rate[0.5] - rate[0.0]) / whole if whole else None


def dip(result: Result) -> float | None:
    """Largest fall of the misaligned rate under the line between the ends; a barrier is >= 0."""
    return _barrier(result, "misaligned")


def coherence_dip(result: Result) -> float | None:
    """The same of the coherent rate."""
    return _barrier(result, "coherent")


def step_back(result: Result) -> float | None:
    """Largest step against the trend between ends that differ; 0 where every step goes along."""
    held = result.document["monotonicity"]
    return None if held is None else max(0.0, held["largest_step_back"][0]["value"])


def largest_l2(result: Result) -> float | None:
    """Largest over t of the normalised L2, mean over layers."""
    return _over_t(result, "l2", max)


def largest_gap_error(result: Result) -> float | None:
    """Largest over t of the error over the distance of the ends, mean over layers."""
    return _over_t(result, "gap_error", max)


def smallest_r2(result: Result) -> float | None:
    """Smallest over t of R^2, mean over layers."""
    return _over_t(result, "r2", min)


def smallest_r2_delta(result: Result) -> float | None:
    """The same on the change from the base."""
    return _over_t(result, "r2_delta", min)


def distance(result: Result) -> float | None:
    """Distance of the ends over the norm of the features, mean over layers."""
    return _over_t(result, "distance", max)


def by_position(result: Result, measure: str) -> dict[float, float]:
    """Mean over layers of a feature measure at every t; the ends of an error are 0."""
    found: dict[float, list[float]] = {}
    rows: Sequence[Any] = result.tables.get("features", ())
    for row in rows:
        value = getattr(row, measure)
        if value is not None:
            found.setdefault(row.t, []).append(value)
    return {t: float(np.mean(values)) for t, values in sorted(found.items())}


Number = Callable[[Result], float | None]


def over_lines(
    walked: Walked, family: Family, number: Number, tasks: Mapping[str, str]
) -> Estimate:
    """Mean and interval of a number over the lines of a family.

    What the jackknife deletes is `FamilyPlan.replicate`.
    """
    values = {(line.a, line.b): number(r) for line, r in walked.family(family).items()}
    replicate = FAMILIES[family].replicate
    if replicate == "line":
        known = [v for v in values.values() if v is not None]
        interval, error = t_interval(known), _mean_error(known)
    else:
        units = {name: tasks[name] for pair in values for name in pair}
        made = (
            jackknife_pairs(values, design="between")
            if replicate == "run"
            else jackknife_pairs(values, units=units)
        )
        interval, error = made.interval, made.standard_error
    low, high = interval.low, interval.high
    return Estimate(
        relation=family,
        measure=number.__name__,
        values=tuple(values.values()),
        pairs=tuple(values),
        mean=interval.estimate,
        interval=None if low is None or high is None else (low, high),
        standard_error=error,
        reason=interval.reason or "",
    )


def _mean_error(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None


def _barrier(result: Result, measure: str) -> float | None:
    rows: Sequence[Any] = result.tables["barriers"]
    held = [r.value for r in rows if (r.measure, r.direction, r.target) == (measure, "dip", NEW)]
    return max(0.0, held[0]) if held else None


def _over_t(result: Result, measure: str, pick: Callable[[list[float]], float]) -> float | None:
    held = by_position(result, measure)
    inner = [value for t, value in held.items() if 0.0 < t < 1.0]
    return pick(inner) if inner else None
