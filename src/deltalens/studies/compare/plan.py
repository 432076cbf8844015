"""Groups and a design beside a comparison: read before any work, laid over the result after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.result import Result
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.studies.design.confounding import require_separable
from deltalens.studies.design.study import Design, with_design
from deltalens.studies.design.table import read_table
from deltalens.studies.groups.members import Source, gather, place
from deltalens.studies.groups.study import with_groups
from deltalens.studies.groups.tasks import known_tasks


@dataclass(frozen=True, eq=False)
class Plan:
    """What is asked of a comparison beside its pairs.

    Attributes:
        adapters: all that are compared.
        groups: label -> places among them.
        design: the table and its model, or None.
        rows: the places of the table's adapters.
    """

    adapters: tuple[Source, ...]
    groups: Mapping[str, tuple[int, ...]]
    design: Design | None
    rows: tuple[int, ...]

    def lay_over(self, result: Result, opened: Sequence[Adapter]) -> Result:
        """The result with groups and design; `opened` stand in the order of `adapters`."""
        names = [adapter.name for adapter in opened]
        members = {label: [names[i] for i in at] for label, at in self.groups.items()}
        table: dict[str, str] = {}
        if self.design is not None:
            _require_one_base(self.design, [opened[i] for i in self.rows])
            rows = [names[i] for i in self.rows]
            result = with_design(result, self.design, rows)
            if "task" in self.design.table.levels:
                table = dict(zip(rows, self.design.table.levels["task"], strict=True))
        if members:
            grouped = [opened[i] for at in self.groups.values() for i in at]
            result = with_groups(result, members, known_tasks(grouped, table))
        asked = {"groups": members, "design": self.design and self.design.table.source}
        settings = {**result.provenance["settings"], **{k: v for k, v in asked.items() if v}}
        return replace(result, provenance={**result.provenance, "settings": settings})


def _require_one_base(design: Design, adapters: Sequence[Adapter]) -> None:
    """Names of bases may differ where the table says that the base is one."""
    bases = {a.base_model: a.name for a in adapters if a.base_model is not None}
    if len(bases) > 1 and not design.table.has_base:
        named = " and ".join(f"{shown(base)} ({shown(name)})" for base, name in bases.items())
        raise OptionError(
            f"{design.table.source}: the adapters name different base models, {named}: they are "
            "not comparable; where these are one base, say so in a column 'base'"
        )


def plan(
    adapters: Sequence[Source],
    groups: Mapping[str, Sequence[Source]],
    design: str | Path | None,
) -> Plan:
    """Check groups and table, and add their adapters to those that are compared.

    Raises:
        OptionError: for groups that overlap or are empty, and for a table that cannot be read or
            in which factors are confounded.
    """
    every, members = gather(adapters, groups)
    if design is None:
        return Plan(tuple(every), members, None, ())
    table = read_table(Path(design))
    found = Design(table, require_separable(table.levels, table.source))
    every, rows = place(every, table.paths)
    return Plan(tuple(every), members, found, rows)
