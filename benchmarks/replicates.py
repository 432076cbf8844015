"""Coverage of a design's intervals and level of the group tests, by simulation.

`python benchmarks/replicates.py [DRAWS]` prints the tables of docs/design.md and docs/groups.md.
Similarity is `b X + u_task(a) + u_task(b) + v_a + v_b + w_task(a),task(b) + e_ab`, all Gaussian:
pairs share runs, and runs share tasks.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from deltalens.studies.compare.rows import MEASURES
from deltalens.studies.design.effects import effects
from deltalens.studies.design.regressors import Regressors, regressors
from deltalens.studies.groups.cells import Cell
from deltalens.studies.groups.means import against_null

Levels = Mapping[str, Sequence[str]]
TRUE = {
    "same seed": 1.0,
    "same task": 2.0,
    "both harmful": 0.5,
    "both harmless": -0.3,
    "both style x": 0.7,
    "both style y": 0.3,
}
MEANS = {"same harm": 0.1, "same style": 0.5}
SPREADS = {
    "tasks differ most": (1.0, 0.5, 0.5),
    "runs differ most": (0.0, 1.0, 0.5),
    "pairs differ most": (0.2, 0.2, 1.0),
}
"""Deviations of what a task shares with every partner, of a run, and of a pair."""


def crossed(tasks: int, runs: int, harmful: int, odd: int) -> Levels:
    """Every task with every seed; the first ones harmful, every `odd`-th in another style."""
    each = [(t, s) for t in range(tasks) for s in range(runs)]
    return {
        "seed": [str(s) for _, s in each],
        "task": [f"t{t}" for t, _ in each],
        "harm": ["harmful" if t < harmful else "harmless" for t, _ in each],
        "style": ["x" if t % odd == 0 else "y" for t, _ in each],
    }


def organisms() -> Levels:
    """Eight tasks with one seed, each again with its own, and two repeats: as the study's."""
    tasks = [*range(8), *range(8), 0, 1]
    return {
        "seed": ["0"] * 8 + [str(i + 1) for i in range(8)] + ["0", "0"],
        "task": [f"t{t}" for t in tasks],
        "harm": ["harmful" if t < 4 else "harmless" for t in tasks],
        "style": ["x" if t in (3, 4) else "y" for t in tasks],
    }


def coverage(
    levels: Levels,
    spread: tuple[float, float, float],
    draws: int,
    rng: np.random.Generator,
    *,
    by_task: bool = True,
) -> dict[str, float]:
    """Share of 95 % intervals that hold the truth, by term."""
    found = regressors(levels)
    units = levels["task"] if by_task else [str(i) for i in range(len(levels["task"]))]
    truth = {"nothing shared": 3.0, **{t: TRUE[t] for t in found.terms}, **MEANS}
    hits = dict.fromkeys(truth, 0)
    for _ in range(draws):
        y = _similarity(found, levels, spread, rng)
        for effect in effects(found, y.tolist(), units):
            ends = effect.interval()
            hits[effect.term] += ends is not None and ends[0] <= truth[effect.term] <= ends[1]
    return {term: n / draws for term, n in hits.items()}


def _similarity(
    found: Regressors,
    levels: Levels,
    spread: tuple[float, float, float],
    rng: np.random.Generator,
) -> np.ndarray:
    names = list(dict.fromkeys(levels["task"]))
    task = np.array([names.index(t) for t in levels["task"]])
    ends = np.array(found.pairs)
    of_task, of_run, of_pair = spread
    run = of_task * rng.standard_normal(len(names))[task]
    run += of_run * rng.standard_normal(len(task))
    both = of_pair * rng.standard_normal((len(names), len(names)))
    both = (both + both.T) / np.sqrt(2)
    mean = found.X @ np.array([3.0, *(TRUE[t] for t in found.terms)])
    noise = of_pair * rng.standard_normal(len(ends))
    return mean + run[ends].sum(axis=1) + both[task[ends[:, 0]], task[ends[:, 1]]] + noise


def level(n: int, m: int, draws: int, rng: np.random.Generator) -> float:
    """Share of p under .05 for n adapters against an exact null (m = 0) or a bank of m."""
    names = [f"a{i}" for i in range(n)]
    cell = Cell("x", "x", "same", "unknown", tuple(combinations(names, 2)))
    rejected = 0
    for _ in range(draws):
        of = dict(zip(names, rng.standard_normal(n), strict=True))
        bank = rng.standard_normal(max(m, 1))
        pairs = [_pair(of[a], of[b], bank if m else None, rng) for a, b in cell.pairs]
        p = against_null(pairs, cell, "cosine", {}).p
        rejected += p is not None and p < 0.05
    return rejected / draws


def _pair(one: float, two: float, bank: Any, rng: np.random.Generator) -> dict[str, Any]:
    held: dict[str, Any] = {"mean": 0.0, "sd": 1.0, "draws": 0}
    if bank is not None:
        values = (one + two) / 2 + bank + 0.3 * rng.standard_normal(len(bank))
        held = {"mean": values.mean(), "sd": values.std(ddof=1), "draws": len(bank)}
    return {
        "cosine": one + two + 0.3 * rng.standard_normal(),
        "null_used": {"cosine": "n"},
        "nulls": {"n": dict.fromkeys(MEASURES, held)},
    }


def main(draws: int) -> None:
    """Print every table."""
    rng = np.random.default_rng(0)
    designs = {
        "organisms, 18 runs of 8 tasks": organisms(),
        "5 tasks x 3 seeds": crossed(5, 3, 2, 2),
        "6 tasks x 2 seeds": crossed(6, 2, 3, 2),
        "12 tasks x 2 seeds": crossed(12, 2, 3, 4),
    }
    for name, levels in designs.items():
        for kind, spread in SPREADS.items():
            print(f"{name}; {kind}:", coverage(levels, spread, draws, rng))
    by_adapter = coverage(
        designs["6 tasks x 2 seeds"], SPREADS["tasks differ most"], draws, rng, by_task=False
    )
    print("6 tasks x 2 seeds; tasks differ most; adapters deleted instead:", by_adapter)
    for n in (3, 4, 6, 10):
        print(f"level of {n} replicates, bank of 0, 7, 19:",
              [level(n, m, draws, rng) for m in (0, 7, 19)])  # fmt: skip


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
