"""The figures of a comparison of groups: curves by layer, boxes, heat maps and trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.boxes import Boxes, boxes_figure
from deltalens.figures.dendrogram import Dendrogram, dendrogram_figure
from deltalens.figures.groups import Group, NullBand
from deltalens.figures.layers import LayerCurve, LayerPlot, layers_figure
from deltalens.figures.matrix import Matrix, matrix_figure
from deltalens.studies.groups.cells import Cell, cells
from deltalens.studies.groups.rows import GroupLayerRow, GroupRow
from deltalens.studies.groups.tree import merges

TITLES: Mapping[str, str] = {
    "cosine": "update cosine",
    "overlap": "input-side overlap",
    "output_overlap": "output-side overlap",
}
_CURVES = 6  # with more, their names would be cut
Key = tuple[str, str, str, str]


def group_figures(result: Result) -> dict[str, Figure]:
    """Every figure of the groups by name; none where the comparison has no groups."""
    if not result.document["groups"]:
        return {}
    found: dict[str, Figure] = {}
    for measure, title in TITLES.items():
        name = measure.replace("_", "-")
        found[f"groups-boxes-{name}"] = _boxes(result, measure, title)
        found[f"groups-layers-{name}"] = _layers(result, measure, title)
        found[f"groups-matrix-{name}"] = _matrix(result.document, measure, title)
        tree = None if measure == "cosine" else _tree(result.document, measure, title)
        if tree is not None:
            found[f"groups-tree-{name}"] = tree
    return found


def _cells(document: Mapping[str, Any]) -> tuple[Cell, ...]:
    """The cells again, in the order of the rows."""
    members = {m["label"]: m["adapters"] for m in document["group_members"]}
    tasks = {
        name: task
        for m in document["group_members"]
        for name, task in m["tasks"].items()
        if task is not None
    }
    return cells(members, document["pairs"], tasks)


def _boxes(result: Result, measure: str, title: str) -> Figure:
    values = {frozenset((p["a"], p["b"])): p[measure] for p in result.document["pairs"]}
    rows: Sequence[GroupRow] = result.tables["groups"]
    by_key = {(r.a, r.b, r.seeds, r.tasks): r for r in rows if r.measure == measure}
    families = _families(result.document)
    drawn = tuple(
        _row(cell, by_key[_cell_key(cell)], values, families[cell.a, cell.b])
        for cell in _cells(result.document)
    )
    text = (
        "A point per pair; box: quartiles; black: mean with its 95 % interval over runs or tasks; "
        "grey: the null's mean. Hollow: other seeds. No interval: under 3 tasks or adapters."
    )
    k = result.document["top_k"]
    axis = title if measure == "cosine" else f"{title}, k = {k}"
    return boxes_figure(Boxes(f"Within and between groups: {title}", axis, drawn, text))


def _row(
    cell: Cell, row: GroupRow, values: Mapping[frozenset[str], float | None], family: int
) -> Group:
    null = None if row.null_mean is None else NullBand(row.null or "", row.null_mean, row.null_mean)
    return Group(
        label=cell.title,
        values=tuple(values[frozenset(pair)] for pair in cell.pairs),
        mean=row.mean,
        interval=None if row.low is None or row.high is None else (row.low, row.high),
        reason="" if row.mean is not None else (row.reason or ""),
        family=family,
        hollow=cell.seeds != "same",
        null=null,
    )


def _layers(result: Result, measure: str, title: str) -> Figure:
    rows: Sequence[GroupLayerRow] = result.tables["group_layers"]
    families = _families(result.document)
    found = [cell for cell in _cells(result.document) if cell.tasks != "same"]
    largest = sorted(found, key=lambda c: -len(c.pairs))[:_CURVES]
    curves = [
        _curve(cell, [r for r in rows if _of(r, cell, measure)], families[cell.a, cell.b])
        for cell in found
        if cell in largest
    ]
    left = len(found) - len(curves)
    return layers_figure(
        LayerPlot(
            title=f"By layer: {title}",
            axis=title,
            curves=tuple(curves),
            spread="bars: 95 % intervals, by a jackknife over tasks or adapters",
            note=f"{left} smaller comparisons are in results/group_layers.parquet." if left else "",
        ),
        height=3.6,
    )


def _of(row: GroupLayerRow, cell: Cell, measure: str) -> bool:
    return (row.a, row.b, row.seeds, row.tasks) == _cell_key(cell) and row.measure == measure


def _curve(cell: Cell, rows: Sequence[GroupLayerRow], family: int) -> LayerCurve:
    return LayerCurve(
        label=cell.title,
        layers=tuple(row.layer for row in rows),
        mean=tuple(row.mean for row in rows),
        low=tuple(row.low for row in rows),
        high=tuple(row.high for row in rows),
        family=family,
    )


def _matrix(document: Mapping[str, Any], measure: str, title: str) -> Figure:
    ordered = [(name, m["label"]) for m in document["group_members"] for name in m["adapters"]]
    values = {frozenset((p["a"], p["b"])): p[measure] for p in document["pairs"]}
    names = tuple(name for name, _ in ordered)
    return matrix_figure(
        Matrix(
            title=f"By group: {title}",
            measure=title,
            names=names,
            values=tuple(
                tuple(1.0 if a == b else values[frozenset((a, b))] for b in names) for a in names
            ),
            groups=tuple(label for _, label in ordered),
            signed=measure == "cosine",
        )
    )


def _tree(document: Mapping[str, Any], measure: str, title: str) -> Figure | None:
    ordered = [(name, m["label"]) for m in document["group_members"] for name in m["adapters"]]
    names = tuple(name for name, _ in ordered)
    found = merges(names, document["pairs"], measure)
    if found is None:
        return None
    return dendrogram_figure(
        Dendrogram(
            title=f"Average linkage on 1 - {title}",
            axis=f"1 - {title}",
            names=names,
            merges=found,
            groups=tuple(label for _, label in ordered),
            note="Colours are groups. A tree describes and tests nothing.",
        )
    )


def _families(document: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """A colour for each two groups."""
    ends = dict.fromkeys((row["a"], row["b"]) for row in document["groups"])
    return {pair: i for i, pair in enumerate(ends)}


def _cell_key(cell: Cell) -> Key:
    return cell.a, cell.b, cell.seeds, cell.tasks
