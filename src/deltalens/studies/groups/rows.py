"""The typed rows of a comparison of groups."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class GroupRow:
    """One measure over the pairs of one cell: `results/groups.parquet`.

    Attributes:
        a: label of the first group.
        b: label of the second one; `a` again within a group.
        seeds: `same`, `other` or `in part`: the measured initialisation; empty without pairs.
        tasks: `different`, `same` or `unknown`; empty without pairs.
        measure: named as in the pairs.
        mean: over pairs; None if no pair has a value.
        low: lower end of the interval of the mean, or None with a `reason`.
        high: upper end.
        df: degrees of freedom of the t quantile.
        method: how the interval was made, and over what.
        reason: why there is no mean, or no interval.
        n_runs: adapters behind the mean.
        n_tasks: tasks behind it; None where they are not known.
        n_pairs: pairs with a value.
        n_missing: pairs without one.
        null: the null of every pair of the row, or None with `null_reason`.
        null_mean: its mean over the pairs.
        null_reason: why there is no null or no p.
        p: of a mean as far or further on the side of likeness, `t = excess / standard error`.
        p_smallest: the smallest p that could have been reached; 0 for a t test.
        p_holm: Holm's correction of p over the rows of this measure.
        verdict: one sentence from fixed rules.
    """

    a: str
    b: str
    seeds: str
    tasks: str
    measure: str
    mean: float | None
    low: float | None
    high: float | None
    df: float | None
    method: str
    reason: str | None
    n_runs: int
    n_tasks: int | None
    n_pairs: int
    n_missing: int
    null: str | None
    null_mean: float | None
    null_reason: str | None
    p: float | None
    p_smallest: float | None
    p_holm: float | None
    verdict: str


@dataclass(frozen=True)
class GroupLayerRow:
    """One measure over the pairs of one cell at one layer: `results/group_layers.parquet`."""

    a: str
    b: str
    seeds: str
    tasks: str
    measure: str
    layer: int
    mean: float | None
    low: float | None
    high: float | None
    reason: str | None


@dataclass(frozen=True)
class GroupTest:
    """A test of a difference between groups: `results/group_tests.parquet`.

    Attributes:
        variant: `tasks` or `adapters` (what is permuted: ours), or `paper` (layers as samples).
        test: which test.
        measure: named as in the pairs.
        seeds: of the pairs that it is made of.
        compared: what is set against what.
        statistic: the value of the test statistic; None if undefined.
        p: None with a reason.
        p_smallest: the smallest p that it could have reached.
        p_adjusted: corrected over the `family`.
        p_fdr: Benjamini and Hochberg's over the same family; None for the paper's.
        correction: of `p_adjusted`: `holm`, `bonferroni` or `none`.
        family: the tests that were corrected together.
        p_smallest_adjusted: the smallest corrected p that the family could have reached.
        n: replicates (tasks, adapters, or layers for `paper`).
        reason: why there is no p, or why it cannot become small.
    """

    variant: str
    test: str
    measure: str
    seeds: str
    compared: str
    statistic: float | None
    p: float | None
    p_smallest: float | None
    p_adjusted: float | None
    p_fdr: float | None
    correction: str
    family: str
    p_smallest_adjusted: float | None
    n: int
    reason: str | None
