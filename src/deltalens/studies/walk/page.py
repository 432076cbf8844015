"""The report of a walk: the rates first, then what noise alone would give, then features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltalens.core.result import Result
from deltalens.report.page import Cell, FigureBlock, Page, Section, TableBlock, or_missing
from deltalens.studies.walk.rows import NOT_CORRECTED, ZERO_ERROR, RateRow
from deltalens.studies.walk.statistics import EXACT_MEAN, THESE
from deltalens.studies.walk.verdict import DISCLAIMER

_FEW_LAYERS = 100


def walk_page(result: Result, svg: Mapping[str, str]) -> Page:
    """The report as a page."""
    document = result.document
    headline = None
    if "behaviour" in svg:
        headline = FigureBlock(
            title="Behaviour along the path",
            svg=svg["behaviour"],
            alt="Misaligned and coherent rates at every point, with the line between the ends",
        )
    return Page(
        title="deltalens walk",
        question=f"From {document['a']} to {document['b']}: do behaviour and features stay on "
        "the line?",
        answer=document["verdict"],
        headline_figure=headline,
        disclaimer=DISCLAIMER,
        lead=() if headline is None else (_points(document),),
        sections=_sections(document, result, svg),
        provenance=result.provenance,
    )


def _sections(
    document: Mapping[str, Any], result: Result, svg: Mapping[str, str]
) -> tuple[Section, ...]:
    found: list[Section] = []
    if document["outside"]:
        found.append(Section("Outside the ends", (document["outside"],)))
    if "rates" in result.tables:
        found += [_barriers(result), _intervals(result), _differences(result)]
    if document["layers"]:
        found.append(_layers(document["layers"], svg))
    if document["warnings"]:
        found.append(Section("Warnings", tuple(document["warnings"])))
    return tuple(found)


def _points(document: Mapping[str, Any]) -> Section:
    rows = tuple(
        (p["t"], p["misaligned"], p["coherent"], p["unscored"]) for p in document["points"]
    )
    columns = ("t", "misaligned", "coherent", "unscored")
    return Section("Points", (), (TableBlock(columns, rows, reason="no answer was scored"),))


def _barriers(result: Result) -> Section:
    rows = tuple(
        (
            f"{row.measure} {row.direction}",
            row.target,
            row.value,
            row.at,
            or_missing(row.null_mean, row.reason),
            or_missing(row.p, row.reason),
            or_missing(row.p_holm, row.reason or NOT_CORRECTED),
        )
        for row in result.tables.get("barriers", ())
    )
    text = (
        "A barrier is the largest deviation from the line between the ends, a maximum over noisy "
        "points: what a line without a barrier gives is simulated. 'fall' is the largest step "
        "against the trend, where the ends differ: between such ends a smooth rise is an S, not a "
        "line, and no barrier. Holm's correction is over the "
        "barriers with one target."
    )
    columns = ("measure", "target", "largest", "at t", "null mean", "p", "p, Holm")
    reason = "no point lies between the ends, or one has no scored answer"
    return Section("Barriers", (text,), (TableBlock(columns, rows, reason=reason),))


def _intervals(result: Result) -> Section:
    shown = [row for row in result.tables["rates"] if not _exact(row)]
    rows = tuple(
        (row.t, row.measure, row.target, row.rate, or_missing(row.low, row.reason),
         or_missing(row.high, row.reason), row.n)
        for row in shown
    )  # fmt: skip
    needed = dict.fromkeys(
        f"t = {row.t:g}, {row.measure}, {row.target}: {row.needed}"
        for row in result.tables["rates"]
        if row.needed
    )
    columns = ("t", "measure", "target", "rate", "low", "high", "n")
    noise = (
        ""
        if len(shown) == len(result.tables["rates"])
        else (" For these questions the rates are exact: probabilities are computed, not sampled.")
    )
    block = TableBlock(columns, rows, f"95 % intervals.{noise}", reason="no answer was scored")
    return Section("Rates and their intervals", tuple(needed), (block,))


def _exact(row: RateRow) -> bool:
    return row.target == THESE and row.method == EXACT_MEAN


def _differences(result: Result) -> Section:
    rows = tuple(
        (row.t, row.measure, row.difference, or_missing(row.low, row.reason),
         or_missing(row.high, row.reason), or_missing(row.p, row.reason), row.n)
        for row in result.tables["differences"]
    )  # fmt: skip
    columns = ("t", "measure", "difference", "low", "high", "p", "questions")
    text = "Each point minus the one at t = 0, question by question, for new questions; p is raw."
    block = TableBlock(columns, rows, reason="no question was scored at both points")
    return Section("Differences from the start", (text,), (block,))


def _layers(layers: Sequence[Mapping[str, Any]], svg: Mapping[str, str]) -> Section:
    blocks = [
        FigureBlock(svg=picture, alt=f"Along t, by layer: {name}")
        for name, picture in svg.items()
        if name.startswith("features-")
    ]
    rows = tuple(_layer(layer) for layer in layers[:_FEW_LAYERS])
    columns = (
        "layer", "L2", "L2 of the change", "error over gap", "R^2", "R^2 of the change",
        "distance of the ends", "E_max", "floor", "misfit",
    )  # fmt: skip
    text = (
        "Worst between the ends. L2 is the error over the norm of the features; 'of the change' "
        "puts h - h_base in place of h. R^2 sets the same error against the spread of the "
        "samples: near 1 whatever happens where base features dominate, and below 0 where the line "
        "is a worse guess than the samples' mean. The law is "
        "E^2 = (4 E_max t (1-t))^2 + floor^2, fitted between the ends, with the floor "
        "measured by running the end at t = 0 twice."
    )
    return Section("Features", (text,), (*blocks, TableBlock(columns, rows, reason="no change")))


def _layer(layer: Mapping[str, Any]) -> tuple[Cell, ...]:
    fit = layer["fit"]
    why = fit["reason"] or ZERO_ERROR
    return (
        layer["layer"], layer["l2"], layer["l2_delta"], layer["gap_error"], layer["r2"],
        layer["r2_delta"], layer["distance"],
        *(or_missing(fit[name], why) for name in ("E_max", "floor", "misfit")),
    )  # fmt: skip
