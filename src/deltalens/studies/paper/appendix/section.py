"""The appendix: what is computed, drawn and shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from deltalens.core.adapter import Adapter
from deltalens.core.result import Result, Row
from deltalens.organisms.roster import RosterEntry
from deltalens.report.page import FigureBlock, Section
from deltalens.studies.groups.drawings import group_figures
from deltalens.studies.groups.page import group_sections
from deltalens.studies.groups.study import with_groups
from deltalens.studies.paper.appendix.base_groups import (
    GROUPS,
    MEASURES,
    BaseGroups,
    base_figure,
    base_groups,
    base_table,
)
from deltalens.studies.paper.appendix.pcs import PcRow, pc_figure, pc_rows
from deltalens.studies.paper.relations import Related, is_repeat, tasks


@dataclass(frozen=True, eq=False)
class Appendix:
    """Everything of Figures 4 and 5 and the appendix.

    Attributes:
        grouped: the comparison with its groups.
        base: the groups against the base.
        pcs: PC cosines direction by direction.
    """

    grouped: Result
    base: BaseGroups
    pcs: Sequence[PcRow]


def appendix(
    comparison: Result,
    entries: Sequence[RosterEntry],
    adapters: Sequence[Adapter],
    related: Sequence[Related],
    k: int,
) -> Appendix:
    """Group the organisms by what they were trained for."""
    members = {
        group: [e.name for e in entries if e.group == group and not is_repeat(e)]
        for group in GROUPS
    }
    return Appendix(
        grouped=with_groups(comparison, members, tasks(entries)),
        base=base_groups(comparison, entries),
        pcs=pc_rows(adapters, related, k),
    )


def appendix_figures(found: Appendix) -> dict[str, Figure]:
    """Every figure by name; the heat maps of all organisms stand elsewhere."""
    groups = {n: f for n, f in group_figures(found.grouped).items() if "matrix" not in n}
    base = {f"appendix-base-{m.replace('_', '-')}": base_figure(found.base, m) for m in MEASURES}
    return {**groups, **base, "appendix-pcs": pc_figure(found.pcs)}


def appendix_sections(found: Appendix, svg: Mapping[str, str]) -> tuple[Section, ...]:
    """Groups first, then the base's groups and the single directions."""
    own = {name: picture for name, picture in svg.items() if name.startswith("groups-")}
    base = tuple(
        FigureBlock(svg=svg[name], alt=f"Groups against the base: {title}")
        for m, title in MEASURES.items()
        for name in (f"appendix-base-{m.replace('_', '-')}",)
    )
    pcs = FigureBlock(svg=svg["appendix-pcs"], alt="PC cosine by the index of the direction")
    text = (
        "Bad-answer, narrow and benign organisms within and between groups: layer by layer, as "
        "boxes and as trees; then each group against the base weights, and the PC cosine direction "
        "by direction. The paper's tests take layers as samples; they stand beside tests over "
        "tasks."
    )
    return (
        Section("Figures 4 and 5 and the appendix", (text,)),
        *group_sections(found.grouped.document, own),
        Section("Groups against the base", (), (*base, base_table(found.base))),
        Section("Direction by direction", (), (pcs,)),
    )


def appendix_tables(found: Appendix) -> dict[str, Sequence[Row]]:
    """`groups`, `group_tests`, `group_layers`, `base_group_tests` and `pcs`."""
    tables = found.grouped.tables
    return {
        **{name: tables[name] for name in ("groups", "group_tests", "group_layers")},
        "base_group_tests": found.base.tests,
        "pcs": found.pcs,
    }
