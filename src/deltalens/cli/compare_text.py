"""A comparison for people: groups, a matrix a measure, nulls, and a sentence a pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deltalens.cli.beside import print_beside
from deltalens.cli.screen import number, table
from deltalens.core.text import shown

_MATRICES = (
    ("cosine", "update cosine (signed; the test statistic)"),
    ("overlap", "input-side subspace overlap"),
    ("output_overlap", "output-side subspace overlap"),
    ("pc_cosine", "input-side PC cosine"),
    ("angle_deg", "input-side mean principal angle, degrees"),
)
_GROUPED = ("cosine", "overlap", "output_overlap")
_FEW = 6
_EXTREMES = 5


def print_comparison(document: Mapping[str, Any]) -> None:
    """Print everything that fits on a screen."""
    pairs: Sequence[Mapping[str, Any]] = document["pairs"]
    _print_groups(document)
    print(f"k = {document['top_k']} directions a module and side")
    if "trajectory" in document:
        _print_trajectory(document["trajectory"])
    if pairs:
        names = [a["name"] for a in document["adapters"]]
        if len(names) <= _FEW:
            for measure, title in _MATRICES:
                _print_matrix(names, pairs, measure, title)
        else:
            for measure, title in _MATRICES:
                _print_extremes(pairs, measure, title)
        _print_nulls(pairs)
        print_beside(document)
        _print_sentences(pairs)
    if document["base"]:
        print("\nAgainst the base")
        _print_sentences(document["base"])
    if document["groups"]:
        _print_named_groups(document)
    if "design" in document:
        _print_design(document["design"])
    for warning in document["warnings"]:
        print(f"warning: {shown(warning)}")


def _print_trajectory(rows: Sequence[Mapping[str, Any]]) -> None:
    cells = [
        (
            row["adapter"],
            row["step"],
            number(row["norm"]),
            number(row["growth"]),
            number(row["cosine_first"]),
            number(row["cosine_last"]),
            "" if i == 0 else number(row["turn_deg"]),
            number(row["path"]),
        )
        for i, row in enumerate(rows)
    ]
    columns = (
        "checkpoint", "step", "norm", "of the last", "cosine with first", "with last",
        "turn, degrees", "way so far",
    )  # fmt: skip
    table(columns, cells, title="One run by step: how its update grows and turns")


def _print_groups(document: Mapping[str, Any]) -> None:
    print("Initialisation")
    pairs = document["pairs"]
    for group in document["init_groups"]:
        members = ", ".join(shown(name, 60) for name in group)
        if len(group) == 1:
            print(f"  {members}: its own")
            continue
        inside = [p for p in pairs if p["a"] in group and p["b"] in group]
        counts = {f"{p['n_shared_init']} of {p['n_modules']}" for p in inside}
        print(f"  {members}: one initial lora_A in {', '.join(sorted(counts))} modules")


def _print_matrix(
    names: Sequence[str], pairs: Sequence[Mapping[str, Any]], measure: str, title: str
) -> None:
    value = {frozenset((p["a"], p["b"])): p[measure] for p in pairs}
    rows = [
        [
            name,
            *(
                "" if i <= j else number(value[frozenset((name, other))])
                for j, other in enumerate(names[:-1])
            ),
        ]
        for i, name in enumerate(names)
    ][1:]
    table(("", *names[:-1]), rows, title=title)


def _print_extremes(pairs: Sequence[Mapping[str, Any]], measure: str, title: str) -> None:
    known = sorted((p for p in pairs if p[measure] is not None), key=lambda p: p[measure])
    chosen = known if len(known) <= 2 * _EXTREMES else known[:_EXTREMES] + known[-_EXTREMES:]
    rows = [(p["a"], p["b"], number(p[measure]), p["shared_init"]) for p in reversed(chosen)]
    heading = f"{title}: the {len(chosen)} extreme of {len(pairs)} pairs"
    table(("a", "b", "value", "shared initialisation"), rows, title=heading)


def _print_nulls(pairs: Sequence[Mapping[str, Any]]) -> None:
    rows: list[tuple[object, ...]] = []
    for p in pairs[: _FEW * (_FEW - 1) // 2]:
        for measure in ("cosine", "overlap", "output_overlap"):
            null = p["null_used"].get(measure)
            m = p["nulls"][null][measure] if null else {"mean": None, "sd": None}
            none = null or "none: the seed"
            rows.append(
                (
                    f"{shown(p['a'], 40)} - {shown(p['b'], 40)}",
                    measure,
                    number(p[measure]),
                    none,
                    number(m["mean"]) if null else "",
                    number(m["sd"], 2) if null else "",
                    number(p["z"][measure]) if null else "",
                    _tail(p["p"][measure]) if null else "",
                )
            )
    table(("pair", "measure", "value", "null", "mean", "sd", "z", "p"), rows, title="Nulls")
    print(
        "For overlap the rotation only describes what the seed gives: no evidence. Haar on the\n"
        "output side is too weak: gradients of unrelated tasks share structure and exceed it too."
    )


def _tail(p: float | None) -> str:
    return "< 1e-300" if p == 0 else number(p, 2)


def _print_sentences(pairs: Sequence[Mapping[str, Any]]) -> None:
    for p in pairs:
        print(f"{shown(p['a'], 60)} - {shown(p['b'], 60)}: {p['verdict']}")
        for warning in p["warnings"]:
            print(f"  warning: {shown(warning)}")


def _print_named_groups(document: Mapping[str, Any]) -> None:
    print("\nGroups")
    for row in document["groups"]:
        if row["measure"] not in _GROUPED:
            continue
        low, high = row["interval"] or (None, None)
        interval = "" if low is None else f" [{number(low)}, {number(high)}]"
        task = ", same task" if row["tasks"] == "same" else ""
        where = f" ({row['seeds']} seed{task}; {row['n_runs']} runs)" if row["seeds"] else ""
        print(f"{row['a']} - {row['b']}{where}{interval}: {row['verdict']}")
    rows = [
        (
            f"{t['compared']}, {t['seeds']} seed",
            t["measure"],
            number(t["statistic"]),
            number(t["p"], 2),
            number(t["p_smallest"], 2),
            number(t["p_adjusted"], 2),
            number(t["p_smallest_adjusted"], 2),
        )
        for t in document["group_tests"]
        if t["variant"] != "paper" and t["measure"] in _GROUPED
    ]
    columns = ("comparison", "measure", "difference", "p", "smallest", "p, Holm", "smallest")
    if rows:
        table(columns, rows, title="Labels permuted over the replicates")
    reasons = [t["reason"] for t in document["group_tests"] if t["variant"] != "paper"]
    for reason in dict.fromkeys(filter(None, reasons)):
        print(shown(reason))
    for note in document["group_notes"]:
        print(note)


def _print_agreement(rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        cells = [
            (
                row["measure"],
                f"{shown(row['seed_a'], 20)} and {shown(row['seed_b'], 20)}",
                row["n_tasks"],
                number(row["correlation"]),
                number(row["p"], 2),
            )
            for row in rows
        ]
        title = "Second-order agreement: do two seeds arrange their tasks alike?"
        table(("measure", "seeds", "tasks", "agreement", "p"), cells, title=title)


def _print_design(design: Mapping[str, Any]) -> None:
    shown_effects = [e for e in design["effects"] if e["measure"] in _GROUPED]
    rows = [
        (
            e["measure"],
            e["term"],
            number(e["estimate"]),
            "none" if e["interval"] is None else " to ".join(map(number, e["interval"])),
            "" if e["p_holm"] is None else number(e["p_holm"], 2),
        )
        for e in shown_effects
    ]
    columns = ("measure", "two adapters share", "more alike by", "95 % interval", "p, Holm")
    table(columns, rows, title=f"Design: effects over {design['n_units']} {design['unit']}s")
    reasons = [f"{e['term']}: {shown(e['reason'])}" for e in shown_effects if e["reason"]]
    _print_agreement(design["agreement"])
    for line in (*dict.fromkeys(reasons), *design["notes"]):
        print(line)
