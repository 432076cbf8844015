"""The mean of a measure over a cell's pairs, with an interval over runs or tasks, and its null."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deltalens.stats.resample import PairMean, jackknife_pairs
from deltalens.studies.compare.rows import SMALLER_IS_ALIKE
from deltalens.studies.groups.cells import Cell

Values = Mapping[tuple[str, str], float | None]


@dataclass(frozen=True)
class Null:
    """The null of a cell's pairs and the test of their mean against it.

    Attributes:
        name: of the null, or of the closed forms that serve different pairs; None with the reason.
        mean: over pairs.
        p: upper tail of likeness; None with the reason.
        p_smallest: smallest p that could have been reached.
        reason: why name or p are missing.
    """

    name: str | None
    mean: float | None
    p: float | None
    p_smallest: float | None
    reason: str | None


def cell_mean(values: Values, cell: Cell, tasks: Mapping[str, str]) -> PairMean:
    """Mean and interval by a jackknife that deletes one task with its pairs, else one adapter.

    Tasks are the replicates where they are known. Between two groups without a common task, runs
    are averaged over the pairs of tasks first; with one, its deletion takes it out of both groups,
    so that they are one set of units (an interval that is wide rather than narrow).
    """
    chosen = {pair: values.get(pair) for pair in cell.pairs}
    if cell.tasks == "unknown":
        return jackknife_pairs(chosen, design="within" if cell.within else "between")
    units = {name: tasks[name] for pair in cell.pairs for name in pair}
    first, second = ({units[pair[end]] for pair in cell.pairs} for end in (0, 1))
    if cell.within or first & second:
        return _over_tasks(jackknife_pairs(chosen, units=units))
    return _over_tasks(jackknife_pairs(_by_task(chosen, units), design="between"))


def _over_tasks(found: PairMean) -> PairMean:
    """The same mean, its method and reason in words of tasks."""
    said = {
        name: text and text.replace("units", "tasks").replace("adapters", "tasks")
        for name, text in (("method", found.interval.method), ("reason", found.interval.reason))
    }
    return replace(found, interval=replace(found.interval, **said))


def _by_task(values: Values, tasks: Mapping[str, str]) -> dict[tuple[str, str], float | None]:
    grouped: dict[tuple[str, str], list[float]] = {}
    for (a, b), value in values.items():
        held = grouped.setdefault((tasks[a], tasks[b]), [])
        if value is not None:
            held.append(value)
    return {pair: math.fsum(v) / len(v) if v else None for pair, v in grouped.items()}


def against_null(
    pairs: Sequence[Mapping[str, Any]], cell: Cell, measure: str, tasks: Mapping[str, str]
) -> Null:
    """Test of the mean excess over the pairs' own nulls, one-sided.

    `t = mean(value - null mean) / se`, with the jackknife's standard error and degrees of freedom;
    where the null was drawn or counted, `sd^2 / draws` is added to `se^2`, as if every pair had the
    same draws (a bank's members are the same for all). Angles count as more alike when smaller.

    Args:
        pairs: the pair documents of `compare`, in the order of the cell's pairs.
        cell: the cell.
        measure: named as in the pairs.
        tasks: adapter -> task.
    """
    used: list[str | None] = [p["null_used"].get(measure) for p in pairs]
    names = sorted({name for name in used if name is not None})
    if not names:
        return _no_null("no null applies to these pairs")
    if None in used:
        return _no_null(f"no null applies to {used.count(None)} of {len(used)} pairs")
    moments = [p["nulls"][null][measure] for p, null in zip(pairs, used, strict=True)]
    if len(names) > 1 and any(m["draws"] for m in moments):
        return _no_null(f"the pairs have different nulls ({', '.join(names)})")
    name = " or ".join(names)  # closed forms: each pair has its own exact mean
    mean = math.fsum(m["mean"] for m in moments) / len(moments)
    excess: dict[tuple[str, str], float | None] = {
        pair: None if p[measure] is None else p[measure] - m["mean"]
        for pair, p, m in zip(cell.pairs, pairs, moments, strict=True)
    }
    found = cell_mean(excess, cell, tasks)
    if found.standard_error is None or found.interval.estimate is None:
        return Null(name, mean, None, None, found.interval.reason)
    noise = max((m["sd"] or 0.0) ** 2 / m["draws"] if m["draws"] else 0.0 for m in moments)
    t = found.interval.estimate / math.sqrt(found.standard_error**2 + noise)
    p = _upper_t(-t if measure in SMALLER_IS_ALIKE else t, found.interval.df or 1.0)
    return Null(name, mean, p, 0.0, None)


def _no_null(reason: str) -> Null:
    return Null(None, None, None, None, reason)


def _upper_t(t: float, df: float) -> float:
    from scipy.special import stdtr

    return float(stdtr(df, -t))
