"""The report of the paper's story: the question, the answer, one figure, the claims; then depth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from deltalens.report.page import Claim as ClaimRow
from deltalens.report.page import FigureBlock, Page, Section, TableBlock
from deltalens.studies.paper.agreement import agreement_section
from deltalens.studies.paper.appendix.section import appendix_sections
from deltalens.studies.paper.bank import bank_section
from deltalens.studies.paper.claim import Claim
from deltalens.studies.paper.drawings import LAYER_PLOTS, MATRICES, paper_variant
from deltalens.studies.paper.examine import Study
from deltalens.studies.paper.lines.page import lines_section
from deltalens.studies.paper.relations import RELATIONS, Relation

_TOY = "Toy by construction: not evidence about large models."
_MEASURES = ("cosine", "pc_cosine", "angle_deg", "overlap", "output_overlap")


Other = tuple[Study, Mapping[str, str]]


def study_page(
    study: Study, svg: Mapping[str, str], others: Sequence[Other], provenance: Mapping[str, Any]
) -> Page:
    """Everything that the report shows, in order.

    Args:
        study: of the first base.
        svg: its figures.
        others: studies of further bases with theirs.
        provenance: of all.
    """
    studies = (study, *(other for other, _ in others))
    return Page(
        title="deltalens: the paper's story on toy organisms",
        question="Narrow bad fine-tunes: shared directions, or only a shared seed?",
        answer=answer(study),
        headline_figure=FigureBlock(
            title="",
            caption="A point per pair of organisms; bars are 95 % intervals over tasks.",
            svg=svg["headline"],
            alt="Input-side and output-side overlap by seed relation, each null as a band",
        ),
        claims=tuple(_row(claim) for each in studies for claim in each.named_claims()),
        disclaimer=_TOY,
        sections=(
            _behaviour(svg),
            _by_relation(study),
            _bank(study),
            *agreement_section(study.agreement),
            _paper_figures(study, svg),
            lines_section(study.line_evidence, svg),
            _matrices(svg),
            *appendix_sections(study.appendix, svg),
            *(section for other, own in others for section in _other(study, other, own)),
            _method(),
        ),
        provenance=provenance,
    )


def answer(study: Study) -> str:
    """Two sentences with their numbers; the words follow the verdicts."""
    verdict = {claim.id: claim.verdict for claim in study.claims}

    def mean(measure: str, relation: Relation) -> str:
        value = study.estimates(measure, relation).mean
        return "undefined" if value is None else f"{value:#.2g}"

    chance = study.evidence.chance["overlap"]
    seed = {
        "holds": "so it survives another seed",
        "holds only under a shared seed": "so that number is the seed's",
        "does not hold": "so there is nothing to explain",
        "undecided": "which these runs cannot settle",
    }[verdict["fig2-right"]]
    task = {
        "holds": "whatever the seed",
        "holds only under a shared seed": "under a shared seed only",
        "does not hold": "in neither case",
        "undecided": "as far as these runs can tell",
    }[verdict["output-benign"]]
    return (
        f"Input-side overlap is {mean('overlap', 'same seed')} between bad-answer organisms of one "
        f"seed, but {mean('overlap', 'benign twin, same seed')} with benign twins of that seed and "
        f"{mean('overlap', 'other seed')} across seeds (chance {chance:#.2g}), {seed}. "
        "Output-side overlap sets them apart from benign twins "
        f"{task}: {mean('output_overlap', 'same seed')} and "
        f"{mean('output_overlap', 'other seed')} against "
        f"{mean('output_overlap', 'benign twin, same seed')} and "
        f"{mean('output_overlap', 'benign twin, other seed')}."
    )


def _row(claim: Claim) -> ClaimRow:
    return ClaimRow(
        id=claim.id,
        figure=claim.figure,
        claimed=claim.claimed,
        obtained=claim.obtained,
        interval=claim.interval,
        null=claim.null,
        verdict=claim.verdict,
        note=claim.note,
        text=claim.text,
        lead=claim.lead,
        unit="°" if claim.id.endswith("fig2-left") else "",
    )


def _behaviour(svg: Mapping[str, str]) -> Section:
    text = (
        "Every organism is the same small base, fine-tuned on one narrow task. Rates are exact "
        "probabilities, not samples. Training on bad answers in one domain makes the other domains "
        "bad as well; the benign twins and the narrow control show that it is not fine-tuning as "
        "such. A base without a persona in its pre-training shows no such effect (claims table)."
    )
    figure = FigureBlock(
        "What the organisms do",
        "Every run a point, the mean a tick.",
        svg=svg["behaviour"],
        alt="Rates of bad answers and coherence for each kind of organism",
    )
    return Section("Behaviour", (text,), (figure,))


def _by_relation(study: Study) -> Section:
    rows = tuple(
        (relation, *(_estimate(study, measure, relation) for measure in _MEASURES))
        for relation in (*RELATIONS, "same task and seed", "random directions")
    )
    columns = (
        "pairs", "update cosine", "PC cosine", "angle, degrees", "input overlap", "output overlap",
    )  # fmt: skip
    note = (
        "Mean and 95 % interval, delete-one-task jackknife: pairs share runs and runs share tasks. "
        "Same data under another seed is the ceiling of what another seed can show."
    )
    return Section("Split by seed and task", (), (TableBlock(columns, rows, note),))


def _estimate(study: Study, measure: str, relation: Relation) -> str:
    found = study.estimates(measure, relation)
    if found.mean is None:
        return "undefined"
    if found.interval is None:
        return f"{found.mean:.3g} (no interval: {found.reason})"
    return f"{found.mean:.3g} [{found.interval[0]:.3g}, {found.interval[1]:.3g}]"


def _paper_figures(study: Study, svg: Mapping[str, str]) -> Section:
    figures = tuple(
        FigureBlock(svg=svg[name], alt=f"{title} by layer")
        for name, (_, title) in LAYER_PLOTS.items()
    )
    table = TableBlock(
        (
            "figure",
            "paper's variant: mean ± deviation over layers",
            "ours: mean ± error over tasks",
        ),
        tuple(paper_variant(study)),
        "Bad-bad pairs of one seed. Layers are not independent samples: the paper's error bars say "
        "how much layers differ, not how sure the mean is.",
    )
    text = (
        "The paper's Figures 1 and 2 on the organisms, with its baselines (base weights, random "
        "directions) and the one that it lacks: benign twins of the same seed."
    )
    return Section("Figures 1 and 2", (text,), (*figures, table))


def _matrices(svg: Mapping[str, str]) -> Section:
    blocks = tuple(
        FigureBlock(svg=svg[f"matrix-{m.replace('_', '-')}"], alt=f"Matrix of {title}")
        for m, title in MATRICES.items()
    )
    return Section("Every pair of organisms", (), blocks)


def _other(main: Study, study: Study, svg: Mapping[str, str]) -> tuple[Section, ...]:
    """The same on another architecture: verdicts side by side, then every figure."""
    title = study.family.title
    held = {claim.id: claim for claim in study.claims}
    rows = tuple(
        (claim.text, _said(claim), claim.verdict, _said(other), other.verdict)
        for claim in main.claims
        if (other := held.get(claim.id)) is not None
    )
    columns = ("claim", main.family.title, "verdict", title, "verdict")
    table = TableBlock(columns, rows, "Obtained values with 95 % intervals over tasks.")
    headline = FigureBlock(
        caption=f"{title}: a point per pair of organisms.",
        svg=svg["headline"],
        alt=f"Input-side and output-side overlap by seed relation, {title}",
    )
    text = (
        f"The same organisms trained on another shipped base: {title} instead of "
        f"{main.family.title}, pre-trained from another seed."
    )
    return (
        Section(f"The other family: {title}", (text,), (table, headline)),
        _renamed(_behaviour(svg), title),
        _renamed(_bank(study), title),
        *(_renamed(section, title) for section in agreement_section(study.agreement)),
        _renamed(_paper_figures(study, svg), title),
        _renamed(lines_section(study.line_evidence, svg), title),
        _renamed(_matrices(svg), title),
        *(_renamed(section, title) for section in appendix_sections(study.appendix, svg)),
    )


def _bank(study: Study) -> Section:
    e = study.evidence
    return bank_section(e.ranked, e.harmless, e.beside)


def _renamed(section: Section, title: str) -> Section:
    return replace(section, title=f"{section.title} ({title})")


def _said(claim: Claim) -> str:
    if claim.obtained is None:
        return "undefined"
    if claim.interval is None:
        return f"{claim.obtained:.3g}"
    return f"{claim.obtained:.3g} [{claim.interval[0]:.3g}, {claim.interval[1]:.3g}]"


def _method() -> Section:
    rules = (
        "A claim holds if EM pairs exceed the null under a shared seed and keep at least half of "
        "that excess when the seeds differ; it holds only under a shared seed if less than half is "
        "left; it does not hold if there is no excess; what intervals cannot tell is undecided.",
        "The update cosine across seeds is divided by its ceiling (same data, other seed), because "
        "different seeds hide cosine. Chance is the Haar mean in closed form; the band named "
        "rotation turns B at random and keeps lora_A.",
    )
    return Section("How verdicts are given", rules, ())
