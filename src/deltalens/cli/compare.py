"""`deltalens compare`: do these updates share directions, beyond chance and a shared seed?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from deltalens.cli.screen import deliver, expand, say
from deltalens.core.result import Result
from deltalens.errors import OptionError

if TYPE_CHECKING:
    from deltalens.cli.fail_if import Condition


def command(
    paths: list[Path] | None = typer.Argument(
        None, metavar="PATH PATH...", help="Adapters, or folders of them."
    ),
    base: str | None = typer.Option(None, help="Base model folder, or 'toy': adds a row for each."),
    top_k: int | None = typer.Option(
        None, "--top-k", help="Directions a module; min(16, half the smallest rank) by default."
    ),
    seed: int = typer.Option(0, help="Seed of every draw."),
    draws: int = typer.Option(0, help="Rotations a module; 0 gives closed forms only."),
    bank: list[str] = typer.Option(
        [], metavar="GLOB", help="Unrelated adapters of the same seed and recipe (repeatable)."
    ),
    covariances: Path | None = typer.Option(
        None, metavar="FILE", help="Input covariances, from `deltalens covariances`."
    ),
    group: list[str] = typer.Option(
        [], metavar="LABEL=GLOB", help="A named group: compared within and between (repeatable)."
    ),
    design: Path | None = typer.Option(
        None, metavar="FILE", help="CSV of path, task, seed, harm, style, base: which gives what."
    ),
    memory: float | None = typer.Option(
        None, metavar="GIB", help="Most memory to take; three quarters of what is free by default."
    ),
    fail_if: list[str] = typer.Option(
        [], metavar="EXPR", help="Exit with 1 where 'MEASURE OP NUMBER' is met (repeatable)."
    ),
    allow_undefined: bool = typer.Option(
        False, "--allow-undefined", help="An undefined value does not fail."
    ),
    out: Path | None = typer.Option(None, help="Folder for report, figures and tables."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Compare adapters pair by pair, each measure beside the null that applies."""
    from deltalens.studies.compare.study import compare

    if not (paths or group or design):
        raise OptionError("Missing argument 'PATH PATH...' (or --group, or --design)")
    groups, banked = _expanded(group, bank)
    conditions = _conditions(fail_if, list(groups))
    if out is not None:
        from deltalens.io.results import require_own, require_writable

        require_writable(out)
        require_own(out, "compare")
    result = compare(
        expand(paths or []),
        base=base,
        top_k=top_k,
        seed=seed,
        draws=draws,
        bank=banked,
        covariances=covariances,
        groups=groups,
        design=design,
        memory=memory,
        full_provenance=out is not None,
        progress=say,
    )
    failed: list[str] = []
    if conditions:
        result, failed = _judged(result, conditions, allow_undefined=allow_undefined)
    deliver(result, out, write=_write, show=_print, as_json=as_json)
    for line in failed:
        print(line, file=sys.stderr)
    return 1 if failed else 0


def _expanded(group: list[str], bank: list[str]) -> tuple[dict[str, list[Path]], list[Path]]:
    """Patterns as paths; most comparisons have none, and skip the import."""
    if not (group or bank):
        return {}, []
    from deltalens.cli.globs import matching, parse_groups

    found = [path for pattern in bank for path in matching("--bank", pattern)]
    return parse_groups(group), list(dict.fromkeys(found))


def _conditions(fail_if: list[str], labels: list[str]) -> tuple[Condition, ...]:
    if not fail_if:
        return ()
    from deltalens.cli.fail_if import parse

    return parse(fail_if, labels)


def _judged(
    result: Result, conditions: tuple[Condition, ...], *, allow_undefined: bool
) -> tuple[Result, list[str]]:
    """The result with its findings, and a line for each."""
    from deltalens.cli.fail_if import findings, sentence

    failed = findings(conditions, result.document, allow_undefined=allow_undefined)
    asked = [condition.text for condition in conditions]
    document = {**result.document, "fail_if": asked, "failed": failed}
    return replace(result, document=document), [sentence(finding) for finding in failed]


def _write(result: Result, out: Path) -> None:
    from deltalens.studies.compare.output import write_comparison

    write_comparison(result, out)


def _print(document: Mapping[str, Any]) -> None:
    from deltalens.cli.compare_text import print_comparison

    print_comparison(document)
