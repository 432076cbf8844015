"""Second-order agreement in a design: whether two seeds arrange their common tasks alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from deltalens.core.shapes import Array
from deltalens.stats.agreement import LEAST_TASKS, second_order_agreement

MEASURES = ("cosine", "overlap", "output_overlap")


@dataclass(frozen=True)
class AgreementRow:
    """Two seeds and a measure.

    Attributes:
        measure: named as in the pairs.
        seed_a: one seed.
        seed_b: the other.
        n_tasks: tasks that both have.
        correlation: of the similarities between these tasks; None with the reason.
        p: upper tail, over orders of the tasks.
        p_smallest: the smallest that p could have been.
        reason: why there is no correlation.
    """

    measure: str
    seed_a: str
    seed_b: str
    n_tasks: int
    correlation: float | None
    p: float | None
    p_smallest: float | None
    reason: str


def agreement_rows(
    levels: Mapping[str, Sequence[str]],
    names: Sequence[str],
    pairs: Mapping[frozenset[str], Mapping[str, Any]],
    *,
    seed: int,
) -> list[AgreementRow]:
    """Every two seeds that have at least four tasks in common; runs of one task are averaged.

    Args:
        levels: factor -> one level an adapter; without seed and task there are no rows.
        names: of the adapters, in the order of the levels.
        pairs: the pair documents by their ends' names.
        seed: of the draws, where tasks have too many orders to count.
    """
    if "seed" not in levels or "task" not in levels:
        return []
    runs: dict[str, dict[str, list[str]]] = {}
    for name, own, task in zip(names, levels["seed"], levels["task"], strict=True):
        runs.setdefault(own, {}).setdefault(task, []).append(name)
    rows: list[AgreementRow] = []
    for a, b in combinations(runs, 2):
        tasks = [task for task in runs[a] if task in runs[b]]
        if len(tasks) < LEAST_TASKS:
            continue
        for measure in MEASURES:
            one, two = (_matrix([runs[s][task] for task in tasks], pairs, measure) for s in (a, b))
            rng = np.random.default_rng([seed, 5])
            found = second_order_agreement(one, two, rng=rng)
            numbers = (found.correlation, found.p, found.p_smallest)
            rows.append(AgreementRow(measure, a, b, len(tasks), *numbers, found.reason))
    return rows


def _matrix(
    runs: Sequence[Sequence[str]], pairs: Mapping[frozenset[str], Mapping[str, Any]], measure: str
) -> Array:
    found = np.full((len(runs), len(runs)), np.nan)
    for i, j in combinations(range(len(runs)), 2):
        values = [pairs[frozenset((x, y))][measure] for x in runs[i] for y in runs[j]]
        known = [v for v in values if v is not None]
        if known:
            found[i, j] = found[j, i] = float(np.mean(known))
    return found
