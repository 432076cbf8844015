"""The groups' part of a comparison's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltalens.report.page import Cell, FigureBlock, Section, TableBlock, or_missing

_SHOWN = ("cosine", "activation_cosine", "overlap", "output_overlap", "pc_cosine", "angle_deg")
_FEW_ROWS, _FEW_TESTS = 200, 120


def group_sections(document: Mapping[str, Any], svg: Mapping[str, str]) -> tuple[Section, ...]:
    """Sentences and means, figures, then the tests; nothing where there are no groups."""
    if not document["groups"]:
        return ()
    return (_means(document, svg), _pictures(svg), _tests(document))


def _means(document: Mapping[str, Any], svg: Mapping[str, str]) -> Section:
    chosen = [row for row in document["groups"] if row["measure"] in _SHOWN]
    rows = tuple(_mean(row) for row in chosen[:_FEW_ROWS])
    columns = (
        "comparison", "measure", "mean", "low", "high", "runs", "pairs", "null", "null mean",
        "p, Holm", "what can be said",
    )  # fmt: skip
    left = len(chosen) - len(rows)
    more = f" {left} more rows are in results/groups.parquet." if left else ""
    note = "Intervals are 95 % jackknives; p is one-sided, for more alike than the null." + more
    paragraphs = (str(document["group_notes"][0]),)
    boxes = _blocks(svg, "groups-boxes-", "Boxes of each comparison")
    return Section("Groups", paragraphs, (*boxes, TableBlock(columns, rows, note)))


def _mean(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    low, high = row["interval"] or (None, None)
    why, no_null = row["reason"] or "undefined", row["null_reason"] or "no test"
    seeds = f", {row['seeds']} seed" if row["seeds"] else ""
    tasks = ", same task" if row["tasks"] == "same" else ""
    return (
        f"{row['a']} - {row['b']}{seeds}{tasks}",
        row["measure"],
        or_missing(row["mean"], why),
        or_missing(low, why),
        or_missing(high, why),
        row["n_runs"],
        row["n_pairs"],
        row["null"] or "none",
        or_missing(row["null_mean"], no_null),
        or_missing(row["p_holm"], no_null),
        row["verdict"],
    )


def _pictures(svg: Mapping[str, str]) -> Section:
    return Section(
        "Groups by layer, as heat maps and as trees",
        (),
        (
            *_blocks(svg, "groups-layers-", "Curves by layer"),
            *_blocks(svg, "groups-matrix-", "Heat map"),
            *_blocks(svg, "groups-tree-", "Dendrogram"),
        ),
    )


def _blocks(svg: Mapping[str, str], prefix: str, what: str) -> list[FigureBlock]:
    return [
        FigureBlock(svg=picture, alt=f"{what}: {name.removeprefix(prefix)}")
        for name, picture in svg.items()
        if name.startswith(prefix)
    ]


def _tests(document: Mapping[str, Any]) -> Section:
    tests: Sequence[Mapping[str, Any]] = document["group_tests"]
    rows = tuple(_test(test) for test in tests[:_FEW_TESTS])
    columns = (
        "variant", "test", "measure", "compared", "statistic", "p", "smallest p possible",
        "p, corrected", "smallest corrected p possible", "p, Benjamini-Hochberg",
        "correction over",
    )  # fmt: skip
    left = len(tests) - len(rows)
    more = f"{left} more tests are in results/group_tests.parquet." if left else ""
    block = TableBlock(columns, rows, more, reason="one test alone, or no smallest p")
    return Section("Tests of differences between groups", tuple(document["group_notes"]), (block,))


def _test(test: Mapping[str, Any]) -> tuple[Cell, ...]:
    why = test["reason"] or "not defined for this test"
    return (
        test["variant"],
        test["test"],
        test["measure"],
        f"{test['compared']}, {test['seeds']} seed",
        or_missing(test["statistic"], why),
        or_missing(test["p"], why),
        or_missing(test["p_smallest"], why),
        or_missing(test["p_adjusted"], why),
        or_missing(test["p_smallest_adjusted"], why),
        or_missing(test["p_fdr"], "not part of the paper's tests"),
        f"{test['correction']}: {test['family']}",
    )
