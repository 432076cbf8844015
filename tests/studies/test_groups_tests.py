"""Tests of differences between groups: ours over tasks, and the paper's over layers."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from group_cases import document
from scipy import stats

from deltalens.studies.groups.cells import cells
from deltalens.studies.groups.contrasts import contrasts
from deltalens.studies.groups.paper import CAVEAT, paper_tests

TASKS = "abcdefg"
NAMES = [f"{task}{run}" for task in TASKS for run in "01"]
MEMBERS = {"x": [n for n in NAMES if n[0] in "abc"], "y": [n for n in NAMES if n[0] in "defg"]}
TASK = {name: name[0] for name in NAMES}


def planted(a: str, b: str) -> float:
    """Alike inside x by .3, the same task by .5, and a tilt that breaks ties."""
    tilt = 0.001 * (ord(a[0]) * ord(b[0]) % 7)
    return 0.1 + 0.3 * (a in MEMBERS["x"] and b in MEMBERS["x"]) + 0.5 * (a[0] == b[0]) + tilt


def ours(value=planted, members=MEMBERS, tasks=TASK, measures=("cosine",)):
    names = [n for each in members.values() for n in each]
    pairs = document(names, value)
    return contrasts(members, cells(members, pairs, tasks), pairs, tasks, measures, seed=0)


def test_a_planted_group_reaches_the_smallest_p_and_says_what_that_is() -> None:
    inside, outside = ours()
    assert (inside.variant, inside.n) == ("tasks", 7)
    assert inside.compared == "within x against x - y"
    assert inside.statistic == pytest.approx(0.3, abs=0.01)
    assert inside.p == inside.p_smallest == 1 / math.comb(7, 3)
    assert inside.p_adjusted == inside.p_smallest_adjusted == 2 / 35
    assert outside.p is not None
    assert outside.p > 0.05
    assert outside.p_fdr == outside.p
    assert inside.family == "cosine, other seed, every two groups: 2 tests"


def test_angles_count_the_other_way() -> None:
    (inside, _) = ours(measures=("angle_deg",), value=lambda a, b: -planted(a, b))
    assert inside.p == 1 / 35


def test_pairs_of_another_seed_relation_do_not_count() -> None:
    names = [n for each in MEMBERS.values() for n in each]
    same = lambda a, b: "all" if a[1] == b[1] else "none"  # noqa: E731
    pairs = document(names, lambda a, b: planted(a, b) if a[1] == b[1] else 99.0, shared=same)
    found = contrasts(MEMBERS, cells(MEMBERS, pairs, TASK), pairs, TASK, ("cosine",), seed=0)
    inside = next(t for t in found if t.seeds == "same")
    assert inside.statistic == pytest.approx(0.3, abs=0.01)
    assert {t.seeds for t in found} == {"same", "other"}


def test_without_tasks_adapters_are_permuted_and_it_says_so() -> None:
    inside, _ = ours(tasks={})
    assert (inside.variant, inside.n) == ("adapters", 14)
    assert inside.p_smallest == 1 / math.comb(14, 6)


def test_too_few_tasks_say_how_many_are_needed() -> None:
    members = {"x": ["a0", "b0"], "y": ["d0", "e0"]}
    inside, outside = ours(members=members)
    assert inside.reason == "2 and 2 tasks reach p 0.17 at the least: 5 of y are needed for 0.05"
    assert outside.reason is not None
    (lonely, _) = ours(members={"x": ["a0"], "y": ["d0", "e0"]})
    assert lonely.p is None
    assert lonely.reason == "label 'x' has 1 task; a pair needs at least 2"


def test_a_task_with_two_labels_is_refused_by_name() -> None:
    found = ours(members={"x": ["a0", "b0", "c0"], "y": ["a1", "d0", "e0"]})
    assert {t.p for t in found} == {None}
    assert found[0].reason == "task 'a' has runs in x and in y: a task has one label"


def test_one_group_has_no_contrast() -> None:
    assert ours(members={"x": MEMBERS["x"]}) == []


def layer_document(rng: np.random.Generator):
    pairs = document(NAMES, planted)
    layers = {
        frozenset((p["a"], p["b"])): {
            layer: p["cosine"] + 0.05 * rng.standard_normal() for layer in range(6)
        }
        for p in pairs
    }
    return cells(MEMBERS, pairs, TASK), layers


def test_the_papers_tests_are_scipys_over_layer_means(rng: np.random.Generator) -> None:
    found, layers = layer_document(rng)
    samples = {
        (c.a, c.b): [np.mean([layers[frozenset(p)][i] for p in c.pairs]) for i in range(6)]
        for c in found
        if c.tasks == "different"
    }
    kruskal, *pairwise = paper_tests(found, "cosine", layers)
    assert kruskal.p == pytest.approx(stats.kruskal(*samples.values()).pvalue)
    assert (kruskal.n, len(pairwise)) == (18, 3)
    for test, (one, two) in zip(pairwise, combinations(samples.values(), 2), strict=True):
        p = stats.mannwhitneyu(one, two, alternative="two-sided").pvalue
        assert test.p == pytest.approx(p)
        assert test.p_adjusted == pytest.approx(min(1.0, 3 * p))
        assert test.p_smallest == pytest.approx(2 / math.comb(12, 6))
    assert {t.variant for t in (kruskal, *pairwise)} == {"paper"}
    assert "support nothing" in CAVEAT


def test_the_papers_tests_say_why_they_cannot_be_made(rng: np.random.Generator) -> None:
    found, layers = layer_document(rng)
    one_layer = {pair: {0: values[0]} for pair, values in layers.items()}
    for test in paper_tests(found, "cosine", one_layer):
        assert test.p is None
        assert "has 1 layers with a value; at least 2 needed" in (test.reason or "")
    flat = {pair: dict.fromkeys(range(4), 0.5) for pair in layers}
    assert {t.reason for t in paper_tests(found, "cosine", flat)} == {"every value is the same"}
    assert paper_tests(found[:1], "cosine", layers) == []
