"""The comparison's figures: the document in, plots out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.groups import Group, NullBand
from deltalens.figures.layers import LayerCurve, LayerPlot, layers_figure
from deltalens.figures.matrix import Matrix, matrix_figure
from deltalens.figures.sides import SidePanel, Sides, sides_figure
from deltalens.studies.compare.bank_report import bank_figures
from deltalens.studies.compare.rows import ModuleRow

MATRICES: Mapping[str, str] = {
    "cosine": "update cosine (signed; the test statistic)",
    "overlap": "input-side overlap",
    "output_overlap": "output-side overlap",
    "pc_cosine": "input-side PC cosine",
    "angle_deg": "input-side mean angle, degrees",
}
_COLUMNS = {
    "all": "shared initialisation",
    "some": "shared in some modules",
    "none": "other initialisation",
}
_CURVES = 12
Pairs = Sequence[Mapping[str, Any]]


def figures(result: Result) -> dict[str, Figure]:
    """Every figure of a comparison by name."""
    document, pairs = result.document, result.document["pairs"]
    if not pairs:
        return {}
    found = {"sides": sides(document, width=6.46), **bank_figures(document, width=6.46)}
    for measure, title in MATRICES.items():
        found[f"matrix-{measure.replace('_', '-')}"] = matrix(document, measure, title)
    for measure, side in (("overlap", "input"), ("overlap", "output"), ("cosine", "both")):
        found[f"layers-{side}-{measure}"] = layers(result, measure, side)
    return found


def sides(document: Mapping[str, Any], *, width: float, height: float = 4.4) -> Figure:
    """Input and output overlap of every pair, in columns by initialisation."""
    pairs: Pairs = document["pairs"]
    k = document["top_k"]
    panels = tuple(
        SidePanel(
            title, f"subspace overlap, k = {k}", _columns(pairs, measure), _chance(pairs, measure)
        )
        for measure, title in (("overlap", "Input side"), ("output_overlap", "Output side"))
    )
    return sides_figure(Sides(panels), width=width, height=height)


def _columns(pairs: Pairs, measure: str) -> tuple[Group, ...]:
    groups: list[Group] = []
    for family, (state, text) in enumerate(_COLUMNS.items()):
        chosen = [p for p in pairs if p["shared_init"] == state]
        if not chosen:
            continue
        values = tuple(p[measure] for p in chosen)
        known = [v for v in values if v is not None]
        groups.append(
            Group(
                label=text,
                values=values,
                mean=float(np.mean(known)) if known else None,
                reason="" if known else "k is above the numerical rank",
                family=family,
                null=_bank(chosen, measure) or _rotation(chosen, measure),
            )
        )
    return tuple(groups)


def _bank(pairs: Pairs, measure: str) -> NullBand | None:
    """From the smallest to the largest value of the bank, where it ranks the pairs."""
    moments = [p["nulls"]["bank"][measure] for p in pairs if p["null_used"].get(measure) == "bank"]
    if not moments:
        return None
    low, high = min(m["low"] for m in moments), max(m["high"] for m in moments)
    return NullBand("bank of unrelated adapters", low, high)


def _rotation(pairs: Pairs, measure: str) -> NullBand | None:
    if measure != "overlap":
        return None
    used = [p["nulls"]["rotation"] for p in pairs if p["null_used"].get("overlap") == "rotation"]
    moments = [m["overlap"] for m in used if m and "overlap" in m]
    if not moments or any(m["sd"] is None for m in moments):  # one draw has no deviation
        return None
    low = min(m["mean"] - 2 * m["sd"] for m in moments)
    high = max(m["mean"] + 2 * m["sd"] for m in moments)
    return NullBand("the seed alone (rotation)", low, high)


def _chance(pairs: Pairs, measure: str) -> tuple[NullBand, ...]:
    means = [p["nulls"]["haar"][measure]["mean"] for p in pairs if measure in p["nulls"]["haar"]]
    if not means:
        return ()
    return (NullBand("chance (Haar)", min(means), max(means)),)


def matrix(document: Mapping[str, Any], measure: str, title: str) -> Figure:
    """One measure for all pairs, adapters of one initialisation together."""
    ordered = [
        (name, f"init {i + 1}" if len(group) > 1 else "own")
        for i, group in enumerate(sorted(document["init_groups"], key=len, reverse=True))
        for name in group
    ]
    names = tuple(name for name, _ in ordered)
    values = {frozenset((p["a"], p["b"])): p[measure] for p in document["pairs"]}
    itself = 0.0 if measure == "angle_deg" else 1.0
    rows = tuple(
        tuple(itself if a == b else values.get(frozenset((a, b))) for b in names) for a in names
    )
    return matrix_figure(
        Matrix(
            title=title,
            measure=f"{title.split(' (')[0]}, k = {document['top_k']}",
            names=names,
            values=rows,
            groups=tuple(group for _, group in ordered),
            signed=measure == "cosine",
        )
    )


def layers(result: Result, measure: str, side: str) -> Figure:
    """One measure by layer: a curve per pair, or the mean of each kind where pairs are many."""
    rows: Sequence[ModuleRow] = result.tables["modules"]
    state = {(p["a"], p["b"]): p["shared_init"] for p in result.document["pairs"]}
    collected: dict[str, dict[int, list[float]]] = {}
    for row in rows:
        if (row.measure, row.side) != (measure, side) or (row.a, row.b) not in state:
            continue
        if row.layer is None or row.value is None:
            continue
        many = len(state) > _CURVES
        name = _COLUMNS[state[row.a, row.b]] if many else f"{row.a} - {row.b}"
        collected.setdefault(name, {}).setdefault(row.layer, []).append(row.value)
    curves = tuple(
        LayerCurve(
            label=name,
            layers=tuple(sorted(by_layer)),
            mean=tuple(float(np.mean(by_layer[layer])) for layer in sorted(by_layer)),
            family=family,
        )
        for family, (name, by_layer) in enumerate(collected.items())
    )
    title = "update cosine" if side == "both" else f"{side}-side {measure}"
    return layers_figure(LayerPlot(title=title, axis=title, curves=curves))
