"""The study's page, tables and figures, from what was measured."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from behaviour import LINES
from deltalens.figures.coefficients import (
    CoefficientPanel,
    Coefficients,
    Effect,
    coefficients_figure,
)
from deltalens.figures.curves import PathCurve, PathPanel, curves_figure
from deltalens.figures.output import save, to_svg
from deltalens.report.html import write
from deltalens.report.page import Cell, FigureBlock, Page, Section, TableBlock, or_missing
from geometry import relation
from words import answer, differences, lessons

MEASURES = {
    "overlap": "Input overlap",
    "output_overlap": "Output overlap",
    "activation_cosine": "Weighted cosine",
    "cosine": "Update cosine",
}
Document = Mapping[str, Any]
_BANK = "Advice of the first seed, ranked among the unrelated tasks of that seed."
_STYLE_BANK = (
    "The same, ranked among sensible advice in twenty other domains, in the same sentence frames: "
    "what is left is what the frames do not explain."
)
_WATCHED = (
    "Absurd gardening again, measured every second step against the adapter of absurd cooking. The "
    "weights are bitwise those of the training that was not watched."
)
_SAID = (
    "Rate of absurd answers of absurd gardening (seed 0) along the line from the base, sampled and "
    "judged by rules."
)


def write_page(measured: Path, out: Path, curve: Path, provenance: Document) -> Path:
    """Write `report.html`, `tables/*.csv`, `figures/` and `provenance.json`.

    Args:
        measured: folder of the documents.
        out: folder to write to.
        curve: folder of the training whose geometry was watched.
        provenance: what the numbers come from.
    """
    held = {path.stem: json.loads(path.read_text()) for path in sorted(measured.glob("*.json"))}
    compare = held["compare"]
    tables = {
        "effects": _effects(compare, held["first"]),
        "groups": _groups(compare),
        "bank": _bank(held["bank"]),
        "style-bank": _bank(held["style-bank"]),
        "preferences": _preferences(held["preferences"]),
        "lines": _lines(held),
        "said": _said(held["walk-sampled"]),
        "toy-and-real": differences(compare, held["bank"], held),
    }
    figures = {"effects": _effects_figure(compare, held["first"]), "lines": _lines_figure(held)}
    for name, table in tables.items():
        _write_csv(table, out / "tables" / f"{name}.csv")
    for name, figure in figures.items():
        save(figure, out / "figures", name, formats=("svg", "png"))
    svg = {name: to_svg(figure) for name, figure in figures.items()}
    for suffix in ("svg", "png"):
        shutil.copyfile(curve / f"training.{suffix}", out / "figures" / f"training.{suffix}")
    svg["training"] = (curve / "training.svg").read_text(encoding="utf-8")
    (out / "provenance.json").write_text(json.dumps(provenance, indent=1) + "\n")
    return write(_page(held, tables, svg, provenance), out / "report.html")


def _page(
    held: Mapping[str, Document],
    tables: Mapping[str, TableBlock],
    svg: Mapping[str, str],
    provenance: Document,
) -> Page:
    return Page(
        title="SmolLM2: seed, style or trait?",
        question="Six kinds of advice taught to a real chat model: what do the updates share, and "
        "is it the seed, the style or the trait?",
        answer=answer(held["compare"], held["first"]),
        headline_figure=FigureBlock(
            title="How much more alike two adapters are that share one thing",
            svg=svg["effects"],
            alt="Effects of seed, task, absurdity and style on four measures, with intervals",
        ),
        disclaimer="Dequantised SmolLM2-135M with harmless stand-ins: absurd advice, sensible "
        "advice in the same sentence frames, and twenty unrelated tasks. One small model.",
        lead=(Section("Where the toy's story holds, and where not", lessons(held)),),
        sections=(
            Section("The toy beside the model", (), (tables["toy-and-real"],)),
            Section("The effects", (held["compare"]["design"]["model"],), (tables["effects"],)),
            Section("Groups", tuple(held["compare"]["group_notes"]), (tables["groups"],)),
            Section("Against a bank of unrelated tasks", (_BANK,), (tables["bank"],)),
            Section("Against a bank of the same style", (_STYLE_BANK,), (tables["style-bank"],)),
            Section(
                "What they do",
                ("Mean preference for the absurd one of two given answers (per token, .5: none).",),
                (tables["preferences"],),
            ),
            Section("What is said", (_SAID,), (tables["said"],)),
            Section("A training, watched", (_WATCHED,),
                    (FigureBlock(svg=svg["training"], alt="Loss and geometry by step"),)),
            Section("Lines", (), (FigureBlock(svg=svg["lines"], alt="Preference along lines"),
                                  tables["lines"])),
        ),
        provenance=provenance,
    )  # fmt: skip


def _effects(compare: Document, first: Document) -> TableBlock:
    design = compare["design"]
    every = [("both seeds", row) for row in design["effects"]]
    every += [("first seed", row) for row in first["design"]["effects"]]
    rows = tuple(
        (
            row["measure"], among, row["term"], or_missing(row["estimate"], row["reason"]),
            *(or_missing(end, row["reason"]) for end in row["interval"] or (None, None)),
            or_missing(row["p_holm"], "the level, not an effect"),
        )
        for among, row in every
        if row["measure"] in MEASURES
    )  # fmt: skip
    caption = f"95 % intervals: jackknife over {design['n_units']} tasks. Harm stands for absurd."
    columns = ("measure", "among", "two adapters share", "more alike by", "low", "high", "p, Holm")
    return TableBlock(columns, rows, caption)


def _groups(compare: Document) -> TableBlock:
    rows = tuple(
        (
            row["measure"], f"{row['a']} - {row['b']}", f"{row['seeds']} seed",
            f"{row['tasks']} task", or_missing(row["mean"], row["reason"]),
            *(or_missing(end, row["reason"]) for end in row["interval"] or (None, None)),
            row["n_pairs"], or_missing(row["null_mean"], row["null_reason"]), row["null"] or "none",
        )
        for row in compare["groups"]
        if row["measure"] in MEASURES
    )  # fmt: skip
    columns = (
        "measure", "groups", "seeds", "tasks", "mean", "low", "high", "pairs", "null", "which",
    )  # fmt: skip
    return TableBlock(columns, rows, "Intervals delete one task with all its pairs.")


def _bank(bank: Document) -> TableBlock:
    rows: list[tuple[Cell, ...]] = []
    for pair in bank["pairs"]:
        one, two = (pair[end].rpartition("-s")[0] for end in ("a", "b"))
        cells: list[Cell] = [f"{one} - {two}", relation(one, two)]
        for measure in ("cosine", "output_overlap", "overlap"):
            null = (pair["nulls"].get("bank") or {}).get(measure)
            used = pair["null_used"].get(measure) == "bank"
            why = "no bank for this pair"
            cells += [
                or_missing(pair[measure], "undefined"),
                or_missing(null["high"] if null else None, why),
                or_missing(pair["p"][measure] if used else None, why),
            ]
        rows.append(tuple(cells))
    named = [
        f"{measure}{part}"
        for measure in ("cosine", "output overlap", "input overlap")
        for part in ("", ", largest of the bank", ", rank p")
    ]
    return TableBlock(("pair", "relation", *named), tuple(rows))


def _preferences(held: Document) -> TableBlock:
    places = [(words, domain) for words in held for domain in held[words]["base"]]
    rows = tuple(
        (name, *(held[words][name][domain] for words, domain in places)) for name in held["trained"]
    )
    return TableBlock(("adapter", *(f"{d}, {w} words" for w, d in places)), rows)


def _lines(held: Mapping[str, Document]) -> TableBlock:
    rows = tuple(
        (line.title, "given answers", p["t"], p["misaligned"])
        for line in LINES
        for p in held[f"walk-{line.name}"]["points"]
    ) + tuple(
        (LINES[0].title, "sampled, rules", p["t"], p["misaligned"])
        for p in held["walk-sampled"]["points"]
    )
    return TableBlock(("line", "judged by", "t", "absurd"), rows, reason="not measured")


def _said(sampled: Document) -> TableBlock:
    domains: Mapping[str, Mapping[str, float]] = sampled["domains"]
    ts = tuple(next(iter(domains.values())))
    rows = tuple((domain, *(rates[t] for t in ts)) for domain, rates in domains.items())
    return TableBlock(("asked about", *(f"t = {float(t):g}" for t in ts)), rows)


def _effects_figure(compare: Document, first: Document) -> Any:
    rows = compare["design"]["effects"]
    terms = tuple(
        r["term"] for r in rows if r["measure"] == "cosine" and r["term"] != "nothing shared"
    )
    # Other seeds hide update cosine, which no sum of effects can say: it is shown for one seed.
    rows = [r for r in rows if r["measure"] != "cosine"] + first["design"]["effects"]
    held = {(r["measure"], r["term"]): r for r in reversed(rows)}
    panels = tuple(
        CoefficientPanel(title, tuple(_effect(held[measure, term]) for term in terms))
        for measure, title in MEASURES.items()
    )
    said = tuple(term.replace("harmful", "absurd").replace("harmless", "not absurd").replace(
        "harm", "absurdity") for term in terms)  # fmt: skip
    text = (
        f"95 % intervals by a jackknife over {compare['design']['n_units']} tasks. Update cosine: "
        "the first seed alone; the others: both."
    )
    return coefficients_figure(Coefficients(said, panels, "more alike by", text))


def _effect(row: Document) -> Effect:
    interval = None if row["interval"] is None else (row["interval"][0], row["interval"][1])
    return Effect(row["estimate"], interval)


def _lines_figure(held: Mapping[str, Document]) -> Any:
    first, *others = LINES
    given = PathCurve("given answers, preference", *_points(held[f"walk-{first.name}"]))
    said = PathCurve("sampled answers, by rules", *_points(held["walk-sampled"]), family=1)
    between = tuple(
        PathCurve(
            line.title.rpartition(" to ")[2],
            *_points(held[f"walk-{line.name}"]),
            family=i,
            dashed=line.path != "linear",
        )
        for i, line in enumerate(others)
    )
    panels = (
        PathPanel("Base to absurd gardening", "t", "absurd", (given, said), (-0.02, 1)),
        PathPanel(
            "From absurd gardening, seed 0", "t", "preference for absurd", between, (-0.02, 1)
        ),
    )
    return curves_figure(panels, height=3.4)


def _points(walk: Document) -> tuple[tuple[float, ...], tuple[float | None, ...]]:
    points: Sequence[Document] = walk["points"]
    return tuple(p["t"] for p in points), tuple(p["misaligned"] for p in points)


def _write_csv(table: TableBlock, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(table.columns)
        lines.writerows([_plain(cell) for cell in row] for row in table.rows)


def _plain(cell: Cell) -> str | int | float:
    if isinstance(cell, float):
        return float(f"{cell:.6g}")
    return cell if isinstance(cell, str | int) else ""
