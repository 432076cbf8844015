"""`deltalens audit-paper`: published numbers beside what one seed alone can give."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from deltalens.cli.screen import number, say, table
from deltalens.core.text import shown

if TYPE_CHECKING:
    from deltalens.studies.audit.audit import Audit
    from deltalens.studies.audit.files import FilesAudit
    from deltalens.studies.audit.models import ModelAudit

_FEW = 40


def command(
    out: Path | None = typer.Option(None, help="Folder for report, figures and tables."),
    seed: int = typer.Option(0, help="Seed of every draw."),
    draws: int = typer.Option(48, help="Simulated pairs a module and hypothesis; 2 or more."),
    adapters: Path | None = typer.Option(
        None, metavar="DIR", help="Folder of adapters: repeats the audit on these files."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON document."),
) -> int:
    """Set the paper's published numbers beside unrelated updates of one seed; needs no model."""
    from deltalens.studies.audit.document import audit_result
    from deltalens.studies.audit.study import run_audit

    if out is not None:
        from deltalens.io.results import require_own, require_writable

        require_writable(out)
        require_own(out, "audit-paper")
    audit = run_audit(seed=seed, draws=draws, adapters=adapters, progress=say)
    if out is not None:
        from deltalens.studies.audit.output import write_audit

        write_audit(audit, out)
    if as_json:
        print(audit_result(audit).to_json())
    else:
        _print(audit)
        if out is not None:
            print(f"\nreport: {out / 'report.html'}")
    return 0


def _print(audit: Audit) -> None:
    from deltalens.studies.audit.words import ASSUMES, UNOPENED

    print(audit.answer)
    print(UNOPENED)
    for found in audit.models:
        _print_model(found)
    print("\nThe ranges assume")
    for line in ASSUMES:
        print(f"  {line}")
    if audit.files is not None:
        _print_files(audit.files)


def _print_model(found: ModelAudit) -> None:
    from deltalens.studies.audit.models import PAPER_CUTS
    from deltalens.studies.audit.published import MEASURES
    from deltalens.studies.audit.words import measure_name

    measures = [m for m in MEASURES if m in found.means]
    pairs = dict.fromkeys(row.pair for row in found.claims)
    value = {(row.pair, row.measure): row.value for row in found.claims}
    rows = [
        (f"published {pair}", *(_printed(value.get((pair, m))) for m in measures)) for pair in pairs
    ]
    rows += [
        (family, *(f"{number(r[m].low)} to {number(r[m].high)}" for m in measures))
        for family, r in found.families.items()
    ]
    best, _ = found.nearest
    rows += [
        ("chance, no common initialisation", *(number(found.chance[m]) for m in measures)),
        ("largest Monte Carlo error", *(_error(found, m) for m in measures)),
        ("nearest in all at once (below)", *(number(best.mean[m]) for m in measures)),
    ]
    table(("", *(measure_name(m, PAPER_CUTS) for m in measures)), rows, title=found.model)
    print(f"nearest: {best.hypothesis}")
    for line in found.sentences:
        print(line)


def _printed(value: float | None) -> str:
    return "not printed" if value is None else number(value)


def _error(found: ModelAudit, measure: str) -> str:
    return number(max(s.error[measure] for s in found.simulated), 2)


def _print_files(real: FilesAudit) -> None:
    rows = [
        (
            shown(row.pair, 60),
            row.measure,
            row.k,
            number(row.value),
            "none" if row.low is None else f"{number(row.low)} to {number(row.high)}",
            number(row.chance),
        )
        for row in real.rows[:_FEW]
    ]
    columns = ("pair", "measure", "k", "measured", "unrelated, one seed", "chance")
    table(columns, rows, title=f"The adapters in {shown(real.folder)}")
    if len(real.rows) > _FEW:
        print(f"{len(real.rows) - _FEW} more rows: --out writes them all")
    for line in real.sentences[:_FEW]:
        print(shown(line, 2000))
    for line in real.warnings:
        print(f"warning: {shown(line)}")
