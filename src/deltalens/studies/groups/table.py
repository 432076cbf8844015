"""Every row of a comparison of groups: means by cell, and the same by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deltalens.stats.multiplicity import holm
from deltalens.studies.compare.rows import measured
from deltalens.studies.groups.cells import Cell
from deltalens.studies.groups.layers import LayerValues
from deltalens.studies.groups.means import against_null, cell_mean
from deltalens.studies.groups.rows import GroupLayerRow, GroupRow
from deltalens.studies.groups.verdict import sentence

Members = Mapping[str, Sequence[str]]


def group_rows(
    members: Members,
    found: Sequence[Cell],
    pairs: Sequence[Mapping[str, Any]],
    tasks: Mapping[str, str],
) -> list[GroupRow]:
    """A row a cell and measure; a group of one adapter has rows that say what it lacks."""
    document = {frozenset((p["a"], p["b"])): p for p in pairs}
    rows: list[GroupRow] = []
    for measure in measured(pairs):
        each = [_row(cell, measure, _of(cell, document), tasks) for cell in found]
        family = f"{measure} of every group comparison"
        adjusted = holm([row.p for row in each], family=family).p
        lonely = [_alone(label, measure) for label, names in members.items() if len(names) < 2]
        rows += [
            replace(row, p_holm=p) for row, p in zip(each, adjusted, strict=True)
        ] + lonely  # fmt: skip
    return [replace(row, verdict=sentence(row)) for row in rows]


def _of(
    cell: Cell, document: Mapping[frozenset[str], Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    return [document[frozenset(pair)] for pair in cell.pairs]


def _row(
    cell: Cell, measure: str, pairs: Sequence[Mapping[str, Any]], tasks: Mapping[str, str]
) -> GroupRow:
    values = {pair: p[measure] for pair, p in zip(cell.pairs, pairs, strict=True)}
    mean = cell_mean(values, cell, tasks)
    null = against_null(pairs, cell, measure, tasks)
    names = {name for pair in cell.pairs for name in pair}
    interval = mean.interval
    missing = sum(value is None for value in values.values())
    return GroupRow(
        a=cell.a,
        b=cell.b,
        seeds=cell.seeds,
        tasks=cell.tasks,
        measure=measure,
        mean=interval.estimate,
        low=interval.low,
        high=interval.high,
        df=interval.df,
        method=interval.method,
        reason="no pair has a value" if missing == len(values) else interval.reason,
        n_runs=len(names),
        n_tasks=None if cell.tasks == "unknown" else len({tasks[name] for name in names}),
        n_pairs=len(values) - missing,
        n_missing=missing,
        null=null.name,
        null_mean=null.mean,
        null_reason=null.reason,
        p=null.p,
        p_smallest=null.p_smallest,
        p_holm=None,
        verdict="",
    )


def _alone(label: str, measure: str) -> GroupRow:
    why = f"group {label!r} has 1 adapter, where a comparison within a group needs 2"
    return GroupRow(
        a=label,
        b=label,
        seeds="",
        tasks="",
        measure=measure,
        mean=None,
        low=None,
        high=None,
        df=None,
        method="",
        reason=why,
        n_runs=1,
        n_tasks=None,
        n_pairs=0,
        n_missing=0,
        null=None,
        null_mean=None,
        null_reason=why,
        p=None,
        p_smallest=None,
        p_holm=None,
        verdict="",
    )


def layer_rows(
    found: Sequence[Cell], measure: str, values: LayerValues, tasks: Mapping[str, str]
) -> list[GroupLayerRow]:
    """One measure of every cell at every layer, with the jackknife's interval there."""
    layers = sorted({layer for by_layer in values.values() for layer in by_layer})
    rows: list[GroupLayerRow] = []
    for cell in found:
        for layer in layers:
            here = {pair: values.get(frozenset(pair), {}).get(layer) for pair in cell.pairs}
            mean = cell_mean(here, cell, tasks).interval
            rows.append(
                GroupLayerRow(
                    cell.a, cell.b, cell.seeds, cell.tasks, measure, layer,
                    mean.estimate, mean.low, mean.high, mean.reason,
                )
            )  # fmt: skip
    return rows
