"""The report's section on Figure 3."""

from __future__ import annotations

from collections.abc import Mapping

from deltalens.report.page import FigureBlock, Section, TableBlock
from deltalens.studies.paper.lines import numbers, published
from deltalens.studies.paper.lines.claims import LineEvidence
from deltalens.studies.paper.lines.drawings import ALT
from deltalens.studies.paper.lines.plan import FAMILIES, Family

_COLUMNS = (
    "lines", "half-way", "dip", "step back", "L2", "error over gap", "R^2", "R^2 of the change",
)  # fmt: skip
_NUMBERS = (
    numbers.share_at_the_middle,
    numbers.dip,
    numbers.step_back,
    numbers.largest_l2,
    numbers.largest_gap_error,
    numbers.smallest_r2,
    numbers.smallest_r2_delta,
)
_CAPTIONS: Mapping[str, str] = {
    "fig3": "Figure 3 on the organisms: every line walked exactly, 11 points each.",
    "fig3-theta": "The paper's notebook multiplies both factors by theta, which walks theta^2 dW: "
    "at theta = .5 a quarter of the update is there. The organisms turn at about .4 of the update, "
    "the published models later; the path adds to it.",
    "fig3-factors": "Mixed factor by factor, B and A of one run need not fit those of another "
    "seed, although the functions do. How much is lost depends on the base (claims table).",
    "fig3-twin": "On the way to a benign twin answers stay coherent, too, and bad ones fall "
    "without a step back. So having no barrier is no evidence of shared misalignment. What does "
    "differ is how far apart the ends are in feature space.",
    "fig3-triangle": "Not only the edges: mixtures of all three stay bad.",
}


def lines_section(evidence: LineEvidence, svg: Mapping[str, str]) -> Section:
    """Figure 3, its controls, and every number beside the paper's."""
    figures = tuple(
        FigureBlock(caption=_CAPTIONS[name], svg=svg[name], alt=alt) for name, alt in ALT.items()
    )
    rows = tuple((family, *(_cell(evidence, family, n) for n in _NUMBERS)) for family in FAMILIES)
    table = TableBlock(
        _COLUMNS,
        rows,
        "Mean over lines and 95 % interval: t over tasks; delete-one-task jackknife where lines "
        "share organisms. Half-way: share of the change at the middle (only where the ends "
        "differ). Dip: largest fall under the line between the ends. Features: worst over t, mean "
        "over layers.",
    )
    theirs = TableBlock(
        ("published path", "largest dip", "at", "mean of noise alone", "p"),
        tuple(
            (name, x.value, x.at, x.null_mean, x.p)
            for name, x in published.dips(seed=evidence.seed).items()
        ),
        f"The published curves, {published.ANSWERS} answers a point, against a simulated straight "
        "line with the same noise.",
        reason="no noise",
    )
    text = (
        "Walks along exact straight lines in weight space, from the base and between organisms, "
        "with the controls that the figure lacks: the same lines across seeds, factors mixed "
        "apart, the theta^2 path, and lines to a benign twin."
    )
    return Section("Figure 3: along the lines", (text,), (*figures, table, theirs))


def _cell(e: LineEvidence, family: Family, number: numbers.Number) -> str:
    if number is numbers.share_at_the_middle and family.startswith(("across", "factors")):
        return "ends alike"
    if number is numbers.dip and FAMILIES[family].replicate == "line":
        return "ends differ"
    found = e.of(family, number)
    if found.mean is None:
        return "not measured"
    if found.interval is None:
        return f"{found.mean:.3g}"
    return f"{found.mean:.3g} [{found.interval[0]:.3g}, {found.interval[1]:.3g}]"
