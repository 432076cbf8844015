"""Means over pairs that share runs: against a slow reference, and their level by simulation."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from group_cases import document, noisy

from deltalens.stats.resample import jackknife_pairs
from deltalens.studies.compare.rows import MEASURES
from deltalens.studies.groups.cells import Cell, cells
from deltalens.studies.groups.means import against_null, cell_mean
from deltalens.studies.groups.rows import GroupRow
from deltalens.studies.groups.table import group_rows, layer_rows
from deltalens.studies.groups.verdict import sentence

NAMES = [f"{task}{run}" for task in "abcde" for run in "01"]
TASK = {name: name[0] for name in NAMES}


def within(pairs: list, tasks: dict[str, str]) -> Cell:
    (cell,) = cells({"x": sorted({p["a"] for p in pairs} | {p["b"] for p in pairs})}, pairs, tasks)
    return cell


def test_the_interval_deletes_tasks_where_they_are_known(rng: np.random.Generator) -> None:
    value = noisy(NAMES, rng)
    found = cells({"x": NAMES}, document(NAMES, value), TASK)
    (cell,) = (c for c in found if c.tasks == "different")
    values = {pair: value(*pair) for pair in cell.pairs}
    mean = float(np.mean(list(values.values())))
    left = [
        np.mean([v for pair, v in values.items() if task not in (TASK[pair[0]], TASK[pair[1]])])
        for task in "abcde"
    ]
    interval = cell_mean(values, cell, TASK).interval
    se = np.sqrt(4 / 5 * np.sum((np.array(left) - mean) ** 2))
    assert interval.estimate == pytest.approx(mean)
    assert interval.low == pytest.approx(mean - 2.7764451 * se)
    assert (interval.n, interval.method) == (5, "jackknife over tasks, within one set")


def test_without_tasks_it_deletes_adapters(rng: np.random.Generator) -> None:
    value = noisy(NAMES[:4], rng)
    pairs = document(NAMES[:4], value)
    values = {(p["a"], p["b"]): p["cosine"] for p in pairs}
    cell = within(pairs, {})
    assert cell_mean(values, cell, {}) == jackknife_pairs(values)


def test_between_groups_runs_of_a_task_are_averaged_first(rng: np.random.Generator) -> None:
    value = noisy(NAMES, rng)
    members = {"x": NAMES[:4], "y": NAMES[4:]}
    found = cells(members, document(NAMES, value), TASK)
    cell = next(c for c in found if not c.within)
    values = {pair: value(*pair) for pair in cell.pairs}
    by_task = {
        (s, t): float(np.mean([v for (a, b), v in values.items() if (a[0], b[0]) == (s, t)]))
        for s in "ab"
        for t in "cde"
    }
    expected = jackknife_pairs(by_task, design="between")
    interval = cell_mean(values, cell, TASK).interval
    assert interval.estimate == pytest.approx(expected.interval.estimate)
    assert interval.reason == "n = 2 and 3 tasks: an interval needs at least 3 in each set"


def test_a_task_in_both_groups_is_deleted_from_both(rng: np.random.Generator) -> None:
    value = noisy(NAMES, rng)
    members = {"x": [n for n in NAMES if n[1] == "0"], "y": [n for n in NAMES if n[1] == "1"]}
    found = cells(members, document(NAMES, value), TASK)
    for cell in (c for c in found if not c.within):
        interval = cell_mean({p: value(*p) for p in cell.pairs}, cell, TASK).interval
        assert (interval.n, interval.low is None) == (5, False)


@pytest.mark.parametrize("bank", [False, True])
def test_the_test_against_a_null_keeps_its_level(bank: bool) -> None:
    """Runs are random, and so is the bank; p at .05 rejects near .05 (t of 5 tasks, 300 draws)."""
    rng = np.random.default_rng(3)
    names = list("abcde")
    rejected = 0
    for _ in range(300):
        of = dict(zip(names, rng.standard_normal(5), strict=True))
        members = rng.standard_normal(7)
        pairs = document(names, lambda a, b, of=of: of[a] + of[b] + 0.3 * rng.standard_normal(),
                         null="bank" if bank else "haar")  # fmt: skip
        for p in pairs:
            u = of[p["a"]] / 2 + of[p["b"]] / 2  # both directions of the bank, averaged
            held = {"mean": 0.0, "sd": 1.0, "draws": 0}
            if bank:
                drawn = u + members
                held = {"mean": float(drawn.mean()), "sd": float(drawn.std(ddof=1)), "draws": 7}
            p["nulls"] = {next(iter(p["nulls"])): dict.fromkeys(MEASURES, held)}
        null = against_null(pairs, within(pairs, {}), "cosine", {})
        assert null.p is not None
        rejected += null.p < 0.05
    assert 0.02 <= rejected / 300 <= 0.09


def test_p_grows_with_likeness_and_angles_count_the_other_way() -> None:
    rng = np.random.default_rng(1)
    value = noisy("abcd", rng, sd=0.01)
    pairs = document("abcd", lambda a, b: 0.8 + 0.01 * value(a, b))
    cell = within(pairs, {})
    alike, angle = (against_null(pairs, cell, m, {}).p for m in ("overlap", "angle_deg"))
    assert alike is not None
    assert angle == pytest.approx(1 - alike)
    assert alike < 1e-3


def test_why_there_is_no_null() -> None:
    none = document("abcd", lambda a, b: 0.5, null=None)
    assert against_null(none, within(none, {}), "cosine", {}).reason == (
        "no null applies to these pairs"
    )
    mixed = document("abcd", lambda a, b: 0.5)
    mixed[0]["null_used"] = {}
    assert against_null(mixed, within(mixed, {}), "cosine", {}).reason == (
        "no null applies to 1 of 6 pairs"
    )
    mixed[0]["null_used"] = dict.fromkeys(MEASURES, "rotation")
    mixed[0]["nulls"] = {"rotation": mixed[0]["nulls"]["haar"]}
    assert against_null(mixed, within(mixed, {}), "cosine", {}).name == "haar or rotation"
    drawn = {"mean": 0.2, "sd": 0.1, "draws": 19}
    mixed[0]["nulls"] = {"rotation": dict.fromkeys(MEASURES, drawn)}
    assert against_null(mixed, within(mixed, {}), "cosine", {}).reason == (
        "the pairs have different nulls (haar, rotation)"
    )


def test_missing_stays_missing_and_is_counted(rng: np.random.Generator) -> None:
    value = noisy("abcde", rng)
    pairs = document("abcde", lambda a, b: None if a == "a" and b == "b" else value(a, b))
    rows = group_rows({"x": list("abcde")}, cells({"x": list("abcde")}, pairs, {}), pairs, {})
    assert {(r.n_pairs, r.n_missing, r.n_runs) for r in rows} == {(9, 1, 5)}
    empty = document("abc", lambda a, b: None)
    rows = group_rows({"x": list("abc")}, cells({"x": list("abc")}, empty, {}), empty, {})
    assert {(r.mean, r.reason, r.verdict) for r in rows} == {
        (None, "no pair has a value", "Undefined: no pair has a value.")
    }


def test_a_group_of_one_says_what_it_lacks() -> None:
    pairs = document("abc", lambda a, b: 0.5)
    members = {"x": ["a"], "y": ["b", "c"]}
    rows = group_rows(members, cells(members, pairs, {}), pairs, {})
    (row,) = (r for r in rows if (r.a, r.b, r.measure) == ("x", "x", "cosine"))
    assert row.mean is None
    assert row.reason == "group 'x' has 1 adapter, where a comparison within a group needs 2"
    assert {(r.a, r.b) for r in rows} == {("x", "x"), ("y", "y"), ("x", "y")}


def test_by_layer_a_layer_is_a_mean_of_its_own(rng: np.random.Generator) -> None:
    value = noisy("abcd", rng)
    pairs = document("abcd", value)
    found = cells({"x": list("abcd")}, pairs, {})
    layers = {frozenset(p): {0: value(*p), 3: 2 * value(*p)} for p in combinations("abcd", 2)}
    del layers[frozenset("ab")][3]
    first, second = layer_rows(found, "cosine", layers, {})
    assert (first.layer, second.layer) == (0, 3)
    assert first.mean == pytest.approx(np.mean([value(*p) for p in combinations("abcd", 2)]))
    rest = [2 * value(*p) for p in combinations("abcd", 2) if set(p) != set("ab")]
    assert second.mean == pytest.approx(np.mean(rest))


ROW = {
    "a": "x", "b": "y", "seeds": "other", "tasks": "different", "measure": "overlap",
    "mean": 0.5, "low": 0.4, "high": 0.6, "df": 3.0, "method": "", "reason": None, "n_runs": 4,
    "n_tasks": 4, "n_pairs": 6, "n_missing": 0, "null": "haar", "null_mean": 0.1,
    "null_reason": None, "p": 0.001, "p_smallest": 0.0, "p_holm": 0.01, "verdict": "",
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"mean": None, "reason": "no pair has a value"}, "Undefined: no pair has a value."),
        (
            {"null": None, "null_mean": None, "null_reason": "no null applies to these pairs"},
            "overlap 0.5, without a null: no null applies to these pairs.",
        ),
        (
            {"seeds": "same", "null": None, "null_mean": None, "null_reason": "no null"},
            "without a null: no null. Shared initialisation: the input side is not interpretable.",
        ),
        (
            {"p": None, "null_reason": "n = 2 tasks: an interval needs at least 3"},
            "without a test: n = 2 tasks: an interval needs at least 3.",
        ),
        ({"null": "bank"}, "p 0.01 after Holm): more alike than unrelated adapters of the bank."),
        (
            {"null": "bank", "p_holm": 0.2},
            "not shown to be more alike than unrelated adapters of the bank.",
        ),
        ({"seeds": "same", "null": "bank"}, ": more alike than unrelated adapters of the bank."),
        (
            {"seeds": "same", "null": "rotation"},
            "after Holm). Shared initialisation: the input side is not interpretable.",
        ),
        ({"seeds": "in part"}, "Partly shared initialisation: the input side is not interp"),
        (
            {"measure": "cosine", "null": "rotation"},
            "update cosine 0.5 against 0.1 (rotation, p 0.01 after Holm): above its null, a screen",
        ),
        ({"measure": "cosine", "p_holm": 0.5}, "not above its null, a screen and not a claim."),
        ({}, "overlap 0.5 against 0.1 (haar, p 0.01 after Holm): above random subspaces."),
        ({"p_holm": None, "p": 0.3}, "p 0.3 after Holm): not above random subspaces."),
        (
            {"measure": "output_overlap"},
            "above random subspaces, which gradients of unrelated tasks exceed, too: no evidence",
        ),
    ],
)
def test_each_rule_of_the_verdict(changes: dict, said: str) -> None:
    text = sentence(GroupRow(**{**ROW, **changes}))
    assert said in text
    assert "misaligned" not in text
