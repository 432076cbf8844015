"""Label permutation: exact by counting, its level by simulation, the task as replicate."""

from __future__ import annotations

from itertools import combinations, permutations
from math import comb

import numpy as np
import pytest

from deltalens.errors import OptionError
from deltalens.geometry.nulls.labels import Statistic, permute_labels


def labelled(m: int, n: int) -> tuple[list[str], dict[str, str]]:
    tasks = [f"t{i}" for i in range(m + n)]
    return tasks, {t: "em" if i < m else "benign" for i, t in enumerate(tasks)}


def symmetric(rng: np.random.Generator, n: int) -> np.ndarray:
    X = rng.standard_normal((n, n))
    return X + X.T


def slow(
    values: np.ndarray, tasks: list[str], labels: dict[str, str], statistic: Statistic
) -> tuple[float, float]:
    """Observed difference and p by going through every order of the labels."""
    names = sorted(set(tasks))

    def difference(label: dict[str, str]) -> float:
        inside: list[float] = []
        across: list[float] = []
        for a, b in combinations(names, 2):
            runs = [
                values[i, j]
                for i, x in enumerate(tasks)
                for j, y in enumerate(tasks)
                if (x, y) == (a, b) and not np.isnan(values[i, j])
            ]
            if not runs:
                continue
            pair = {label[a], label[b]}
            if pair == {"em"} or (pair == {"benign"} and statistic == "contrast"):
                inside.append(float(np.mean(runs)))
            elif len(pair) == 2:
                across.append(float(np.mean(runs)))
        return float(np.mean(inside) - np.mean(across))

    observed = difference(labels)
    every = [
        difference(dict(zip(names, order, strict=True)))
        for order in set(permutations([labels[n] for n in names]))
    ]
    return observed, float(np.mean(np.array(every) >= observed - 1e-12))


@pytest.mark.parametrize("statistic", ["within", "contrast"])
@pytest.mark.parametrize("sizes", [(2, 3), (3, 3), (4, 2)])
def test_counting_agrees_with_every_order_of_the_labels(
    statistic: Statistic, sizes: tuple[int, int], rng
) -> None:
    tasks, labels = labelled(*sizes)
    runs = [*tasks, tasks[0], tasks[-1]]  # two tasks with two runs
    values = symmetric(rng, len(runs))
    values[0, 2] = values[2, 0] = np.nan
    found = permute_labels(values, runs, labels, label="em", statistic=statistic)
    observed, p = slow(values, runs, labels, statistic)
    assert found.statistic == pytest.approx(observed)
    assert found.p == pytest.approx(p)
    assert found.exact
    assert (found.n_assignments, found.n_tasks) == (comb(sum(sizes), sizes[0]), sizes)


@pytest.mark.parametrize(
    ("sizes", "statistic", "smallest"),
    [
        ((3, 5), "within", 1 / 56),
        ((3, 5), "contrast", 1 / 56),
        ((4, 4), "within", 1 / 70),
        ((4, 4), "contrast", 2 / 70),  # the other half carries the same statistic
    ],
)
def test_the_smallest_p_is_reached_by_a_perfect_effect(
    sizes: tuple[int, int], statistic: Statistic, smallest: float, rng
) -> None:
    tasks, labels = labelled(*sizes)
    em = np.array([labels[t] == "em" for t in tasks])
    values = 0.01 * symmetric(rng, len(tasks)) + np.outer(em, em)
    if statistic == "contrast":
        values += np.outer(~em, ~em)
    found = permute_labels(values, tasks, labels, label="em", statistic=statistic)
    assert found.p == found.p_smallest == pytest.approx(smallest)


def test_drawing_agrees_with_counting(rng) -> None:
    tasks, labels = labelled(4, 5)
    values = symmetric(rng, 9)
    exact = permute_labels(values, tasks, labels, label="em")
    drawn = permute_labels(values, tasks, labels, label="em", exact_up_to=10, draws=4000, rng=rng)
    assert (drawn.exact, drawn.n_assignments) == (False, 4000)
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(exact.p / 4000) + 1 / 4000)
    assert drawn.p_smallest == max(1 / 4001, 1 / comb(9, 4))


def test_draws_depend_on_the_generator_alone() -> None:
    tasks, labels = labelled(3, 4)
    values = symmetric(np.random.default_rng(3), 7)
    one, two = (
        permute_labels(
            values, tasks, labels, label="em", exact_up_to=1, draws=99, rng=np.random.default_rng(8)
        )
        for _ in range(2)
    )
    assert one == two


