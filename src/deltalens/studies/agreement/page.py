"""The report of an agreement: all judges, every two, and what other thresholds would say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltalens.core.result import Result
from deltalens.report.page import Cell, FigureBlock, Page, Section, TableBlock, or_missing
from deltalens.studies.agreement.document import DISCLAIMER

_HOW = (
    "Scores run from 0 to 100. Weighted kappa is over classes of ten ([0, 10) to [90, 100]); alpha "
    "is Krippendorff's with the interval metric, over answers that two judges or more scored; a "
    "mean difference is the first judge minus the second. By chance: each judge's scores change "
    "places at random, whole questions with others of which it scored as many answers, and answers "
    "within a question; p is the upper tail, not corrected, and cannot be under the smallest p. "
    "Intervals are 95 % for new questions: a bootstrap of questions from 40 on, under that the "
    "jackknife over questions with t quantiles; of the verdict they cover .82 to .95."
)


def agreement_page(result: Result, svg: Mapping[str, str]) -> Page:
    """The report as a page."""
    document = result.document
    names = ", ".join(judge["judge"] for judge in document["judges"])
    return Page(
        title="deltalens agreement",
        question=f"Do {names} agree about {document['answers']} answers to "
        f"{document['questions']} questions?",
        answer=document["verdict"],
        headline_figure=FigureBlock(
            title="The verdict at other thresholds",
            svg=svg["thresholds"],
            alt="Misaligned rates by judge, and kappa by pair, as either threshold moves",
        ),
        disclaimer=DISCLAIMER,
        lead=(_judges(document),),
        sections=(
            Section("Agreement", (_HOW,), (_measures(result),)),
            Section("Scores", (), (FigureBlock(svg=svg["scores"], alt="Scores of two judges"),)),
            Section("Who scored what", (), (_scored(result),)),
            Section("Other thresholds", (), (_sweep(result),)),
            *([Section("Warnings", tuple(document["warnings"]))] if document["warnings"] else ()),
        ),
        provenance=result.provenance,
    )


def _judges(document: Mapping[str, Any]) -> Section:
    rows = tuple(
        (j["judge"], j["scored"], j["unscored"], j["misaligned"]) for j in document["judges"]
    )
    columns = ("judge", "scored", "unscored", "misaligned")
    return Section("Judges", (), (TableBlock(columns, rows, reason="no answer was scored"),))


def _measures(result: Result) -> TableBlock:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            row.scale,
            row.measure,
            f"{row.a} / {row.b}" if row.b else row.a,
            or_missing(row.value, row.reason),
            or_missing(row.low, row.reason),
            or_missing(row.high, row.reason),
            or_missing(row.chance_mean, _no_chance(row)),
            or_missing(row.chance_sd, _no_chance(row)),
            or_missing(row.p, _no_chance(row)),
            or_missing(row.smallest_p, _no_chance(row)),
            row.n,
        )
        for row in result.tables["agreement"]
    )
    columns = ("scale", "measure", "judges", "value", "low", "high", "by chance", "sd", "p",
               "smallest p", "n")  # fmt: skip
    return TableBlock(columns, rows)


def _no_chance(row: Any) -> str:
    return row.chance_reason or "undefined by chance"


def _scored(result: Result) -> TableBlock:
    rows = tuple(
        (row.scale, row.a, row.b, row.both, row.only_a, row.only_b, row.neither)
        for row in result.tables["scored"]
    )
    columns = ("scale", "judge a", "judge b", "both", "only a", "only b", "neither")
    return TableBlock(columns, rows)


def _sweep(result: Result) -> TableBlock:
    rows = tuple(
        (row.moved, row.threshold, row.measure, f"{row.a} / {row.b}" if row.b else row.a,
         or_missing(row.value, row.reason), row.n)
        for row in result.tables["sweep"]
    )  # fmt: skip
    return TableBlock(("moved", "at", "measure", "judges", "value", "n"), rows)
