"""What each relation gives for each measure: the mean over pairs, with an honest interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.result import Result
from deltalens.stats.resample import PairMean, jackknife_pairs
from deltalens.studies.compare.rows import PairRow
from deltalens.studies.groups.layers import LayerValues
from deltalens.studies.groups.layers import layer_values as by_layer
from deltalens.studies.paper.relations import Related, Relation

_BETWEEN = ("benign twin, same seed", "benign twin, other seed")


@dataclass(frozen=True)
class Estimate:
    """One measure in one relation.

    Attributes:
        relation: which pairs.
        measure: which measure, named as in the document of `compare`.
        values: one a pair, in the order of `pairs`.
        pairs: the pairs behind them.
        mean: over pairs; None if no pair has a value.
        interval: by delete-one-task jackknife with t quantiles; None with the reason.
        standard_error: of the mean, by the same jackknife.
        reason: why there is no interval.
    """

    relation: str
    measure: str
    values: tuple[float | None, ...]
    pairs: tuple[tuple[str, str], ...]
    mean: float | None
    interval: tuple[float, float] | None
    standard_error: float | None
    reason: str


def pair_values(result: Result, measure: str) -> dict[frozenset[str], float | None]:
    """One measure of every pair of a comparison."""
    rows: Sequence[PairRow] = result.tables["pairs"]
    return {frozenset((r.a, r.b)): r.value for r in rows if r.measure == measure}


def estimate(
    values: Mapping[frozenset[str], float | None],
    related: Sequence[Related],
    relation: Relation,
    measure: str,
    tasks: Mapping[str, str],
) -> Estimate:
    """Mean and interval of a measure over the pairs of one relation.

    Pairs share runs, and two runs of one task share the task: the task is what the jackknife
    deletes (SCIENCE section 5).
    """
    chosen = [(r.a, r.b) for r in related if r.relation == relation]
    found = {pair: values.get(frozenset(pair)) for pair in chosen}
    summary = _jackknife(found, relation, tasks)
    interval = summary.interval if summary else None
    ends = None
    if interval is not None and interval.low is not None and interval.high is not None:
        ends = interval.low, interval.high
    reason = "no such pair" if interval is None else interval.reason or ""
    return Estimate(
        relation=relation,
        measure=measure,
        values=tuple(found.values()),
        pairs=tuple(chosen),
        mean=None if interval is None else interval.estimate,
        interval=ends,
        standard_error=None if summary is None else summary.standard_error,
        reason="" if ends else reason,
    )


def _jackknife(
    found: Mapping[tuple[str, str], float | None], relation: str, tasks: Mapping[str, str]
) -> PairMean | None:
    if not found:
        return None
    if relation in _BETWEEN:
        return jackknife_pairs(_by_task(found, tasks), design="between")
    if relation == "random directions":
        # Every pair holds the one random adapter; the runs are what varies.
        named = {(a, f"{b} for {a}"): v for (a, b), v in found.items()}
        units = {name: a for a, b in named for name in (a, b)}
        return jackknife_pairs(named, units=units)
    return jackknife_pairs(found, units=tasks)


def _by_task(
    found: Mapping[tuple[str, str], float | None], tasks: Mapping[str, str]
) -> dict[tuple[str, str], float | None]:
    """Pairs of tasks: the runs of a pair of tasks are averaged before tasks are deleted."""
    grouped: dict[tuple[str, str], list[float]] = {}
    for (a, b), value in found.items():
        grouped.setdefault((tasks[a], tasks[b]), [])
        if value is not None:
            grouped[tasks[a], tasks[b]].append(value)
    return {pair: float(np.mean(v)) if v else None for pair, v in grouped.items()}


def layer_values(result: Result, measure: str) -> LayerValues:
    """One measure of every pair in every layer, as `groups.layers` has it.

    Args:
        result: a comparison, its rows against the base included.
        measure: named as in the document; `cosine` means the layer's mean update cosine.
    """
    return by_layer(result, (measure,))[measure]


def layer_estimates(
    by_pair: Mapping[frozenset[str], Mapping[int, float]],
    related: Sequence[Related],
    relation: Relation,
    measure: str,
    tasks: Mapping[str, str],
) -> dict[int, Estimate]:
    """The estimate of a relation in every layer."""
    layers = sorted({layer for values in by_pair.values() for layer in values})
    return {
        layer: estimate(
            {pair: values.get(layer) for pair, values in by_pair.items()},
            related,
            relation,
            measure,
            tasks,
        )
        for layer in layers
    }


def over_layers(values: Sequence[Mapping[int, float]]) -> tuple[float, float] | None:
    """The named variant `paper`: mean and deviation over layers of the mean over pairs.

    Layers are not independent samples; this is what the paper prints, kept for comparison.
    """
    layers = sorted({layer for each in values for layer in each})
    means = [float(np.mean([v[layer] for v in values if layer in v])) for layer in layers]
    if len(means) < 2:
        return None
    return float(np.mean(means)), float(np.std(means, ddof=1))
