"""`deltalens capability`: what exported points can still do, after lm-eval has run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from deltalens.cli.integration import integration
from deltalens.cli.screen import number, table
from deltalens.core.text import shown


def command(
    folder: Path = typer.Argument(
        ..., metavar="DIR", help="A folder of export --lm-eval, after sh DIR/lm_eval.sh."
    ),
    walk: Path | None = typer.Option(
        None, metavar="DIR", help="A walk's folder: its rates are put beside."
    ),
    out: Path | None = typer.Option(None, help="Folder for results/*.parquet and the document."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Put every task's score against t, with its difference from t = 0."""
    result = integration("lm_eval.capability").capability(folder, walk=walk)
    if out is not None:
        from deltalens.io.results import write_document, write_tables

        write_tables(result, out / "results")
        write_document(result.document, out / "capability.json")
    if as_json:
        print(result.to_json())
    else:
        _print(result.document)
    return 0


def _print(document: Mapping[str, Any]) -> None:
    rates = {row["t"]: row for row in document["harm"]}
    rows: list[tuple[str, ...]] = []
    for row in document["points"]:
        harm = rates.get(row["t"])
        beside = () if not rates else (number(harm["misaligned"]) if harm else "",)
        rows.append(
            (
                "base" if row["t"] is None else number(row["t"], 6),
                *beside,
                shown(row["task"], 40),
                f"{shown(row['metric'], 30)},{shown(row['filter'], 30)}",
                number(row["value"], 4),
                "" if row["stderr"] is None else number(row["stderr"], 2),
                "" if row["difference"] is None else number(row["difference"]),
                _interval(row),
                row["method"] or "",
            )
        )
    middle = ("misaligned",) if rates else ()
    columns = ("t", *middle, "task", "metric", "value", "stderr", "minus t = 0", "95 % interval")
    table((*columns, "method"), rows)
    for warning in document["warnings"]:
        print(f"warning: {shown(warning)}")


def _interval(row: Mapping[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    ends = row["low"], row["high"]
    return "undefined" if None in ends else f"{number(ends[0])} to {number(ends[1])}"
