"""The named variant `paper`: the paper's own tests, which take the layers as samples.

Kruskal-Wallis over the comparisons, then Mann-Whitney for every two of them with Bonferroni's
correction (`scipy.stats`). Modules and layers of one run are not independent samples, so that these
p are too small by an unknown amount; they are kept to be compared with the paper's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from deltalens.studies.groups.cells import SEEDS, Cell
from deltalens.studies.groups.layers import LayerValues
from deltalens.studies.groups.rows import GroupTest

CAVEAT = (
    "Variant 'paper': layers are taken as samples, as in the paper. Layers are not independent, so "
    "these p are too small by an unknown amount, and support nothing."
)
_MIN_LAYERS = 2


def paper_tests(found: Sequence[Cell], measure: str, values: LayerValues) -> list[GroupTest]:
    """Both tests among the comparisons of one seed relation, each a sample of one value a layer.

    Pairs of one task are left out: they are a ceiling, not a comparison of groups.
    """
    tests: list[GroupTest] = []
    for seeds in SEEDS:
        samples = {c.title: _sample(c, values) for c in found if _counts(c, seeds)}
        if len(samples) > 1:
            tests.append(_kruskal(samples, measure, seeds))
            tests += _pairwise(samples, measure, seeds)
    return tests


def _counts(cell: Cell, seeds: str) -> bool:
    return cell.seeds == seeds and cell.tasks != "same"


def _sample(cell: Cell, values: LayerValues) -> list[float]:
    """One number a layer: the mean over the cell's pairs."""
    by_pair = [values.get(frozenset(pair), {}) for pair in cell.pairs]
    layers = sorted({layer for each in by_pair for layer in each})
    held = [[each[layer] for each in by_pair if layer in each] for layer in layers]
    return [math.fsum(v) / len(v) for v in held]


def _kruskal(samples: Mapping[str, Sequence[float]], measure: str, seeds: str) -> GroupTest:
    from scipy.stats import kruskal

    reason = _why_not(samples)
    statistic, p = None, None
    if reason is None:
        outcome = kruskal(*samples.values())
        statistic, p = float(outcome.statistic), float(outcome.pvalue)
    return GroupTest(
        variant="paper",
        test="Kruskal-Wallis over layers",
        measure=measure,
        seeds=seeds,
        compared=f"{len(samples)} comparisons",
        statistic=statistic,
        p=p,
        p_smallest=None,
        p_adjusted=p,
        p_fdr=None,
        correction="none",
        family="one test",
        p_smallest_adjusted=None,
        n=sum(map(len, samples.values())),
        reason=reason,
    )


def _pairwise(samples: Mapping[str, Sequence[float]], measure: str, seeds: str) -> list[GroupTest]:
    from scipy.stats import mannwhitneyu

    every = list(combinations(samples.items(), 2))
    tests: list[GroupTest] = []
    for (a, x), (b, y) in every:
        reason = _why_not({a: x, b: y})
        statistic, p = None, None
        if reason is None:
            outcome = mannwhitneyu(x, y, alternative="two-sided")
            statistic, p = float(outcome.statistic), float(outcome.pvalue)
        smallest = min(1.0, 2.0 / math.comb(len(x) + len(y), len(x)))
        tests.append(
            GroupTest(
                variant="paper",
                test="Mann-Whitney over layers",
                measure=measure,
                seeds=seeds,
                compared=f"{a} against {b}",
                statistic=statistic,
                p=p,
                p_smallest=smallest,
                p_adjusted=None if p is None else min(1.0, p * len(every)),
                p_fdr=None,
                correction="bonferroni",
                family=f"{measure}, every two comparisons, {seeds} seed: {len(every)} tests",
                p_smallest_adjusted=min(1.0, smallest * len(every)),
                n=len(x) + len(y),
                reason=reason,
            )
        )
    return tests


def _why_not(samples: Mapping[str, Sequence[float]]) -> str | None:
    for title, sample in samples.items():
        if len(sample) < _MIN_LAYERS:
            return f"{title} has {len(sample)} layers with a value; at least {_MIN_LAYERS} needed"
    numbers = {value for sample in samples.values() for value in sample}
    return "every value is the same" if len(numbers) == 1 else None
