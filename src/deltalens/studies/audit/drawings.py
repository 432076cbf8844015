"""The audit's figures: each published curve over the range of unrelated updates."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from deltalens.figures.ranges import Band, Curve, RangePanel, ranges_figure
from deltalens.studies.audit.audit import Audit
from deltalens.studies.audit.models import INDEXED, PAPER_CUTS, ModelAudit
from deltalens.studies.audit.published import MEASURES, Published, published
from deltalens.studies.audit.words import measure_name

_SHORT = {
    "B unrelated to A": "B unrelated to A",
    "one gradient step, isotropic inputs": "gradient, isotropic inputs",
    "one gradient step, one shared input direction": "gradient, one direction",
    "one gradient step, power-law inputs": "gradient, power-law inputs",
}


def figures(audit: Audit) -> Mapping[str, Figure]:
    """For each model every measure layer by layer, and the PC cosines by index."""
    drawn: dict[str, Figure] = {}
    for found in audit.models:
        name = found.model.lower()
        drawn[f"layers-{name}"] = ranges_figure(
            [_by_layer(found, m) for m in MEASURES if _series(found.model, m)], note=_note(found)
        )
        nearest = (
            f"{found.model}. Chosen after the fact, it describes: {found.nearest[0].hypothesis}."
        )
        drawn[f"components-{name}"] = ranges_figure([_by_index(found)], note=nearest)
    return drawn


def headline(audit: Audit) -> Figure:
    """Overlap and angle of the first model: what the paper's claim rests on."""
    found = audit.models[0]
    panels = [_by_layer(found, "overlap"), _by_layer(found, "angle_deg")]
    return ranges_figure(panels, note=_note(found), height=3.3)


def _series(model: str, measure: str) -> list[Published]:
    return [p for p in published() if p.model == model and p.measure == measure and p.is_claim]


def _by_layer(found: ModelAudit, measure: str) -> RangePanel:
    curves = [
        Curve(p.pair, tuple(range(len(p.values))), p.values) for p in _series(found.model, measure)
    ]
    bands = [
        Band(_SHORT[family], ranges[measure].low, ranges[measure].high)
        for family, ranges in found.families.items()
    ]
    name = measure_name(measure, PAPER_CUTS)
    return RangePanel(name[0].upper() + name[1:], "layer", tuple(curves), tuple(bands))


def _by_index(found: ModelAudit) -> RangePanel:
    """PC cosine of the j-th component: published, and the hypothesis nearest in all measures."""
    curves = [
        Curve(p.pair, tuple(range(1, len(p.values) + 1)), p.values)
        for p in _series(found.model, INDEXED)
    ]
    best = found.nearest[0]
    places = tuple(range(1, len(best.curve) + 1))
    curves.append(Curve("nearest unrelated updates", places, best.curve))
    return RangePanel("PC cosine of the j-th component, mean over layers", "j", tuple(curves), ())


def _note(found: ModelAudit) -> str:
    return (
        f"{found.model}. Black: published EM pairs. Bars: lowest to highest mean that unrelated "
        "updates of one seed give, by assumption; grey: all of them. The adapters were not opened."
    )
