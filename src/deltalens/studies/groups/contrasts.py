"""Is a group more alike inside than across to another one? Labels are permuted over tasks.

One test for each ordered two groups, measure and seed relation; Holm's correction (and Benjamini
and Hochberg's, beside it) over those of one measure and seed relation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np

from deltalens.core.shapes import Array, Float
from deltalens.errors import OptionError
from deltalens.geometry.nulls.labels import LabelTest, permute_labels
from deltalens.stats.multiplicity import benjamini_hochberg, holm, smallest_adjusted_p
from deltalens.studies.compare.rows import SMALLER_IS_ALIKE
from deltalens.studies.groups.cells import SEEDS, Cell
from deltalens.studies.groups.rows import GroupTest

LEVEL = 0.05
TEST = "labels permuted: mean within less mean across"
Members = Mapping[str, Sequence[str]]


def contrasts(
    members: Members,
    found: Sequence[Cell],
    pairs: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, str],
    measures: Sequence[str],
    *,
    seed: int,
) -> list[GroupTest]:
    """Every test, corrected over its family.

    Args:
        members: label -> adapters.
        found: the cells, which say in which seed relation a pair stands.
        pairs: the pair documents of `compare`.
        tasks: adapter -> task; where one is not known, each adapter counts as a task of its own.
        measures: which measures.
        seed: of the draws, where there are too many assignments to count.
    """
    every = [name for names in members.values() for name in names]
    known = all(name in tasks for name in every)
    unit = {name: tasks[name] if known else name for name in every}
    document = {frozenset((p["a"], p["b"])): p for p in pairs}
    tests: list[GroupTest] = []
    for measure in measures:
        for seeds in SEEDS:
            chosen = {frozenset(pair) for c in found if c.seeds == seeds for pair in c.pairs}
            values = {pair: _likeness(document[pair], measure) for pair in chosen}
            family = [
                _test(members, ends, measure, seeds, values, unit, known=known, seed=seed)
                for ends in permutations(members, 2)
                if _is_asked(members, ends, chosen)
            ]
            tests += _corrected(family, measure, seeds)
    return tests


def _likeness(pair: Mapping[str, Any], measure: str) -> float:
    """Grows with likeness; NaN where it is undefined."""
    value = pair[measure]
    if value is None:
        return math.nan
    return -value if measure in SMALLER_IS_ALIKE else value


def _is_asked(members: Members, ends: tuple[str, str], chosen: set[frozenset[str]]) -> bool:
    return any(frozenset((a, b)) in chosen for a in members[ends[0]] for b in members[ends[1]])


def _test(
    members: Members,
    ends: tuple[str, str],
    measure: str,
    seeds: str,
    values: Mapping[frozenset[str], float],
    unit: Mapping[str, str],
    *,
    known: bool,
    seed: int,
) -> GroupTest:
    names = [name for label in ends for name in members[label]]
    outcome: LabelTest | None = None
    sizes = [len({unit[name] for name in members[label]}) for label in ends]
    try:
        _require_apart(members, ends, unit)
        outcome = permute_labels(
            _matrix(names, values),
            [unit[name] for name in names],
            {unit[name]: label for label in ends for name in members[label]},
            label=ends[0],
            rng=np.random.default_rng([seed, 4]),
        )
        reason = _too_few(outcome, ends, "tasks" if known else "adapters")
    except OptionError as refused:
        reason = str(refused)
    return GroupTest(
        variant="tasks" if known else "adapters",
        test=TEST,
        measure=measure,
        seeds=seeds,
        compared=f"within {ends[0]} against {ends[0]} - {ends[1]}",
        statistic=None if outcome is None else outcome.statistic,
        p=None if outcome is None else outcome.p,
        p_smallest=None if outcome is None else outcome.p_smallest,
        p_adjusted=None,
        p_fdr=None,
        correction="holm",
        family="",
        p_smallest_adjusted=None,
        n=sum(sizes),
        reason=reason,
    )


def _require_apart(members: Members, ends: tuple[str, str], unit: Mapping[str, str]) -> None:
    first, second = ({unit[name] for name in members[label]} for label in ends)
    both = sorted(first & second)
    if both:
        raise OptionError(
            f"task {both[0]!r} has runs in {ends[0]} and in {ends[1]}: a task has one label"
        )


def _matrix(names: Sequence[str], values: Mapping[frozenset[str], float]) -> Float[Array, "n n"]:
    return np.array([[values.get(frozenset((a, b)), math.nan) for b in names] for a in names])


def _too_few(found: LabelTest, ends: tuple[str, str], what: str) -> str | None:
    """Why no such test can reach .05, with the number that could; None where this one can."""
    if found.p_smallest <= LEVEL:
        return None
    m, n = found.n_tasks
    needed = next(k for k in range(n + 1, 100) if math.comb(m + k, m) >= 1.0 / LEVEL)
    return (
        f"{m} and {n} {what} reach p {found.p_smallest:.2g} at the least: "
        f"{needed} of {ends[1]} are needed for {LEVEL:g}"
    )


def _corrected(family: Sequence[GroupTest], measure: str, seeds: str) -> list[GroupTest]:
    known = [test.p_smallest for test in family if test.p_smallest is not None]
    if not known:
        return list(family)
    name = f"{measure}, {seeds} seed, every two groups: {len(known)} tests"
    p = [test.p for test in family]
    strict, mild = holm(p, family=name).p, benjamini_hochberg(p, family=name).p
    reachable = smallest_adjusted_p(len(known), min(known))
    return [
        replace(
            test,
            family=name,
            p_adjusted=strict[i],
            p_fdr=mild[i],
            p_smallest_adjusted=None if test.p is None else reachable,
        )
        for i, test in enumerate(family)
    ]
