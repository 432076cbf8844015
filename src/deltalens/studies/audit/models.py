"""The published numbers of one model, each beside its range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.studies.audit.chance import chance
from deltalens.studies.audit.hypotheses import FAMILIES, ISOTROPIC
from deltalens.studies.audit.published import MEASURES, Published, published
from deltalens.studies.audit.ranges import Range, Simulated, nearest, range_of, simulate_layer
from deltalens.studies.audit.rows import ComparedRow, LayerRow, SimulatedRow
from deltalens.studies.audit.shapes import DEPTH, MODELS
from deltalens.studies.audit.simulate import Cuts
from deltalens.studies.audit.words import control_sentence, measure_name, sentence

# The cuts of the paper's notebooks.
PAPER_CUTS = Cuts(overlap=16, angle=20)
INDEXED = "pc_cosine_by_index"


@dataclass(frozen=True)
class ModelAudit:
    """One base model: the ranges, the published values beside them, and the sentences.

    Attributes:
        model: the base model.
        simulated: every hypothesis.
        ranges: of each measure, over all hypotheses.
        families: of each measure, over the hypotheses of each family.
        chance: of each measure, without a common initialisation.
        claims: the EM pairs.
        controls: the other adapters; the base's own weights are left out.
        nearest: the hypothesis nearest to the claims' means, and its distance.
        sentences: one a published measure, then one a control.
    """

    model: str
    simulated: tuple[Simulated, ...]
    ranges: Mapping[str, Range]
    families: Mapping[str, Mapping[str, Range]]
    chance: Mapping[str, float]
    claims: tuple[ComparedRow, ...]
    controls: tuple[ComparedRow, ...]
    nearest: tuple[Simulated, float]
    sentences: tuple[str, ...]

    @property
    def means(self) -> Mapping[str, float]:
        """Mean over the EM pairs of each published measure."""
        return means(self.claims)


def audit_model(model: str, draws: int, *, seed: int) -> ModelAudit:
    """Simulate at a model's shapes and set its published numbers beside the ranges."""
    modules = MODELS[model]
    place = list(MODELS).index(model)
    simulated = simulate_layer(modules, PAPER_CUTS, draws, seed=seed + 1000 * place)
    ranges, families = all_ranges(simulated, DEPTH[model])
    by_chance = chance(modules, PAPER_CUTS, rng=np.random.default_rng([seed, place]))
    series = [p for p in published() if p.model == model and p.measure in MEASURES]
    claims = [_compared(p, ranges, families, by_chance) for p in series if p.is_claim]
    others = [p for p in series if not p.is_claim and not p.is_against_base]
    controls = [_compared(p, None, families, by_chance) for p in others]
    return ModelAudit(
        model=model,
        simulated=simulated,
        ranges=ranges,
        families=families,
        chance=by_chance,
        claims=tuple(claims),
        controls=tuple(controls),
        nearest=nearest(means(claims), simulated),
        sentences=(
            *_sentences(claims, ranges, plain_ranges(simulated, DEPTH[model])),
            *_control_sentences(controls, by_chance),
        ),
    )


def all_ranges(
    simulated: Sequence[Simulated], layers: int = 1
) -> tuple[dict[str, Range], dict[str, dict[str, Range]]]:
    """The range of each measure over all hypotheses, and family by family."""
    ranges = {measure: range_of(measure, simulated, layers) for measure in MEASURES}
    families = {
        family: {m: range_of(m, inside, layers) for m in MEASURES}
        for family in FAMILIES
        if (inside := [s for s in simulated if s.hypothesis.family == family])
    }
    return ranges, families


def plain_ranges(simulated: Sequence[Simulated], layers: int = 1) -> dict[str, Range]:
    """The range of each measure over the hypotheses with isotropic inputs."""
    plain = [s for s in simulated if s.hypothesis.family in ISOTROPIC]
    return {measure: range_of(measure, plain, layers) for measure in MEASURES}


def means(rows: Iterable[ComparedRow]) -> dict[str, float]:
    """Mean over pairs of each measure that has values."""
    values: dict[str, list[float]] = {}
    for row in rows:
        if row.value is not None:
            values.setdefault(row.measure, []).append(row.value)
    return {measure: sum(v) / len(v) for measure, v in values.items()}


def cut_of(measure: str, cuts: Cuts) -> int:
    """The k of a measure."""
    return {"overlap": cuts.overlap, "first_pc_cosine": 1}.get(measure, cuts.angle)


def families_around(
    measure: str, value: float, families: Mapping[str, Mapping[str, Range]]
) -> tuple[str, ...]:
    """The families whose own range holds a value."""
    return tuple(name for name, ranges in families.items() if ranges[measure].holds(value))


def _compared(
    p: Published,
    ranges: Mapping[str, Range] | None,
    families: Mapping[str, Mapping[str, Range]],
    by_chance: Mapping[str, float],
) -> ComparedRow:
    span = None if ranges is None else ranges[p.measure]
    return ComparedRow(
        model=p.model,
        pair=p.pair,
        measure=p.measure,
        k=cut_of(p.measure, PAPER_CUTS),
        value=p.mean,
        n_layers=len(p.values) if p.axis == "layer" else 0,
        low=span and span.low,
        high=span and span.high,
        inside=span and span.holds(p.mean),
        families=() if span is None else families_around(p.measure, p.mean, families),
        chance=by_chance[p.measure],
        source=p.source,
    )


def _ends(rows: Iterable[ComparedRow], measure: str) -> tuple[float, float] | None:
    values = [r.value for r in rows if r.measure == measure and r.value is not None]
    return (min(values), max(values)) if values else None


def _sentences(
    rows: Sequence[ComparedRow], ranges: Mapping[str, Range], plain: Mapping[str, Range]
) -> list[str]:
    return [
        sentence(measure_name(m, PAPER_CUTS), *ends, ranges[m], plain[m])
        for m in MEASURES
        if (ends := _ends(rows, m)) is not None
    ]


def _control_sentences(rows: Sequence[ComparedRow], by_chance: Mapping[str, float]) -> list[str]:
    return [
        control_sentence(measure_name(m, PAPER_CUTS), *ends, by_chance[m])
        for m in MEASURES
        if (ends := _ends(rows, m)) is not None
    ]


def simulated_rows(
    model: str, simulated: Sequence[Simulated], cuts: Cuts, draws: int
) -> list[SimulatedRow]:
    """The long table of every hypothesis and measure."""
    return [
        SimulatedRow(
            model=model,
            family=s.hypothesis.family,
            hypothesis=str(s.hypothesis),
            spectrum=s.hypothesis.spectrum.name,
            inputs=None if s.hypothesis.inputs is None else str(s.hypothesis.inputs),
            q=s.hypothesis.q,
            measure=measure,
            k=cut_of(measure, cuts),
            mean=s.mean[measure],
            error=s.error[measure],
            sd=s.sd[measure],
            draws=draws,
        )
        for s in simulated
        for measure in MEASURES
    ]


def layer_rows() -> list[LayerRow]:
    """Every published value, layer by layer and index by index."""
    return [
        LayerRow(p.model, p.pair, p.measure, p.axis, position, value, p.source)
        for p in published()
        for position, value in enumerate(p.values)
    ]
