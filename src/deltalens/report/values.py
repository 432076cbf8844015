"""Numbers and cells for readers: what is missing says so, and is never 0."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from deltalens.core.text import shown
from deltalens.figures.numbers import UNDEFINED, number
from deltalens.report.page import Cell, Claim, Missing, TableBlock

_CELL, _LIST = 160, 24  # letters a cell, items of a list in the provenance
_CHIPS = {
    "holds": "holds",
    "holds only under a shared seed": "seed",
    "does not hold": "fails",
    "undecided": "undecided",
}


@dataclass(frozen=True)
class ShownCell:
    """Text, the mark of a footnote, and whether it lines up as a number."""

    text: str
    mark: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class ShownTable:
    """A table as text with its footnotes."""

    columns: tuple[ShownCell, ...]
    rows: tuple[tuple[ShownCell, ...], ...]
    caption: str
    notes: tuple[tuple[str, str], ...]


def claim_row(claim: Claim) -> dict[str, str]:
    """One claim as text, with the class of its verdict's chip."""
    interval = claim.interval
    ends = () if interval is None else tuple(number(end, claim.unit) for end in interval)
    return {
        "id": shown(claim.id, 60),
        "figure": shown(claim.figure, 40),
        "text": shown(claim.text or claim.id, 200),
        "claimed": "not stated" if claim.claimed is None else number(claim.claimed, claim.unit),
        "obtained": number(claim.obtained, claim.unit),
        "interval": "no interval" if UNDEFINED in ends or not ends else f"{ends[0]} to {ends[1]}",
        "null": number(claim.null, claim.unit),
        "verdict": shown(claim.verdict, 60),
        "lead": "yes" if claim.lead else "",
        "chip": _CHIPS.get(claim.verdict, "undecided"),
        "note": shown(claim.note, 1200) or ("no reason recorded" if _lacks(claim) else ""),
    }


def table(block: TableBlock) -> ShownTable:
    """A table's cells as text; reasons for missing ones become footnotes."""
    marks: dict[str, str] = {}
    rows = tuple(tuple(_cell(c, block.reason, marks) for c in row) for row in block.rows)
    wide = range(len(block.columns))
    numeric = [bool(rows) and all(r[i].numeric for r in rows if i < len(r)) for i in wide]
    columns = tuple(
        ShownCell(shown(name, _CELL), numeric=numeric[i]) for i, name in enumerate(block.columns)
    )
    notes = tuple((mark, shown(reason, 600)) for reason, mark in marks.items())
    return ShownTable(columns, rows, shown(block.caption, 1200), notes)


def flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, text) pairs, in their own order."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple) and any(isinstance(v, Mapping) for v in value):
        for i, inner in enumerate(value):
            yield from flat(inner, f"{path}[{i}]")
    else:
        yield shown(path, _CELL), _plain(value)


def _cell(cell: Cell, reason: str, marks: dict[str, str]) -> ShownCell:
    if isinstance(cell, str):
        return ShownCell(shown(cell, 600) if " " in cell else shown(cell, _CELL))
    if isinstance(cell, Missing):
        reason = cell.reason or reason
    elif isinstance(cell, bool):
        return ShownCell("yes" if cell else "no")
    elif cell is not None and math.isfinite(cell):
        return ShownCell(number(cell), numeric=True)
    return ShownCell(UNDEFINED, marks.setdefault(reason, _mark(len(marks))), numeric=True)


def _mark(i: int) -> str:
    """A, b, .. z, aa, ab: the mark of the i-th footnote."""
    head, tail = divmod(i, 26)
    return (_mark(head - 1) if head else "") + "abcdefghijklmnopqrstuvwxyz"[tail]


def _lacks(claim: Claim) -> bool:
    return None in (claim.obtained, claim.interval, claim.null)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else UNDEFINED
    if isinstance(value, list | tuple):
        texts = [_plain(v) for v in value[:_LIST]]
        more = f" and {len(value) - _LIST} more" if len(value) > _LIST else ""
        return (", ".join(texts) or "none") + more
    if value is None or value == {}:
        return "none"
    return shown(value, 600)
