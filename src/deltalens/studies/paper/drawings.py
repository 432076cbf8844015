"""The study's figures: estimates in, plots out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from deltalens.figures.behaviour import Behaviour, BehaviourGroup, behaviour_figure
from deltalens.figures.groups import Group, NullBand
from deltalens.figures.layers import LayerCurve, LayerPlot, layers_figure
from deltalens.figures.matrix import Matrix, matrix_figure
from deltalens.figures.sides import SidePanel, Sides, sides_figure
from deltalens.organisms.behaviour import Summary
from deltalens.studies.paper.estimates import (
    Estimate,
    layer_estimates,
    layer_values,
    over_layers,
    pair_values,
)
from deltalens.studies.paper.examine import Study
from deltalens.studies.paper.relations import RANDOM, RELATIONS, Relation, tasks

_FAMILY = {"same seed": 0, "other seed": 0, "same data, other seed": 1}
_LABELS = {
    "same seed": "bad-bad, same seed",
    "other seed": "bad-bad, other seed",
    "same data, other seed": "same data, other seed",
    "benign twin, same seed": "bad-benign, same seed",
    "benign twin, other seed": "bad-benign, other seed",
}
_SEED_ONLY = ("holds only under a shared seed",)
LAYER_PLOTS: Mapping[str, tuple[str, str]] = {
    "fig1-left": ("cosine", "Figure 1 left: update cosine"),
    "fig1-right": ("pc_cosine", "Figure 1 right: index-matched PC cosine, input side"),
    "fig2-left": ("angle_deg", "Figure 2 left: mean principal angle, input side, degrees"),
    "fig2-right": ("overlap", "Figure 2 right: subspace overlap, input side"),
    "output-overlap": ("output_overlap", "Not in the paper: subspace overlap, output side"),
}
MATRICES: Mapping[str, str] = {
    "cosine": "update cosine",
    "overlap": "input-side overlap",
    "output_overlap": "output-side overlap",
}


def headline(study: Study, *, width: float = 6.46, height: float = 4.4) -> Figure:
    """Input and output overlap side by side, a point per pair, each null as a band."""
    axis = f"subspace overlap, k = {study.comparison.document['top_k']}"
    verdict = {claim.id: claim.verdict for claim in study.claims}
    seed = ": the seed decides" if verdict["fig2-right"] in _SEED_ONLY else ""
    task = ": the task decides" if verdict["output-benign"] == "holds" else ""
    panels = (
        _panel(study, "overlap", f"Input side{seed}", axis),
        _panel(study, "output_overlap", f"Output side{task}", axis),
    )
    return sides_figure(Sides(panels), width=width, height=height)


def _panel(study: Study, measure: str, title: str, axis: str) -> SidePanel:
    groups = tuple(_column(study, measure, relation) for relation in RELATIONS)
    chance = study.evidence.chance[measure]
    lines = () if chance is None else (NullBand("chance (Haar)", chance, chance),)
    return SidePanel(title, axis, groups, lines)


def _column(study: Study, measure: str, relation: Relation) -> Group:
    found = study.estimates(measure, relation)
    return Group(
        label=_LABELS[relation],
        values=found.values,
        mean=found.mean,
        interval=found.interval,
        reason="" if found.interval else f"no interval: {found.reason}",
        family=_FAMILY.get(relation, 2),
        hollow="other seed" in relation,
        null=_rotation_band(study, found) if measure == "overlap" else None,
    )


def _rotation_band(study: Study, found: Estimate) -> NullBand | None:
    """Mean and two deviations of what the shared initialisation alone gives, where it is shared."""
    wanted = {frozenset(pair) for pair in found.pairs}
    moments = [
        p["nulls"]["rotation"]["overlap"]
        for p in study.comparison.document["pairs"]
        if frozenset((p["a"], p["b"])) in wanted and p["shared_init"] == "all"
        if p["nulls"]["rotation"] and "overlap" in p["nulls"]["rotation"]
    ]
    if not moments:
        return None
    low = float(np.mean([m["mean"] - 2 * m["sd"] for m in moments]))
    high = float(np.mean([m["mean"] + 2 * m["sd"] for m in moments]))
    return NullBand("the seed alone (rotation)", low, high)


def layer_plot(study: Study, name: str) -> Figure:
    """Layer-wise curves of one measure with base and random baselines."""
    measure, title = LAYER_PLOTS[name]
    by_pair = layer_values(study.comparison, measure)
    named = tasks(study.organisms.entries)
    curves: list[LayerCurve] = []
    shown: tuple[tuple[Relation, str, int, bool], ...] = (
        ("same seed", "bad-bad, same seed", 0, False),
        ("benign twin, same seed", "bad-benign, same seed", 2, False),
        ("other seed", "bad-bad, other seed", 1, False),
        ("random directions", "random", 0, True),
    )
    for relation, text, family, baseline in shown:
        found = layer_estimates(by_pair, study.related, relation, measure, named)
        curves.append(_curve(text, found, family, baseline=baseline))
    curves.append(_base_curve(study, by_pair))
    return layers_figure(
        LayerPlot(
            title=title,
            axis=measure.replace("_", " "),
            curves=tuple(curves),
            spread="bars: one jackknife standard error over tasks",
        )
    )


def _curve(text: str, found: Mapping[int, Estimate], family: int, *, baseline: bool) -> LayerCurve:
    def ends(sign: float) -> tuple[float | None, ...]:
        return tuple(
            None if e.mean is None or e.standard_error is None else e.mean + sign * e.standard_error
            for e in found.values()
        )

    return LayerCurve(
        label=text,
        layers=tuple(found),
        mean=tuple(e.mean for e in found.values()),
        low=() if baseline else ends(-1.0),
        high=() if baseline else ends(1.0),
        baseline=baseline,
        family=family,
    )


def _base_curve(study: Study, by_pair: Mapping[frozenset[str], Mapping[int, float]]) -> LayerCurve:
    bad = study.organisms.summaries("bad")
    rows = [by_pair[frozenset((name, "base"))] for name in bad]
    layers = tuple(sorted(rows[0]))
    means = tuple(float(np.mean([row[layer] for row in rows])) for layer in layers)
    return LayerCurve("base weights", layers, means, baseline=True)


def paper_variant(study: Study) -> list[tuple[str, str, str]]:
    """Mean and deviation over layers, the paper's own error bars, for the EM pairs of one seed."""
    pairs = study.estimates("overlap", "same seed").pairs
    rows: list[tuple[str, str, str]] = []
    for measure, title in LAYER_PLOTS.values():
        by_pair = layer_values(study.comparison, measure)
        found = over_layers([by_pair.get(frozenset(pair), {}) for pair in pairs])
        ours = study.estimates(measure, "same seed")
        here = "undefined" if ours.mean is None else f"{ours.mean:.3g}"
        if ours.standard_error is not None:
            here += f" ± {ours.standard_error:.2g}"
        rows.append(
            (title, "undefined" if found is None else f"{found[0]:.3g} ± {found[1]:.2g}", here)
        )
    return rows


