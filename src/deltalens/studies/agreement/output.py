"""The folder of an agreement: report, figures, tables and the document, beside fresh scores."""

from __future__ import annotations

from pathlib import Path

from deltalens.core.result import Result
from deltalens.figures.output import save, to_svg
from deltalens.io.results import write_document, write_tables
from deltalens.report.html import write
from deltalens.studies.agreement.drawings import figures
from deltalens.studies.agreement.page import agreement_page


def write_agreement(result: Result, out: Path) -> None:
    """Write `report.html`, `figures/`, `results/*.parquet` and `agreement.json`.

    Raises:
        OutputError: if a file cannot be written; the scores are not touched.
    """
    drawn = figures(result)
    write_tables(result, out / "results")
    write_document(result.document, out / "agreement.json")
    for name, figure in drawn.items():
        save(figure, out / "figures", name)
    page = agreement_page(result, {n: to_svg(f) for n, f in drawn.items()})
    write(page, out / "report.html")
