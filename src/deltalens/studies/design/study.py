"""A design laid over a comparison: the document's `design`, and the table of its effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from deltalens.core.result import LazyTables, Result
from deltalens.stats.multiplicity import holm
from deltalens.studies.compare.rows import measured
from deltalens.studies.design.agreement import agreement_rows
from deltalens.studies.design.effects import INTERCEPT, Effect, effects
from deltalens.studies.design.regressors import MODEL, Regressors
from deltalens.studies.design.rows import EffectRow
from deltalens.studies.design.table import Table


@dataclass(frozen=True, eq=False)
class Design:
    """A table whose effects can all be told apart, and its model."""

    table: Table
    found: Regressors

    @property
    def units(self) -> tuple[str, ...]:
        """The replicate of each adapter: its task where the table has one, else itself."""
        n = len(self.table.paths)
        return tuple(self.table.levels.get("task", [str(i) for i in range(n)]))

    @property
    def unit(self) -> str:
        """What a replicate is."""
        return "task" if "task" in self.table.levels else "adapter"


def with_design(result: Result, design: Design, names: Sequence[str]) -> Result:
    """The same comparison with the effects of a design on every measure.

    Args:
        result: of `compare`.
        design: the table and its model.
        names: of the table's adapters in the comparison, in the table's order.
    """
    pairs = {frozenset((p["a"], p["b"])): p for p in result.document["pairs"]}
    chosen = [pairs[frozenset((names[i], names[j]))] for i, j in design.found.pairs]
    rows = [row for measure in measured(chosen) for row in _rows(design, measure, chosen)]
    seed: int = result.provenance["settings"]["seed"]
    agreement = agreement_rows(design.table.levels, names, pairs, seed=seed)
    document = {
        **result.document,
        "design": {
            **_document(design, names, rows),
            "agreement": [asdict(row) for row in agreement],
        },
        "warnings": [*result.document["warnings"], *_disagreements(design, names, chosen)],
    }
    tables = LazyTables(
        {**{name: _held(result, name) for name in result.tables}, "design": lambda: rows}
    )
    return replace(result, document=document, tables=tables)


def _held(result: Result, name: str) -> Any:
    return lambda: result.tables[name]


def _rows(design: Design, measure: str, pairs: Sequence[Mapping[str, Any]]) -> list[EffectRow]:
    y = [p[measure] for p in pairs]
    found = effects(design.found, y, design.units)
    tested = [None if e.term == INTERCEPT else e.p() for e in found]
    adjusted = holm(tested, family=f"effects on {measure}").p
    r2 = _r2(design.found, y)
    known = sum(v is not None for v in y)
    rows = [
        _row(design, measure, e, p, p_holm, r2, known)
        for e, p, p_holm in zip(found, tested, adjusted, strict=True)
    ]
    constant = [
        _row(design, measure, Effect(term, None, reason=why), None, None, r2, known)
        for term, why in design.found.constant.items()
    ]
    return rows + constant


def _row(
    design: Design,
    measure: str,
    effect: Effect,
    p: float | None,
    p_holm: float | None,
    r2: float | None,
    n_pairs: int,
) -> EffectRow:
    low, high = effect.interval() or (None, None)
    return EffectRow(
        measure=measure,
        term=effect.term,
        estimate=effect.estimate,
        low=low,
        high=high,
        df=effect.df,
        unit=design.unit,
        n_units=len(set(design.units)),
        n_pairs=n_pairs,
        p=p,
        p_holm=p_holm,
        r2=r2,
        reason=effect.reason,
    )


def _r2(found: Regressors, y: Sequence[float | None]) -> float | None:
    """Share of the spread over pairs that the model gives; it describes, and tests nothing."""
    known = np.array([v is not None for v in y])
    values = np.array([v for v in y if v is not None], dtype=np.float64)
    total = float(((values - values.mean()) ** 2).sum()) if len(values) else 0.0
    if total == 0.0:
        return None
    X = found.X[known]
    left = values - X @ np.linalg.lstsq(X, values, rcond=None)[0]
    return 1.0 - float((left**2).sum()) / total


def _document(design: Design, names: Sequence[str], rows: Sequence[EffectRow]) -> dict[str, Any]:
    levels = design.table.levels
    return {
        "model": f"{MODEL} over all pairs, by least squares",
        "adapters": [
            {"name": name, **{factor: each[i] for factor, each in levels.items()}}
            for i, name in enumerate(names)
        ],
        "factors": {
            factor: [term for term, of in design.found.factors.items() if of == factor]
            for factor in levels
        },
        "unit": design.unit,
        "n_units": len(set(design.units)),
        "effects": [_effect(row) for row in rows],
        "notes": _notes(design),
    }


def _effect(row: EffectRow) -> dict[str, Any]:
    fields = asdict(row)
    low, high = fields.pop("low"), fields.pop("high")
    return {**fields, "interval": None if low is None else [low, high]}


def _notes(design: Design) -> list[str]:
    notes = [
        "Effects add up: a pair of one seed and one task has both. Where the seed changes what a "
        "common task looks like (the update cosine across seeds), no sum can say so.",
        f"Intervals: a jackknife that deletes one {design.unit} with all its pairs. They speak of "
        f"other {design.unit}s with these seeds.",
    ]
    if design.unit == "adapter":
        notes.append(
            "No column 'task': each adapter counts as a task of its own, and where two share one "
            "the intervals are too narrow."
        )
    return notes


def _disagreements(
    design: Design, names: Sequence[str], pairs: Sequence[Mapping[str, Any]]
) -> list[str]:
    """Where the table's seeds are not the initialisations that are measured."""
    seeds = design.table.levels.get("seed")
    if seeds is None:
        return []
    odd = [
        (names[i], names[j])
        for (i, j), p in zip(design.found.pairs, pairs, strict=True)
        if p["shared_init"] != ("all" if seeds[i] == seeds[j] else "none")
    ]
    if not odd:
        return []
    return [
        f"the design's seeds are not the measured initialisations in {len(odd)} of {len(pairs)} "
        f"pairs (first {odd[0][0]} - {odd[0][1]}): a shared seed need not be a shared lora_A"
    ]
