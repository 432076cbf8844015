"""The report's part about the bank: its figure and its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from deltalens.figures.ranks import RankPanel, RankRow, Ranks, ranks_figure
from deltalens.report.page import Cell, FigureBlock, Section, TableBlock

_MEASURES = {
    "cosine": "update cosine",
    "overlap": "input overlap",
    "output_overlap": "output overlap",
}
_ROWS = 12
_TABLE_ROWS = 200
FIGURE = "bank"


def bank_figures(document: Mapping[str, Any], *, width: float) -> dict[str, Figure]:
    """The pairs among their bank's values; nothing where no pair has any."""
    ranked = _ranked(document)
    if not ranked:
        return {}
    chosen = sorted(ranked, key=lambda p: p["cosine"] or 0.0, reverse=True)[:_ROWS]
    k = document["top_k"]
    panels = tuple(
        RankPanel(
            title if name == "cosine" else f"{title}, k = {k}",
            tuple(
                RankRow(f"{p['a']} - {p['b']}", p[name], tuple(bank_values(document, p, name)))
                for p in chosen
            ),
        )
        for name, title in _MEASURES.items()
    )
    some = "" if len(chosen) == len(ranked) else f" The {_ROWS} largest of {len(ranked)} cosines."
    small = (
        "Diamond: the pair. Grey: either adapter with each unrelated member of the bank; "
        f"what the pair shares beyond its initialisation stands to the right of all.{some}"
    )
    return {FIGURE: ranks_figure(Ranks(panels, small), width=width)}


def bank_values(document: Mapping[str, Any], pair: Mapping[str, Any], measure: str) -> list[float]:
    """The values that a pair is ranked among, of both directions."""
    place = {name: i for i, name in enumerate(document["bank"]["members"])}
    values = document["bank"]["values"][measure]
    found = [
        values[pair[end]][place[name]] for end in "ab" for name in pair["bank"][f"members_{end}"]
    ]
    return [v for v in found if v is not None]


def bank_sections(document: Mapping[str, Any], svg: Mapping[str, str]) -> tuple[Section, ...]:
    """What the bank says, or nothing without one."""
    bank = document["bank"]
    if bank is None:
        return ()
    ranked = _ranked(document)
    text = (
        f"{len(bank['members'])} unrelated adapters. p is the rank of a pair's value among those "
        "of a with every member and of b with every member, the larger of the two: exact on both "
        "sides if the members are draws of the same kind as the pair's adapters. Members that "
        "stand in another seed relation, of other ranks, modules or storage, and the pair itself "
        "do not count."
    )
    blocks = [
        FigureBlock(svg=svg[name], alt="Values of every pair beside the values of the bank")
        for name in (FIGURE,)
        if name in svg
    ]
    return (Section("Among unrelated adapters", (text,), (*blocks, _table(ranked))),)


def _table(ranked: Sequence[Mapping[str, Any]]) -> TableBlock:
    rows: list[tuple[Cell, ...]] = []
    for p in ranked[:_TABLE_ROWS]:
        for name, title in _MEASURES.items():
            m = p["nulls"]["bank"].get(name)
            if m is None:
                continue
            rows.append(
                (
                    f"{p['a']} - {p['b']}", title, p[name], m["low"], m["high"], m["draws"],
                    p["p"][name], p["p_holm"][name], p["p_holm"]["smallest"][name],
                )
            )  # fmt: skip
    columns = (
        "pair", "measure", "value", "bank from", "to", "members", "rank p", "after Holm",
        "smallest possible",
    )  # fmt: skip
    return TableBlock(columns, tuple(rows), reason="the measure is undefined for the pair")


def _ranked(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    if document["bank"] is None:
        return []
    return [p for p in document["pairs"] if p["nulls"]["bank"]]
