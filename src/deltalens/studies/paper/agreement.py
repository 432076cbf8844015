"""Do the organisms of one seed arrange the tasks as those of other seeds do?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from deltalens.core.result import Result
from deltalens.organisms.roster import RosterEntry
from deltalens.report.page import Section
from deltalens.studies.design.agreement import AgreementRow, agreement_rows
from deltalens.studies.design.page import agreement_sections

_SEEDS = {"shared init": "one seed", "other init": "other seeds"}


def agreements(
    comparison: Result, entries: Sequence[RosterEntry], *, seed: int
) -> list[AgreementRow]:
    """Second-order agreement of each measure: one initialisation against all others.

    The organisms with an initialisation of their own are all of different seeds, so the second
    matrix holds similarities across seeds, and the first those within one.
    """
    chosen = [e for e in entries if e.relation in _SEEDS]
    levels = {
        "seed": [_SEEDS[e.relation] for e in chosen],
        "task": [str(e.task) for e in chosen],
    }
    pairs = {frozenset((p["a"], p["b"])): p for p in comparison.document["pairs"]}
    return agreement_rows(levels, [e.name for e in chosen], pairs, seed=seed)


def agreement_section(found: Sequence[AgreementRow]) -> tuple[Section, ...]:
    """A row a measure."""
    return agreement_sections([asdict(row) for row in found])
