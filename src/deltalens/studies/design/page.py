"""The design's part of a comparison's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltalens.report.page import Cell, FigureBlock, Section, TableBlock, or_missing


def design_sections(document: Mapping[str, Any], svg: Mapping[str, str]) -> tuple[Section, ...]:
    """What seed, task, harm and style give; nothing where there is no design."""
    design = document.get("design")
    if design is None:
        return ()
    blocks = [
        FigureBlock(svg=picture, alt="Effects of the design with their intervals, by measure")
        for name, picture in svg.items()
        if name == "design-effects"
    ]
    columns = (
        "measure", "two adapters share", "more alike by", "low", "high", "p", "p, Holm", "R^2",
    )  # fmt: skip
    rows = tuple(_row(row) for row in design["effects"])
    caption = (
        f"{design['n_units']} {design['unit']}s; Holm's correction is over the effects of one "
        "measure. R^2 is the whole model's, and describes."
    )
    table = TableBlock(columns, rows, caption)
    first = Section(
        "Seed, task, harm, style", (design["model"], *design["notes"]), (*blocks, table)
    )
    return (first, *agreement_sections(design["agreement"]))


def agreement_sections(rows: Sequence[Mapping[str, Any]]) -> tuple[Section, ...]:
    """Second-order agreement, a row two seeds and a measure; nothing where there is none."""
    if not rows:
        return ()
    cells = tuple(
        (
            row["measure"],
            f"{row['seed_a']} and {row['seed_b']}",
            row["n_tasks"],
            *(or_missing(row[name], row["reason"]) for name in ("correlation", "p", "p_smallest")),
        )
        for row in rows
    )
    text = (
        "Whether two seeds arrange their common tasks alike: the correlation of their task-by-task "
        "similarities, tested by exchanging tasks. What a seed adds to all pairs does not count. "
        "p is not corrected over the rows."
    )
    columns = ("measure", "seeds", "tasks", "agreement", "p", "smallest p")
    return (Section("Second-order agreement of seeds", (text,), (TableBlock(columns, cells),)),)


def _row(row: Mapping[str, Any]) -> tuple[Cell, ...]:
    low, high = row["interval"] or (None, None)
    why = row["reason"] or "the level of pairs that share nothing is no effect"
    return (
        row["measure"],
        row["term"],
        or_missing(row["estimate"], why),
        or_missing(low, why),
        or_missing(high, why),
        or_missing(row["p"], why),
        or_missing(row["p_holm"], why),
        or_missing(row["r2"], "no spread between pairs"),
    )
