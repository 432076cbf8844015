"""What the verbs share: progress on a terminal, JSON on stdout, tables for people."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.io.loose import loose_files
from deltalens.io.read import is_adapter


def say(line: str) -> None:
    """Progress: on stderr, and only where a person is looking."""
    if sys.stderr.isatty():
        print(line, file=sys.stderr)


def step_line(done: int, total: int, loss: float) -> None:
    """Progress of a training, in one line that is written over."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rstep {done}/{total}, loss {loss:.3f}", end=end, file=sys.stderr, flush=True)


def warning(line: str) -> None:
    """A warning where stdout is for the answer alone."""
    print(f"warning: {shown(line)}", file=sys.stderr)


def deliver(
    result: Result,
    out: Path | None,
    *,
    write: Callable[[Result, Path], object],
    show: Callable[[Mapping[str, Any]], object],
    as_json: bool,
) -> None:
    """Write the folder if one is asked for, then the document or the tables; the report last."""
    if out is not None:
        write(result, out)
    if as_json:
        print(result.to_json())
        return
    show(result.document)
    if out is not None:
        print(f"\nreport: {out / 'report.html'}")


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; what is undefined says so."""
    if value is None:
        return "undefined"
    text = f"{value:.{digits}g}"
    return "0" if float(text) == 0 else text


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str = "") -> None:
    """Print an aligned table; strangers' names are made safe first."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if title:
        print(f"\n{title}")
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        side = "left" if i == 0 else "right"
        made.add_column(Text(shown(column, 60)), justify=side, overflow="fold")
    for row in rows:
        made.add_row(*(Text(shown(cell, 60)) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(file=sys.stdout, width=width, highlight=False).print(made)


def expand(paths: Sequence[Path]) -> list[Path]:
    """Adapters as given, and those inside a folder that is none itself, in order of name."""
    found: list[Path] = []
    for path in paths:
        inside = adapters_inside(path)
        found += inside or [path]
    return found


def adapters_inside(path: Path) -> list[Path]:
    """The adapters in a folder: its direct subfolders, and weight files that stand for themselves.

    None if the folder is one itself.
    """
    if not path.is_dir() or is_adapter(path):
        return []
    folders = [child for child in path.iterdir() if child.is_dir() and is_adapter(child)]
    return sorted([*folders, *loose_files(path)])
