"""The table of a factorial design: one adapter a line, what it was trained with in columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.strict_json import absolute, require_regular_file

FACTORS = ("seed", "task", "harm", "style")
COLUMNS = ("path", "task", "seed", "harm", "style", "base")
HARMFUL: Mapping[str, bool] = {
    "yes": True, "true": True, "1": True, "harmful": True,
    "no": False, "false": False, "0": False, "harmless": False,
}  # fmt: skip
_MAX_BYTES, _MAX_LINES = 1_000_000, 2000


@dataclass(frozen=True)
class Table:
    """A design as it was read.

    Attributes:
        source: the file, for messages.
        paths: one an adapter, relative ones taken from the file's folder.
        levels: factor -> one level an adapter, for the factors that the file has a column for;
            harm is `harmful` or `harmless`.
        has_base: whether the file says that all have one base.
    """

    source: str
    paths: tuple[Path, ...]
    levels: Mapping[str, tuple[str, ...]]
    has_base: bool


def read_table(path: Path) -> Table:
    """Read a CSV file with a header.

    Raises:
        OptionError: naming the line and the column, what was found and what is allowed.
    """
    where = shown(path)
    rows = _rows(path, where)
    header = [name.strip() for name in rows[0]]
    _check_header(header, where)
    lines = [
        (number, dict(zip(header, (cell.strip() for cell in row), strict=True)))
        for number, row in enumerate(rows[1:], start=2)
        if _full(row, header, number, where)
    ]
    for number, cells in lines:
        for name, cell in cells.items():
            if not cell:
                raise OptionError(
                    f"{where} line {number}: {name} is empty; give it, or leave the column out"
                )
    if len(lines) < 2:
        raise OptionError(f"{where}: {len(lines)} adapters; a design needs at least 2")
    _require_one_base(lines, where)
    paths = [path.parent / cells["path"] for _, cells in lines]
    _require_distinct(paths, [number for number, _ in lines], where)
    levels = {
        factor: tuple(_level(factor, cells[factor], number, where) for number, cells in lines)
        for factor in FACTORS
        if factor in header
    }
    return Table(where, tuple(paths), levels, "base" in header)


def _rows(path: Path, where: str) -> list[list[str]]:
    size = require_regular_file(path, OptionError)
    if size > _MAX_BYTES:
        raise OptionError(f"{where}: {size} bytes; at most {_MAX_BYTES} are allowed")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        rows = [row for row in csv.reader(io.StringIO(text), strict=True) if any(row)]
    except UnicodeDecodeError:
        raise OptionError(f"{where}: not UTF-8 text") from None
    except csv.Error as problem:
        raise OptionError(f"{where}: not a CSV table: {shown(problem)}") from None
    if not rows:
        raise OptionError(f"{where}: empty; a header with path and {_named(FACTORS)} is needed")
    if len(rows) > _MAX_LINES:
        raise OptionError(f"{where}: {len(rows)} lines; at most {_MAX_LINES} are allowed")
    return rows


def _check_header(header: Sequence[str], where: str) -> None:
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise OptionError(
            f"{where}: unknown column {shown(unknown[0], 60)!r}; known are {', '.join(COLUMNS)}"
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise OptionError(f"{where}: column {twice[0]!r} stands {header.count(twice[0])} times")
    if "path" not in header:
        raise OptionError(f"{where}: no column 'path'; found are {', '.join(header)}")
    if not set(header) & set(FACTORS):
        raise OptionError(f"{where}: no factor; a column of {_named(FACTORS)} is needed")


def _full(row: Sequence[str], header: Sequence[str], number: int, where: str) -> bool:
    if len(row) != len(header):
        raise OptionError(
            f"{where} line {number}: {len(row)} cells, where the header has {len(header)}"
        )
    return True


def _require_one_base(lines: Sequence[tuple[int, Mapping[str, str]]], where: str) -> None:
    first_line, first = lines[0]
    for number, cells in lines:
        if cells.get("base") != first.get("base"):
            raise OptionError(
                f"{where} line {number}: base is {shown(cells['base'], 80)}, and "
                f"{shown(first['base'], 80)} in line {first_line}: updates of different bases "
                "are not comparable"
            )


def _require_distinct(paths: Sequence[Path], numbers: Sequence[int], where: str) -> None:
    seen: dict[Path, int] = {}
    for path, number in zip(paths, numbers, strict=True):
        first = seen.setdefault(absolute(path, OptionError), number)
        if first != number:
            raise OptionError(f"{where} line {number}: {shown(path)} stands in line {first}, too")


def _level(factor: str, cell: str, number: int, where: str) -> str:
    if factor != "harm":
        return shown(cell, 60)
    if cell.lower() not in HARMFUL:
        raise OptionError(
            f"{where} line {number}: harm is {shown(cell, 60)!r}; allowed are {', '.join(HARMFUL)}"
        )
    return "harmful" if HARMFUL[cell.lower()] else "harmless"


def _named(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
