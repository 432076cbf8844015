"""How often intervals cover: pairs that share runs, few runs, few questions."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import numpy as np

from deltalens.stats.intervals import Interval, t_interval, wilson_new_questions
from deltalens.stats.resample import jackknife_pairs
from deltalens.studies.calibration.rows import CoverageRow
from deltalens.studies.calibration.simulated import binomial_error

ADAPTERS = (3, 4, 6, 10)
RUNS = (3, 5, 10)
QUESTIONS = ((8, 5), (8, 50), (24, 5))
_RATES = ((0.1, 0.1), (0.3, 0.3), (0.5, 0.1))


def coverage_rows(n: int, *, seed: int) -> list[CoverageRow]:
    """Coverage of every interval that reports print.

    Args:
        n: replicas of each case.
        seed: root of the streams.
    """
    rng = np.random.default_rng([seed, 2])
    pairs = [
        _row("jackknife over adapters", f"{name}, {size} adapters", size, n, _pairs(size, how, rng))
        for name, how in (("additive", _additive), ("shared directions", _directions))
        for size in ADAPTERS
    ]
    naive = [
        _row(
            "t over pairs, taken as independent",
            f"additive, {size} adapters",
            size,
            n,
            _independent(size, rng),
        )
        for size in ADAPTERS
    ]
    runs = [
        _row("t over runs", f"{name}, {size} runs", size, n, _runs(size, name, rng))
        for name in ("Gaussian", "exponential")
        for size in RUNS
    ]
    questions = [
        _row(
            "Wilson for new questions",
            f"{q} x {m} answers, rate {rate:g}, correlation {icc:g}",
            q,
            n,
            _questions(q, m, rate, icc, rng),
        )
        for q, m in QUESTIONS
        for rate, icc in _RATES
    ]
    return pairs + naive + runs + questions


Replica = Callable[[], tuple[Interval, float]]


def _row(interval: str, world: str, size: int, n: int, replica: Replica) -> CoverageRow:
    covered = float(np.mean([_covers(*replica()) for _ in range(n)]))
    return CoverageRow(interval, world, size, n, covered, binomial_error(covered, n))


def _covers(found: Interval, truth: float) -> bool:
    return found.low is not None and found.high is not None and found.low <= truth <= found.high


PairValues = dict[tuple[str, str], float | None]
How = Callable[[int, np.random.Generator], tuple[PairValues, float]]


def _additive(size: int, rng: np.random.Generator) -> tuple[PairValues, float]:
    """`mu + e_i + e_j + noise`: each run raises or lowers all its pairs."""
    run = rng.standard_normal(size)
    return {
        (str(i), str(j)): 0.5 + run[i] + run[j] + 0.5 * rng.standard_normal()
        for i, j in combinations(range(size), 2)
    }, 0.5


def _directions(size: int, rng: np.random.Generator) -> tuple[PairValues, float]:
    """`x_i . x_j` of runs around a common direction: what a cosine does."""
    centre = np.full(10, 0.3)
    x = centre + 0.3 * rng.standard_normal((size, 10))
    values = {(str(i), str(j)): float(x[i] @ x[j]) for i, j in combinations(range(size), 2)}
    return {**values}, float(centre @ centre)


def _pairs(size: int, how: How, rng: np.random.Generator) -> Replica:
    def replica() -> tuple[Interval, float]:
        values, truth = how(size, rng)
        return jackknife_pairs(values).interval, truth

    return replica


def _independent(size: int, rng: np.random.Generator) -> Replica:
    def replica() -> tuple[Interval, float]:
        values, truth = _additive(size, rng)
        return t_interval(list(values.values())), truth

    return replica


def _runs(size: int, name: str, rng: np.random.Generator) -> Replica:
    def replica() -> tuple[Interval, float]:
        gaussian = name == "Gaussian"
        x = rng.standard_normal(size) if gaussian else rng.standard_exponential(size)
        return t_interval(x.tolist()), 0.0 if gaussian else 1.0

    return replica


def _questions(q: int, m: int, rate: float, icc: float, rng: np.random.Generator) -> Replica:
    """Beta-binomial: every question has a rate of its own."""
    a, b = (share * (1 - icc) / icc for share in (rate, 1 - rate))

    def replica() -> tuple[Interval, float]:
        hits = rng.binomial(m, rng.beta(a, b, q))
        return wilson_new_questions(hits.tolist(), m), rate

    return replica
