"""The report of the audit: the answer, the numbers beside their ranges, what the ranges assume."""

from __future__ import annotations

from collections.abc import Mapping

from deltalens.report.page import Cell, FigureBlock, Page, Section, TableBlock
from deltalens.studies.audit.audit import Audit
from deltalens.studies.audit.files import FilesAudit
from deltalens.studies.audit.models import PAPER_CUTS, ModelAudit
from deltalens.studies.audit.published import MEASURES
from deltalens.studies.audit.ranges import Range
from deltalens.studies.audit.rows import ComparedRow
from deltalens.studies.audit.words import ASSUMES, UNOPENED, measure_name

_FEW = 200


def audit_page(audit: Audit, svg: Mapping[str, str]) -> Page:
    """The report as a page."""
    first = audit.models[0]
    return Page(
        title="deltalens audit-paper",
        question="Do the published similarities say anything that one seed does not?",
        answer=audit.answer,
        headline_figure=FigureBlock(
            caption="Black: published EM pairs, layer by layer. Grey: the range of unrelated "
            "updates of one seed.",
            svg=svg["headline"],
            alt="Published overlap and angle over the range of unrelated updates of one seed",
        ),
        disclaimer=UNOPENED,
        lead=(Section("What can be concluded", (), (_published(audit),)),),
        sections=(
            *((_files(audit.files),) if audit.files is not None else ()),
            *(_model(found, svg) for found in audit.models),
            Section("What the ranges assume", ASSUMES),
            _controls(first),
        ),
        provenance=audit.provenance,
    )


def _published(audit: Audit) -> TableBlock:
    rows = tuple(
        (
            found.model,
            measure_name(measure, PAPER_CUTS),
            _values(found, measure),
            _span(found.ranges[measure]),
            found.chance[measure],
        )
        for found in audit.models
        for measure in MEASURES
        if measure in found.means
    )
    columns = ("model", "measure", "EM pairs, mean over layers", "unrelated, one seed", "chance")
    note = (
        "Unrelated, one seed: lowest and highest mean over the hypotheses below. Chance: subspaces "
        "without a common initialisation."
    )
    return TableBlock(columns, rows, note)


def _values(found: ModelAudit, measure: str) -> str:
    values = [
        f"{r.value:.3g}" for r in found.claims if r.measure == measure and r.value is not None
    ]
    return " / ".join(values)


def _span(span: Range) -> str:
    return f"{span.low:.3g} to {span.high:.3g}"


def _model(found: ModelAudit, svg: Mapping[str, str]) -> Section:
    name = found.model.lower()
    measures = [m for m in MEASURES if m in found.means]
    families = TableBlock(
        ("assumption", *(measure_name(m, PAPER_CUTS) for m in measures)),
        tuple(
            (family, *(_span(ranges[m]) for m in measures))
            for family, ranges in found.families.items()
        ),
        "Lowest and highest mean over the spectra (and inputs) of each family.",
    )
    best, miss = found.nearest
    near = TableBlock(
        ("", *(measure_name(m, PAPER_CUTS) for m in measures)),
        (
            ("published, mean of the pairs", *(found.means[m] for m in measures)),
            (str(best.hypothesis), *(best.mean[m] for m in measures)),
            ("its Monte Carlo error", *(best.error[m] for m in measures)),
        ),
        f"The one hypothesis that comes nearest to all measures at once; its largest miss is "
        f"{100 * miss:.0f} % of the width of a range. A description: it was chosen after the fact.",
    )
    figures = tuple(
        FigureBlock(svg=svg[key], alt=f"{found.model}: published values and their ranges")
        for key in (f"layers-{name}", f"components-{name}")
    )
    return Section(found.model, found.sentences, (families, near, *figures))


def _controls(found: ModelAudit) -> Section:
    rows = tuple(_row(row) for row in found.controls)
    columns = ("pair", "measure", "k", "published", "chance", "source")
    text = "The paper's controls are adapters of other authors, hence of other initialisations."
    return Section("The paper's controls", (text,), (TableBlock(columns, rows),))


def _row(row: ComparedRow) -> tuple[Cell, ...]:
    return (row.pair, row.measure, row.k, row.value, row.chance, row.source)


def _files(real: FilesAudit) -> Section:
    rows = tuple(
        (
            row.pair,
            row.measure,
            row.k,
            row.value,
            "no shared initialisation" if row.low is None else f"{row.low:.3g} to {row.high:.3g}",
            row.chance,
        )
        for row in real.rows[:_FEW]
    )
    columns = ("pair", "measure", "k", "measured", "unrelated, one seed", "chance")
    left = len(real.rows) - len(rows)
    note = f"{left} more rows are in results/compared.parquet." if left else ""
    return Section(
        f"The adapters in {real.folder}",
        (*real.sentences[:_FEW], *real.warnings),
        (TableBlock(columns, rows, note, "refused: k is above the numerical rank"),),
    )
