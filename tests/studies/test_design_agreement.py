"""Agreement of seeds in a design: which tasks count, and that a planted arrangement is found."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest

from deltalens.studies.design.agreement import MEASURES, agreement_rows

TASKS: tuple[str, ...] = ("a", "b", "c", "d", "e")


def documents(names: list[str], tasks: list[str], seeds: list[str]) -> dict[frozenset[str], Any]:
    """Similarity of two tasks is fixed; one seed adds .3 and doubles."""
    rng = np.random.default_rng(0)
    alike = {frozenset(p): float(rng.random()) for p in combinations(TASKS, 2)}
    found: dict[frozenset[str], Any] = {}
    for i, j in combinations(range(len(names)), 2):
        value = alike.get(frozenset((tasks[i], tasks[j])), 1.0)
        if seeds[i] == seeds[j] == "1":
            value = 0.3 + 2 * value
        found[frozenset((names[i], names[j]))] = dict.fromkeys(MEASURES, value)
    return found


def rows(tasks: list[str], seeds: list[str]) -> list[Any]:
    names = [f"{t}{s}{n}" for n, (t, s) in enumerate(zip(tasks, seeds, strict=True))]
    pairs = documents(names, tasks, seeds)
    return agreement_rows({"task": tasks, "seed": seeds}, names, pairs, seed=0)


def test_what_a_seed_adds_to_all_does_not_count() -> None:
    found = rows([*TASKS, *reversed(TASKS)], ["0"] * 5 + ["1"] * 5)
    assert [r.measure for r in found] == list(MEASURES)
    for row in found:
        assert (row.seed_a, row.seed_b, row.n_tasks) == ("0", "1", 5)
        assert row.correlation == pytest.approx(1.0)
        assert row.p == pytest.approx(1 / 120) == row.p_smallest


def test_two_runs_of_a_task_are_averaged() -> None:
    found = rows([*TASKS, *TASKS, "a"], ["0"] * 5 + ["1"] * 5 + ["0"])
    assert found[0].correlation == pytest.approx(1.0)
    assert found[0].n_tasks == 5


def test_too_few_common_tasks_and_tables_without_them_give_no_rows() -> None:
    assert rows([*TASKS, "a", "b", "c"], ["0"] * 5 + ["1"] * 3) == []
    assert agreement_rows({"task": ["a", "b"]}, ["x", "y"], {}, seed=0) == []
