"""The folder of a comparison: report, figures and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltalens.core.files import write_whole
from deltalens.core.result import Result
from deltalens.figures.output import save, to_svg
from deltalens.io.results import prepare_folder, write_document, write_tables
from deltalens.report.html import write
from deltalens.report.page import Cell, FigureBlock, Page, Section, TableBlock
from deltalens.studies.compare.activation_report import activation_sections
from deltalens.studies.compare.bank_report import bank_sections
from deltalens.studies.compare.drawings import MATRICES, figures, sides
from deltalens.studies.design.drawings import design_figures
from deltalens.studies.design.page import design_sections
from deltalens.studies.groups.drawings import group_figures
from deltalens.studies.groups.page import group_sections

_FEW_SENTENCES = 200
_FEW_PAIRS = 6


def write_comparison(result: Result, out: Path) -> None:
    """Write `report.html`, `figures/`, `results/*.parquet` and `results/compare.json`."""
    prepare_folder(out)
    drawn = {**figures(result), **group_figures(result), **design_figures(result)}
    write_tables(result, out / "results")
    write_document(result.document, out / "results" / "compare.json")
    svg = {name: to_svg(figure) for name, figure in drawn.items()}
    for name, figure in drawn.items():  # the drawing takes the time: each picture once
        write_whole(out / "figures" / f"{name}.svg", svg[name].encode())
        save(figure, out / "figures", name, formats=("png",))
    write(comparison_page(result, svg), out / "report.html")


def comparison_page(result: Result, svg: Mapping[str, str]) -> Page:
    """The report of a comparison: groups and sentences first, then matrices and nulls."""
    document = result.document
    headline = None
    if document["pairs"]:
        picture = to_svg(sides(document, width=6.46))
        headline = FigureBlock(
            title="Overlap by initialisation",
            caption="A point per pair; input-side overlap under a shared initialisation is the "
            "seed's and is no evidence about the task.",
            svg=picture,
            alt="Input-side and output-side subspace overlap of every pair, by initialisation",
        )
    return Page(
        title="deltalens compare",
        question="Do these updates share directions, beyond what chance and a shared seed explain?",
        answer=_answer(document),
        headline_figure=headline,
        claims=(),
        disclaimer="Geometry alone never says what an adapter does: it says what was measured, "
        "and against which null.",
        lead=_lead(document),
        sections=_sections(document, svg),
        provenance=result.provenance,
    )


def _answer(document: Mapping[str, Any]) -> str:
    groups: Sequence[Sequence[str]] = document["init_groups"]
    pairs: Sequence[Mapping[str, Any]] = document["pairs"]
    n = sum(len(group) for group in groups)
    shared = sum(p["shared_init"] != "none" for p in pairs)
    hits = [p for p in pairs if (p["p_holm"]["cosine"] or 1.0) <= 0.05]
    return (
        f"{n} adapters start from {len(groups)} initialisations; {shared} of {len(pairs)} pairs "
        f"share one in some module{_input_side(pairs)}. "
        f"{len(hits)} of {len(pairs)} update cosines exceed their null after Holm's correction "
        f"at .05: {_strength(pairs)}."
    )


def _input_side(pairs: Sequence[Mapping[str, Any]]) -> str:
    """What a shared initialisation means for the input side of those pairs."""
    shared = [p for p in pairs if p["shared_init"] != "none"]
    bare = [p for p in shared if p["null_used"].get("overlap") != "bank"]
    if not shared:
        return ""
    if not bare:
        return ", and a bank ranks their input-side overlap"
    return ", and their input-side overlap cannot be interpreted" + (
        "" if len(bare) == len(shared) else f" in {len(bare)} of them, which no bank ranks"
    )


def _strength(pairs: Sequence[Mapping[str, Any]]) -> str:
    """What such a number is worth: the bank's rank is a claim, everything else a screen."""
    ranked = sum(p["null_used"].get("cosine") == "bank" for p in pairs)
    if pairs and ranked == len(pairs):
        return "the null is a benign bank of the same initialisation"
    confirm = "a screen, which a benign bank of the same initialisation must confirm"
    return confirm if ranked == 0 else f"{confirm} where it does not rank the pair ({ranked} are)"


