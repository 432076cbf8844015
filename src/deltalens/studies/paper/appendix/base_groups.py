"""Groups of organisms against the base weights: the paper's tests, and ours beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.boxes import Boxes, boxes_figure
from deltalens.figures.groups import Group
from deltalens.organisms.roster import RosterEntry
from deltalens.report.page import Cell as Shown
from deltalens.report.page import TableBlock, or_missing
from deltalens.studies.groups.cells import Cell
from deltalens.studies.groups.layers import layer_values
from deltalens.studies.groups.paper import CAVEAT, paper_tests
from deltalens.studies.groups.rows import GroupTest
from deltalens.studies.paper.estimates import pair_values
from deltalens.studies.paper.relations import is_repeat, tasks

MEASURES: Mapping[str, str] = {
    "angle_deg": "mean principal angle, degrees",
    "pc_cosine": "PC cosine",
    "overlap": "input-side overlap",
}
GROUPS = ("bad", "narrow", "benign")
_BASE = "base"


@dataclass(frozen=True)
class BaseGroups:
    """What the base has in common with each group, and the tests of a difference.

    Attributes:
        values: measure -> group -> organism -> value, mean over modules and layers.
        tests: the paper's, over layers, and ours, over tasks.
    """

    values: Mapping[str, Mapping[str, Mapping[str, float]]]
    tests: tuple[GroupTest, ...]


def base_groups(comparison: Result, entries: Sequence[RosterEntry]) -> BaseGroups:
    """Compare the groups by what they share with the base weights.

    Args:
        comparison: of all organisms, with the base.
        entries: the organisms.
    """
    members = {
        group: [e.name for e in entries if e.group == group and not is_repeat(e)]
        for group in GROUPS
    }
    named = tasks(entries)
    by_layer = layer_values(comparison, tuple(MEASURES))
    values: dict[str, dict[str, dict[str, float]]] = {}
    tests: list[GroupTest] = []
    for measure in MEASURES:
        held = pair_values(comparison, measure)
        values[measure] = {
            group: {n: v for n in names if (v := held.get(frozenset((n, _BASE)))) is not None}
            for group, names in members.items()
        }
        found = [
            Cell(_BASE, group, "other", "unknown", tuple((n, _BASE) for n in names))
            for group, names in members.items()
        ]
        tests += paper_tests(found, measure, by_layer[measure])
        tests.append(_over_tasks(values[measure], named, measure))
    return BaseGroups(values, tuple(tests))


def _over_tasks(
    values: Mapping[str, Mapping[str, float]], named: Mapping[str, str], measure: str
) -> GroupTest:
    """Mann-Whitney of bad against benign, a value a task: exact, and with few tasks."""
    from scipy.stats import mannwhitneyu

    x, y = (_by_task(values[group], named) for group in ("bad", "benign"))
    outcome = mannwhitneyu(x, y, alternative="two-sided", method="exact")
    smallest = min(1.0, 2.0 / comb(len(x) + len(y), len(x)))
    return GroupTest(
        variant="tasks",
        test="Mann-Whitney over tasks",
        measure=measure,
        seeds="other",
        compared="base - bad against base - benign",
        statistic=float(outcome.statistic),
        p=float(outcome.pvalue),
        p_smallest=smallest,
        p_adjusted=float(outcome.pvalue),
        p_fdr=None,
        correction="none",
        family="one test a measure",
        p_smallest_adjusted=smallest,
        n=len(x) + len(y),
        reason="too few tasks for p = .05" if smallest > 0.05 else None,
    )


def _by_task(values: Mapping[str, float], named: Mapping[str, str]) -> list[float]:
    grouped: dict[str, list[float]] = {}
    for name, value in values.items():
        grouped.setdefault(named[name], []).append(value)
    return [float(np.mean(found)) for found in grouped.values()]


def base_figure(found: BaseGroups, measure: str) -> Figure:
    """A row a group, a point a run."""
    colours = {"bad": 0, "narrow": 1, "benign": 2}
    rows = tuple(
        Group(f"base - {group}", tuple(values.values()), family=colours[group])
        for group, values in found.values[measure].items()
    )
    return boxes_figure(
        Boxes(f"Against the base weights: {MEASURES[measure]}", MEASURES[measure], rows)
    )


def base_table(found: BaseGroups) -> TableBlock:
    """Every test with the smallest p that it could reach."""
    rows = tuple(
        (t.measure, t.test, t.compared, t.statistic, _p(t.p, t), _p(t.p_adjusted, t),
         _p(t.p_smallest, t), t.n)
        for t in found.tests
    )  # fmt: skip
    columns = ("measure", "test", "compared", "statistic", "p", "corrected", "smallest p", "n")
    return TableBlock(columns, rows, CAVEAT, reason="no layers or tasks to rank")


def _p(value: float | None, test: GroupTest) -> Shown:
    return or_missing(value, test.reason or "this test states none")