def replicated(rng: np.random.Generator, runs: int, strength: float = 0.0) -> np.ndarray:
    """Inner products of tasks' vectors, seen in several runs; `strength` of a common direction."""
    each = rng.standard_normal((8, 12))
    each[:4] += strength * rng.standard_normal(12)
    noisy = np.repeat(each, runs, axis=0) + 0.3 * rng.standard_normal((8 * runs, 12))
    unit = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
    return unit @ unit.T


def test_the_level_over_tasks_and_what_permuting_runs_would_give() -> None:
    tasks, labels = labelled(4, 4)
    runs = [t for t in tasks for _ in range(3)]
    alone = {f"{t}/{i}": labels[t] for i, t in enumerate(runs)}
    rng = np.random.default_rng(5)
    over_tasks: list[float] = []
    over_runs: list[float] = []
    for _ in range(300):
        values = replicated(rng, 3)
        over_tasks.append(permute_labels(values, runs, labels, label="em").p)
        naive = permute_labels(values, list(alone), alone, label="em", draws=99, rng=rng)
        over_runs.append(naive.p)
    error = 3 * np.sqrt(0.05 * 0.95 / 300)
    assert np.mean(np.array(over_tasks) <= 0.05) < 0.05 + error
    assert 0.4 < np.mean(over_tasks) < 0.6
    assert np.mean(np.array(over_runs) <= 0.05) > 0.05 + 2 * error  # repeats taken for evidence


def test_power_for_a_common_direction() -> None:
    tasks, labels = labelled(4, 4)
    rng = np.random.default_rng(6)
    p = [permute_labels(replicated(rng, 1, 1.5), tasks, labels, label="em").p for _ in range(40)]
    assert np.mean(np.array(p) <= 0.05) > 0.6


def test_pairs_of_one_task_do_not_count(rng) -> None:
    tasks, labels = labelled(2, 3)
    runs = [t for t in tasks for _ in range(2)]
    values = symmetric(rng, 10)
    changed = values.copy()
    for i in range(0, 10, 2):
        changed[i : i + 2, i : i + 2] = 1e6  # repeats are alike, which is no news
    one, two = (permute_labels(v, runs, labels, label="em") for v in (values, changed))
    assert one == two


def test_assignments_without_a_mean_count_against_the_claim(rng) -> None:
    tasks, labels = labelled(2, 3)
    values = symmetric(rng, 5)
    values[0, 1] = values[1, 0] = 100.0
    assert permute_labels(values, tasks, labels, label="em").p == pytest.approx(1 / 10)
    values[3, 4] = values[4, 3] = np.nan  # so {3, 4} as the label would have no pair
    assert permute_labels(values, tasks, labels, label="em").p == pytest.approx(2 / 10)


@pytest.mark.parametrize(
    ("tasks", "labels", "label", "message"),
    [
        (["a", "b"], {"a": "em", "b": "em"}, "em", "labels found are em; two are needed"),
        (
            ["a", "b", "c"],
            {"a": "x", "b": "y", "c": "z"},
            "x",
            "labels found are x, y, z; two are needed, one of them 'x'",
        ),
        (["a", "b"], {"a": "x", "b": "y"}, "em", "two are needed, one of them 'em'"),
        (["a", "b"], {"a": "em"}, "em", "task 'b' has no label; every task needs one"),
        (["a", "b"], {"a": "em", "b": "y"}, "em", "label 'em' has 1 task; a pair needs at least 2"),
    ],
)
def test_designs_that_cannot_be_tested(
    tasks: list[str], labels: dict[str, str], label: str, message: str
) -> None:
    values = np.zeros((len(tasks), len(tasks)))
    with pytest.raises(OptionError) as caught:
        permute_labels(values, tasks, labels, label=label)
    assert message in str(caught.value)


def test_values_of_another_size() -> None:
    tasks, labels = labelled(2, 2)
    with pytest.raises(OptionError, match=r"values are \[3, 3\] for 4 adapters; \[4, 4\] is"):
        permute_labels(np.zeros((3, 3)), tasks, labels, label="em")


def test_a_mean_without_values() -> None:
    tasks, labels = labelled(2, 2)
    values = np.zeros((4, 4))
    values[0, 1] = values[1, 0] = np.nan
    with pytest.raises(OptionError, match="label 'em': no pair of tasks with a value inside it"):
        permute_labels(values, tasks, labels, label="em")


def test_drawing_needs_a_generator() -> None:
    tasks, labels = labelled(10, 10)
    with pytest.raises(OptionError, match="184756 assignments are too many to count"):
        permute_labels(np.zeros((20, 20)), tasks, labels, label="em")
