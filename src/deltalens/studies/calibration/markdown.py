"""The tables of `docs/calibration.md`, between two marks of that page; the prose is the page's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from deltalens.core.files import write_whole
from deltalens.core.text import shown
from deltalens.errors import OutputError
from deltalens.studies.calibration.rows import CoverageRow, LevelRow
from deltalens.studies.calibration.rungs import COMBINATIONS
from deltalens.studies.calibration.study import Calibration

START, END = "<!-- calibration: measured -->", "<!-- calibration: end -->"


def write_tables_into(page: Path, found: Calibration) -> None:
    """Replace what stands between the two marks.

    Raises:
        OutputError: if the page lacks the marks.
    """
    text = page.read_text(encoding="utf-8") if page.exists() else f"{START}\n{END}\n"
    before, first, rest = text.partition(START)
    _, second, after = rest.partition(END)
    if not first or not second:
        raise OutputError(f"{shown(page)}: lacks the line {START} or {END}")
    write_whole(page, f"{before}{START}\n{tables(found)}{END}{after}".encode())


def tables(found: Calibration) -> str:
    """Labels, then rates of rejection, then coverage, as Markdown."""
    head = (
        f"\n{found.settings['pairs']} simulated pairs a world, seed {found.settings['seed']}; "
        "± is one standard error.\n"
    )
    return "\n".join([head, _labels(found), _levels(found.levels), _coverage(found.coverage), ""])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _labels(found: Calibration) -> str:
    rows = [
        (
            row.rung,
            _words(row.statistic),
            f"**{row.label}**" if row.label == "verdict" else row.label,
            _rate(row.worst, row.worst_error),
            row.worst_world,
            _rate(row.power_at_30, None),
        )
        for row in found.labels
    ]
    return _table(
        ("rung", "statistic", "label", "largest false-positive rate", "where", "power at 30 %"),
        rows,
    )


def _levels(levels: Sequence[LevelRow]) -> str:
    worlds = dict.fromkeys((row.group, row.world) for row in levels)
    cell = {(row.world, row.rung, row.statistic): row for row in levels}
    columns = ("world", *(f"{rung}: {_words(s)}" for rung, s in COMBINATIONS))
    rows = [
        (f"({group}) {world}", *(_cell(cell[world, rung, s]) for rung, s in COMBINATIONS))
        for group, world in worlds
    ]
    return _table(columns, rows)


def _cell(row: LevelRow) -> str:
    return "undefined" if row.rejected is None else _rate(row.rejected, row.error)


def _coverage(rows: Sequence[CoverageRow]) -> str:
    columns = ("interval", "world", "covers")
    return _table(columns, [(r.interval, r.world, _rate(r.covered, r.error)) for r in rows])


def _words(statistic: str) -> str:
    return {"cosine": "signed cosine", "overlap": "input overlap"}.get(
        statistic, statistic.replace("_", " ").replace("pc", "PC")
    )


def _rate(value: float | None, error: float | None) -> str:
    if value is None:
        return "not tried"
    text = f"{value:.2f}" if error is None or error >= 0.01 else f"{value:.3f}"
    return text if error is None else f"{text} ± {error:.1g}"
