"""Groups laid over a comparison: the document's `groups` and `group_tests`, and their tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from deltalens.core.result import LazyTables, Result
from deltalens.studies.groups.cells import Cell, cells
from deltalens.studies.groups.contrasts import contrasts
from deltalens.studies.groups.layers import LayerValues, layer_values
from deltalens.studies.groups.paper import CAVEAT, paper_tests
from deltalens.studies.groups.rows import GroupLayerRow, GroupRow, GroupTest
from deltalens.studies.groups.table import group_rows, layer_rows

TESTED = ("cosine", "overlap", "output_overlap", "pc_cosine", "angle_deg")
"""Measures with tests and curves: the paper's four, and the output side."""

Members = Mapping[str, Sequence[str]]


def with_groups(result: Result, members: Members, tasks: Mapping[str, str]) -> Result:
    """The same comparison with every within and between comparison of the groups.

    Args:
        result: of `compare`.
        members: label -> names of adapters.
        tasks: adapter -> task, for the adapters whose task is known.
    """
    pairs: Sequence[Mapping[str, Any]] = result.document["pairs"]
    found = cells(members, pairs, tasks)
    rows = group_rows(members, found, pairs, tasks)
    by_layer = layer_values(result, TESTED)
    seed: int = result.provenance["settings"]["seed"]
    tests = contrasts(members, found, pairs, tasks, TESTED, seed=seed) + _as_the_paper(
        found, by_layer
    )
    document = {
        **result.document,
        "groups": [_document(row) for row in rows],
        "group_members": _member_documents(members, tasks),
        "group_tests": [asdict(test) for test in tests],
        "group_notes": _notes(members, tasks),
    }
    tables = LazyTables(
        {
            **{name: _held(result, name) for name in result.tables},
            "groups": lambda: rows,
            "group_tests": lambda: tests,
            "group_layers": lambda: _layers(found, tasks, by_layer),
        }
    )
    return replace(result, document=document, tables=tables)


def _held(result: Result, name: str) -> Any:
    return lambda: result.tables[name]


def _document(row: GroupRow) -> dict[str, Any]:
    """The contract's object: one interval instead of two ends."""
    fields = asdict(row)
    low, high = fields.pop("low"), fields.pop("high")
    return {**fields, "interval": None if low is None else [low, high]}


def _as_the_paper(found: Sequence[Cell], by_layer: Mapping[str, LayerValues]) -> list[GroupTest]:
    return [t for measure in TESTED for t in paper_tests(found, measure, by_layer[measure])]


def _layers(
    found: Sequence[Cell], tasks: Mapping[str, str], by_layer: Mapping[str, LayerValues]
) -> list[GroupLayerRow]:
    return [
        row for measure in TESTED for row in layer_rows(found, measure, by_layer[measure], tasks)
    ]


def _member_documents(members: Members, tasks: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "label": label,
            "adapters": list(names),
            "tasks": {name: tasks.get(name) for name in names},
        }
        for label, names in members.items()
    ]


def _notes(members: Members, tasks: Mapping[str, str]) -> list[str]:
    every = [name for names in members.values() for name in names]
    unknown = [name for name in every if name not in tasks]
    if not unknown:
        replicate = "Replicates are tasks: a task is deleted (or relabelled) with all its runs."
    else:
        replicate = (
            f"Replicates are adapters: the task of {len(unknown)} of {len(every)} adapters is not "
            "known (give it in --design). Two runs of one task then count as two."
        )
    return [replicate, CAVEAT]
