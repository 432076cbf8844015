"""The folder of an audit: report, figures and tables."""

from __future__ import annotations

from pathlib import Path

from deltalens.core.files import write_whole
from deltalens.figures.output import save, to_svg
from deltalens.io.results import prepare_folder, write_document, write_tables
from deltalens.report.html import write
from deltalens.studies.audit.audit import Audit
from deltalens.studies.audit.document import audit_result
from deltalens.studies.audit.drawings import figures, headline
from deltalens.studies.audit.page import audit_page


def write_audit(audit: Audit, out: Path) -> None:
    """Write `report.html`, `audit.json`, `figures/` and `results/*.parquet`."""
    prepare_folder(out)
    result = audit_result(audit)
    drawn = {"headline": headline(audit), **figures(audit)}
    write_tables(result, out / "results")
    svg = {name: to_svg(figure) for name, figure in drawn.items()}
    for name, figure in drawn.items():  # the drawing takes the time: each picture once
        write_whole(out / "figures" / f"{name}.svg", svg[name].encode())
        save(figure, out / "figures", name, formats=("png",))
    write(audit_page(audit, svg), out / "report.html")
    write_document(result.document, out / "audit.json")