def _sections(document: Mapping[str, Any], svg: Mapping[str, str]) -> tuple[Section, ...]:
    sections = [*group_sections(document, svg), *design_sections(document, svg)]
    if len(document["pairs"]) > _FEW_PAIRS:
        sections.append(_sentences(document))
    sections += bank_sections(document, svg)
    sections += activation_sections(document)
    sections.append(_adapters(document))
    matrices = [
        FigureBlock(svg=svg[name], alt=f"Matrix of {title}")
        for measure, title in MATRICES.items()
        if (name := f"matrix-{measure.replace('_', '-')}") in svg
    ]
    curves = [
        FigureBlock(svg=picture, alt=f"Curves by layer: {name}")
        for name, picture in svg.items()
        if name.startswith("layers-")
    ]
    if matrices:
        sections.append(Section("Every pair", (), tuple(matrices)))
        sections.append(Section("By layer", (), tuple(curves)))
        sections.append(_nulls(document))
    if document["warnings"]:
        sections.append(Section("Warnings", tuple(document["warnings"]), ()))
    return tuple(sections)


def _lead(document: Mapping[str, Any]) -> tuple[Section, ...]:
    """Who shares an initialisation, and the sentences where they are few."""
    few = len(document["pairs"]) <= _FEW_PAIRS
    return (_groups(document), _sentences(document)) if few else (_groups(document),)


def _groups(document: Mapping[str, Any]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    alone: list[str] = []
    for group in document["init_groups"]:
        if len(group) == 1:
            alone += group
            continue
        inside = [p for p in document["pairs"] if p["a"] in group and p["b"] in group]
        modules = sorted({f"{p['n_shared_init']} of {p['n_modules']}" for p in inside})
        rows.append((", ".join(group), ", ".join(modules)))
    if alone:
        rows.append((", ".join(alone), "each its own"))
    table = TableBlock(("adapters", "modules with one initial lora_A"), tuple(rows))
    return Section("Initialisations", (), (table,))


def _adapters(document: Mapping[str, Any]) -> Section:
    rows = tuple(
        (
            a["name"],
            a["n_modules"],
            ", ".join(map(str, a["ranks"])),
            a["norm"],
            a["sigma_k_ratio"],
            a["gap_at_k"],
            a["n_refused"],
        )
        for a in document["adapters"]
    )
    columns = (
        "adapter", "modules", "rank", "norm", "sigma_k / sigma_1", "gap at k", "modules refused",
    )  # fmt: skip
    note = (
        "The gap at the cut is (sigma_k - sigma_k+1) / sigma_k, median over modules: near 0 the "
        "subspace is not defined. Refused: k is above the numerical rank of the file."
    )
    return Section("Adapters", (), (TableBlock(columns, rows, note),))


def _sentences(document: Mapping[str, Any]) -> Section:
    every = [*document["pairs"], *document["base"]]
    rows = tuple(
        (f"{p['a']} - {p['b']}", p["cosine"], p["overlap"], p["output_overlap"], p["verdict"])
        for p in every[:_FEW_SENTENCES]
    )
    left = len(every) - len(rows)
    note = f"{left} more pairs are in results/pairs.parquet." if left else ""
    columns = ("pair", "update cosine", "input overlap", "output overlap", "what can be said")
    return Section("One sentence a pair", (), (TableBlock(columns, rows, note),))


def _nulls(document: Mapping[str, Any]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for p in document["pairs"][:_FEW_SENTENCES]:
        for measure in ("cosine", "overlap", "output_overlap"):
            null = p["null_used"].get(measure)
            m = p["nulls"][null][measure] if null else {"mean": None, "sd": None, "draws": None}
            rows.append(
                (
                    f"{p['a']} - {p['b']}", measure, p[measure], null or "none applies",
                    m["mean"], m["sd"], p["z"][measure], p["p"][measure],
                )
            )  # fmt: skip
    columns = ("pair", "measure", "value", "null", "mean", "sd", "z", "p")
    text = (
        "Bank: rank among unrelated adapters of the same initialisation, the only null that "
        "supports a claim. Haar: random subspaces; on the output side it is too weak, since "
        "gradients of unrelated tasks share structure. Rotation: B turned at random, lora_A kept; "
        "for overlap it only describes what the seed gives. p is the upper tail."
    )
    return Section("Each number beside its null", (text,), (TableBlock(columns, tuple(rows), ""),))
