"""One base's organisms: everything that is computed from them before anything is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from deltalens.core.result import Result
from deltalens.io.provenance import provenance
from deltalens.io.read import load
from deltalens.organisms.roster import bank_specs
from deltalens.studies.compare.rows import PairRow
from deltalens.studies.compare.study import compare
from deltalens.studies.design.agreement import AgreementRow
from deltalens.studies.paper.agreement import agreements
from deltalens.studies.paper.appendix.section import Appendix, appendix
from deltalens.studies.paper.bank import BANK_CLAIMS, bank_claim, controls, rank_pairs
from deltalens.studies.paper.claim import Claim
from deltalens.studies.paper.claims import Evidence, claims
from deltalens.studies.paper.estimates import Estimate, estimate, pair_values
from deltalens.studies.paper.families import BaseFamily
from deltalens.studies.paper.lines.claims import LineEvidence, line_claims
from deltalens.studies.paper.lines.numbers import Number, over_lines
from deltalens.studies.paper.lines.plan import Family
from deltalens.studies.paper.lines.walked import Walked
from deltalens.studies.paper.organisms import Organisms, no_persona_rise, over_tasks
from deltalens.studies.paper.random_baseline import random_like
from deltalens.studies.paper.relations import RANDOM, Related, Relation, relate, tasks

Say = Callable[[str], None]
TOP_K = 4  # half the organisms' rank, as 16 is half of the paper's 32
DRAWS = 199


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that the report says of the organisms of one base."""

    family: BaseFamily
    seed: int
    organisms: Organisms
    related: tuple[Related, ...]
    comparison: Result
    estimates: Callable[[str, Relation], Estimate]
    evidence: Evidence
    walked: Walked
    line_evidence: LineEvidence
    appendix: Appendix
    agreement: Sequence[AgreementRow]
    claims: tuple[Claim, ...]
    provenance: dict[str, object]

    def named_claims(self) -> list[Claim]:
        """The claims under this base's names."""
        return [self.family.named(claim) for claim in self.claims]


def examine(
    organisms: Organisms, walked: Walked, *, family: BaseFamily, seed: int, say: Say
) -> Study:
    """Compare trained organisms and judge every claim, those of their lines too."""
    adapters = [load(folder) for folder in organisms.folders.values()]
    rng = np.random.default_rng([seed, 2])
    baseline = random_like(adapters[0], RANDOM, rng=rng)
    say(f"comparing {len(adapters)} organisms with one another, the base and random directions")
    comparison = compare(
        [*adapters, baseline],
        base=organisms.base,
        bank=list(organisms.bank.values()),
        top_k=TOP_K,
        seed=seed,
        draws=DRAWS,
        full_provenance=False,  # the study's own provenance hashes the same files
    )
    related, named = relate(organisms.entries), tasks(organisms.entries)

    @cache
    def values(measure: str) -> dict[frozenset[str], float | None]:
        return pair_values(comparison, measure)

    @cache
    def estimates(measure: str, relation: Relation) -> Estimate:
        return estimate(values(measure), related, relation, measure, named)

    @cache
    def along(family: Family, number: Number) -> Estimate:
        return over_lines(walked, family, number, named)

    evidence = _evidence(organisms, comparison, estimates, persona=not family.prefix, seed=seed)
    on_lines = LineEvidence(along, walked.triangle, seed)
    settings = {"seed": seed, "top_k": TOP_K, "draws": DRAWS}
    folders = {**organisms.folders, **organisms.bank}
    files = [f / "adapter_model.safetensors" for f in folders.values()]
    found = (*claims(evidence), *_bank_claims(evidence), *line_claims(on_lines))
    return Study(
        family=family,
        seed=seed,
        organisms=organisms,
        related=related,
        comparison=comparison,
        estimates=estimates,
        evidence=evidence,
        walked=walked,
        line_evidence=on_lines,
        appendix=appendix(comparison, organisms.entries, [*adapters, baseline], related, TOP_K),
        agreement=agreements(comparison, organisms.entries, seed=seed),
        claims=found,
        provenance=provenance(settings, [organisms.base / "model.safetensors", *files]),
    )


def _bank_claims(e: Evidence) -> list[Claim]:
    return [bank_claim(m, e.ranked[m], e.estimates(m, "same seed"), e.beside) for m in BANK_CLAIMS]


def _evidence(
    organisms: Organisms,
    comparison: Result,
    estimates: Callable[[str, Relation], Estimate],
    *,
    persona: bool,
    seed: int,
) -> Evidence:
    base = organisms.behaviours["base"].summary()
    pairs = estimates("cosine", "same seed").pairs
    bad = organisms.summaries("bad")
    return Evidence(
        estimates=estimates,
        chance=_chance(comparison),
        base_cosine=over_tasks(_base_cosines(comparison, list(bad)), organisms.entries),
        broad=over_tasks({n: s.other for n, s in bad.items()}, organisms.entries),
        benign_broad=over_tasks(
            {n: s.other for n, s in organisms.summaries("benign").items()}, organisms.entries
        ),
        base_rate=float(base.other or 0.0),
        no_persona=no_persona_rise()[0] if persona else None,
        ranked={m: rank_pairs(comparison.document, pairs, m) for m in BANK_CLAIMS},
        harmless=organisms.bank_rates,
        beside=controls(comparison.document, _harmless_kinds(seed)),
    )


def _harmless_kinds(seed: int) -> dict[str, str]:
    """Kinds of the bank, and of the controls among the organisms that share its initialisation."""
    return {spec.name: spec.kind for spec in bank_specs(seed)}


def _base_cosines(comparison: Result, names: list[str]) -> dict[str, float | None]:
    rows: list[PairRow] = list(comparison.tables["pairs"])
    return {r.a: r.value for r in rows if r.b == "base" and r.measure == "cosine" and r.a in names}


def _chance(comparison: Result) -> dict[str, float | None]:
    """What random directions of these shapes give, from the closed forms."""
    pair = next(p for p in comparison.document["pairs"] if RANDOM in (p["a"], p["b"]))
    null = pair["nulls"]["haar"]
    measures = ("overlap", "pc_cosine", "output_overlap", "angle_deg")
    return {m: null[m]["mean"] if m in null else None for m in measures}
