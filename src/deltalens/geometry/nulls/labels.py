"""Label permutation over tasks: are tasks of one label more alike than tasks of two?

The task is the replicate: its runs (seeds, data orders) keep their task, and labels are exchanged
between tasks. Permuting adapters instead takes repeats of one task for evidence, and rejects .24
at level .05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from deltalens.core.shapes import Array, Bool, Float
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.stats.resample import monte_carlo_p, smallest_reachable_p

EXACT_UP_TO = 20_000
_TIE = 1e-12
Statistic = Literal["within", "contrast"]


@dataclass(frozen=True)
class LabelTest:
    """The outcome.

    Attributes:
        statistic: the observed difference of means, in the units of the measure.
        p: upper tail.
        p_smallest: the smallest that p could have been.
        exact: whether every assignment was counted.
        n_assignments: assignments counted or drawn.
        n_tasks: tasks of the label in question, and of the other.
    """

    statistic: float
    p: float
    p_smallest: float
    exact: bool
    n_assignments: int
    n_tasks: tuple[int, int]


def permute_labels(
    values: Float[Array, "n n"],
    tasks: Sequence[str],
    labels: Mapping[str, str],
    *,
    label: str,
    statistic: Statistic = "within",
    draws: int = 9999,
    exact_up_to: int = EXACT_UP_TO,
    rng: np.random.Generator | None = None,
) -> LabelTest:
    """Permutation test of a measure of pairs, over tasks.

    Runs are averaged first, to a matrix of tasks; pairs of one task do not count. `"within"` is
    the mean over pairs of tasks of the label less the mean over pairs that have one of it;
    `"contrast"` takes the pairs inside either label instead, and is symmetric: with labels of
    equal size every assignment has a twin, and the smallest p is `2 / C(tasks, m)`.

    Args:
        values: symmetric; NaN where a pair is undefined or not part of the question (pairs of
            another seed relation, for example).
        tasks: task of each adapter.
        labels: label of each task, two of them in all.
        label: the one in question.
        statistic: which difference.
        draws: assignments drawn where there are too many to count.
        exact_up_to: count every assignment up to so many.
        rng: source of the draws; needed only for them.

    Returns:
        `p = #{T >= observed} / C(tasks, m)`, the observed assignment being one of them; with draws
        `(1 + #) / (draws + 1)`.

    Raises:
        OptionError: for tasks without a label, labels that are not two, fewer than 2 tasks of the
            label, pairs that leave a mean without a value, or draws without `rng`.
    """
    names = _tasks(values, tasks, labels, label)
    chosen = np.array([labels[t] == label for t in names])
    m, t = int(chosen.sum()), len(names)
    M = _task_means(values, [names.index(task) for task in tasks], t)
    observed = float(_differences(M, chosen[None], statistic)[0])
    if not math.isfinite(observed):
        raise OptionError(
            f"label {shown(label)!r}: no pair of tasks with a value inside it, or none across; "
            "both are needed"
        )
    total = math.comb(t, m)
    symmetric = 2 if statistic == "contrast" and 2 * m == t else 1
    if total <= exact_up_to:
        found = _differences(M, _every(t, m), statistic)
        # An assignment whose means are undefined counts against the claim.
        reached = int(np.sum(~(found < observed - _TIE * max(abs(observed), 1.0))))
        return LabelTest(observed, reached / total, symmetric / total, True, total, (m, t - m))
    if rng is None:
        raise OptionError(f"{total} assignments are too many to count; drawing them needs rng")
    drawn = np.stack([rng.permutation(chosen) for _ in range(draws)])
    found = _differences(M, drawn, statistic)
    p = monte_carlo_p(observed, np.where(np.isfinite(found), found, observed))
    smallest = max(smallest_reachable_p(draws), symmetric / total)
    return LabelTest(observed, p or 1.0, smallest, False, draws, (m, t - m))


def _tasks(values: Array, tasks: Sequence[str], labels: Mapping[str, str], label: str) -> list[str]:
    """The distinct tasks, in order of appearance."""
    if values.shape != (len(tasks), len(tasks)):
        raise OptionError(
            f"values are {list(values.shape)} for {len(tasks)} adapters; "
            f"{[len(tasks)] * 2} is allowed"
        )
    names = list(dict.fromkeys(tasks))
    for task in names:
        if task not in labels:
            raise OptionError(f"task {shown(task)!r} has no label; every task needs one")
    found = sorted({labels[task] for task in names})
    if len(found) != 2 or label not in found:
        raise OptionError(
            f"labels found are {', '.join(map(shown, found))}; two are needed, "
            f"one of them {shown(label)!r}"
        )
    m = sum(labels[task] == label for task in names)
    if m < 2:
        raise OptionError(f"label {shown(label)!r} has {m} task; a pair needs at least 2")
    return names


def _task_means(values: Array, index: Sequence[int], t: int) -> Array:
    """Mean over the runs of each pair of tasks; NaN on the diagonal and where nothing is known."""
    member = np.zeros((len(index), t))
    member[np.arange(len(index)), index] = 1.0
    known = np.isfinite(values)
    total = member.T @ np.where(known, values, 0.0) @ member
    count = member.T @ known.astype(float) @ member
    np.fill_diagonal(count, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(count > 0, total / count, np.nan)


def _every(t: int, m: int) -> Bool[Array, "p t"]:
    rows = np.array(list(combinations(range(t), m)))
    found = np.zeros((len(rows), t), dtype=bool)
    np.put_along_axis(found, rows, True, axis=1)
    return found


def _differences(
    M: Float[Array, "t t"], chosen: Bool[Array, "p t"], statistic: Statistic
) -> Float[Array, " p"]:
    """The statistic of each assignment; NaN where one of its means has no pair."""
    known = np.isfinite(M).astype(float)
    filled = np.where(known > 0, M, 0.0)
    X, Y = chosen.astype(float), (~chosen).astype(float)

    def total(S: Array, left: Array, right: Array) -> Array:
        return np.einsum("pt,pt->p", left @ S, right)

    inside, n_inside = (total(S, X, X) / 2 for S in (filled, known))
    if statistic == "contrast":
        inside, n_inside = (
            each + total(S, Y, Y) / 2 for each, S in ((inside, filled), (n_inside, known))
        )
    across, n_across = (total(S, X, Y) for S in (filled, known))
    with np.errstate(divide="ignore", invalid="ignore"):
        return inside / n_inside - across / n_across