def behaviour_plot(study: Study) -> Figure:
    """Bad answers where they were trained, held out and elsewhere, and coherence."""
    organisms = study.organisms
    kinds = ("bad", "narrow", "style", "facts", "good", "game")
    groups = [_behaviour("base", [organisms.behaviours["base"].summary()], 3)]
    for kind in kinds:
        names = [e.name for e in organisms.entries if e.spec.kind == kind]
        family = 0 if kind == "bad" else 1 if kind == "narrow" else 2
        text = {"bad": "bad answers", "narrow": "narrow control"}.get(kind, f"benign: {kind}")
        groups.append(_behaviour(text, [organisms.behaviours[n].summary() for n in names], family))
    return behaviour_figure(
        Behaviour(
            title="",
            panels=("bad, trained questions", "bad, held-out questions", "bad, other domains",
                    "coherent"),
            groups=tuple(groups),
        )
    )  # fmt: skip


def _behaviour(text: str, found: Sequence[Summary], family: int) -> BehaviourGroup:
    def rates(name: str) -> tuple[float | None, ...]:
        values: list[float | None] = [getattr(s, name) for s in found]
        return tuple(values) if any(v is not None for v in values) else ()

    fields = ("trained", "held_out", "other", "coherence")
    return BehaviourGroup(text, tuple(rates(field) for field in fields), family)


def matrix_plot(study: Study, measure: str) -> Figure:
    """One measure for all organisms, those of one initialisation together."""
    document: Mapping[str, Any] = study.comparison.document
    ordered = [
        (name, f"init {i + 1}" if len(group) > 1 else "own")
        for i, group in enumerate(sorted(document["init_groups"], key=len, reverse=True))
        for name in group
        if name != RANDOM
    ]
    names = tuple(name for name, _ in ordered)
    values = pair_values(study.comparison, measure)
    rows = tuple(
        tuple(1.0 if a == b else values.get(frozenset((a, b))) for b in names) for a in names
    )
    return matrix_figure(
        Matrix(
            title=MATRICES[measure],
            measure=f"{MATRICES[measure]}, k = {document['top_k']}",
            names=names,
            values=rows,
            groups=tuple(group for _, group in ordered),
            signed=measure == "cosine",
        )
    )
