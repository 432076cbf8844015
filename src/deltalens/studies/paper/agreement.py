"""Do the organisms of one seed arrange the tasks as those of other seeds do?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deltalens.core.result import Result
from deltalens.core.shapes import Array
from deltalens.organisms.roster import RosterEntry
from deltalens.report.page import Cell, Missing, Section, TableBlock
from deltalens.stats.agreement import Agreement, second_order_agreement
from deltalens.studies.paper.estimates import pair_values

_MEASURES = ("cosine", "overlap", "output_overlap")
_DRAWS = 9999


def agreements(
    comparison: Result, entries: Sequence[RosterEntry], *, seed: int
) -> dict[str, Agreement]:
    """Second-order agreement of each measure: one initialisation against all others.

    The organisms with an initialisation of their own are all of different seeds, so the second
    matrix holds similarities across seeds, and the first those within one.
    """
    shared = _by_task(entries, "shared init")
    own = _by_task(entries, "other init")
    tasks = sorted(shared.keys() & own.keys())
    found: dict[str, Agreement] = {}
    for measure in _MEASURES:
        values = pair_values(comparison, measure)
        one, two = (_matrix(values, [names[t] for t in tasks]) for names in (shared, own))
        rng = np.random.default_rng([seed, 4])
        found[measure] = second_order_agreement(one, two, draws=_DRAWS, rng=rng)
    return found


def _by_task(entries: Sequence[RosterEntry], relation: str) -> dict[str, str]:
    return {str(e.task): e.name for e in entries if e.relation == relation}


def _matrix(values: Mapping[frozenset[str], float | None], names: Sequence[str]) -> Array:
    def value(a: str, b: str) -> float:
        found = 1.0 if a == b else values.get(frozenset((a, b)))
        return np.nan if found is None else found

    return np.array([[value(a, b) for b in names] for a in names])


def agreement_section(found: Mapping[str, Agreement]) -> Section:
    """A row a measure."""
    rows = tuple(
        (measure, _or(a.correlation, a), _or(a.p, a), _or(a.p_smallest, a), a.n_tasks)
        for measure, a in found.items()
    )
    text = (
        "Which tasks are more alike than others, under one seed and across seeds: the correlation "
        "of the two task-by-task matrices over pairs of tasks, tested by exchanging tasks. A seed "
        "that adds to all similarities alike does not change it."
    )
    columns = ("measure", "agreement", "p", "smallest p", "tasks")
    return Section("Second-order agreement of seeds", (text,), (TableBlock(columns, rows),))


def _or(value: float | None, found: Agreement) -> Cell:
    return Missing(found.reason) if value is None else value
