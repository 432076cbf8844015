"""The folder of the study: report, summary, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from deltalens.core.files import write_whole
from deltalens.core.result import Result
from deltalens.figures.output import save, to_svg
from deltalens.io.results import write_document, write_tables
from deltalens.report.html import write
from deltalens.studies.paper.appendix.section import appendix_figures
from deltalens.studies.paper.drawings import (
    LAYER_PLOTS,
    MATRICES,
    behaviour_plot,
    headline,
    layer_plot,
    matrix_plot,
)
from deltalens.studies.paper.examine import Study
from deltalens.studies.paper.lines.drawings import line_figures
from deltalens.studies.paper.page import study_page
from deltalens.studies.paper.study import summary_result, tables


def write_study(studies: Sequence[Study], out: Path) -> Result:
    """Write `report.html`, `summary.json`, `figures/` and `results/*.parquet`.

    Figures and tables of further bases stand in a folder of their own within these.
    """
    result = summary_result(studies)
    svg = [_draw(study, study.family.folder(out / "figures")) for study in studies]
    write_tables(result, out / "results")
    for study in studies[1:]:
        own = Result("reproduce", {}, tables(study), study.provenance)
        write_tables(own, study.family.folder(out / "results"))
    others = tuple(zip(studies[1:], svg[1:], strict=True))
    write(study_page(studies[0], svg[0], others, result.provenance), out / "report.html")
    write_document(result.document, out / "summary.json")
    return result


def _draw(study: Study, folder: Path) -> Mapping[str, str]:
    drawn = study_figures(study)
    svg = {name: to_svg(figure) for name, figure in drawn.items()}
    for name, figure in drawn.items():  # the drawing takes the time: each picture once
        write_whole(folder / f"{name}.svg", svg[name].encode())
        save(figure, folder, name, formats=("png",))
    return svg


def study_figures(study: Study) -> Mapping[str, Figure]:
    """Every figure of the study by name."""
    return {
        "headline": headline(study),
        "behaviour": behaviour_plot(study),
        **{name: layer_plot(study, name) for name in LAYER_PLOTS},
        **{f"matrix-{m.replace('_', '-')}": matrix_plot(study, m) for m in MATRICES},
        **line_figures(study.walked),
        **appendix_figures(study.appendix),
    }
