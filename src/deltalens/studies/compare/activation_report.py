"""The report's section on what covariances and initial factors add."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltalens.report.page import Cell, Section, TableBlock

_FEW = 200


def activation_sections(document: Mapping[str, Any]) -> list[Section]:
    """One section each for weighted cosines and residual overlaps, where there are any."""
    found: list[Section] = []
    weighed = [p for p in document["pairs"] if p.get("activation_cosine") is not None]
    if weighed:
        found.append(_weighed(weighed[:_FEW], document["covariances"]))
    left = [p for p in document["pairs"] if p.get("residual_overlap") is not None]
    if left:
        found.append(_residual(left[:_FEW]))
    return found


def _weighed(pairs: list[Mapping[str, Any]], held: Mapping[str, Any]) -> Section:
    rows: list[tuple[Cell, ...]] = []
    for p in pairs:
        null = (p["nulls"]["activation"] or {}).get("cosine") or {"sd": None}
        ratio = p["activation_norm_ratio"]
        rows.append(
            (
                f"{p['a']} - {p['b']}", p["cosine"], null["sd"], p["activation_cosine"],
                ratio["q1"], ratio["q2"], p["activation_start"],
            )
        )  # fmt: skip
    columns = (
        "pair", "update cosine", "sd, activation-matched", "weighed by inputs",
        "norm ratio q = 1", "q = 2", "initial A",
    )  # fmt: skip
    rank, share = held["effective_rank"], held["largest_share"]
    about = "covariance" if held["centred"] else "raw second moment"
    text = (
        f"Inputs: {held['kind']} {about} of {held['n_tokens']} tokens of {held['model']} "
        f"({held['texts']}); participation ratio {rank['smallest']:.3g} to {rank['largest']:.3g}, "
        f"the largest direction holds up to {share['largest']:.0%}. The weighted cosine is of what "
        "the updates add to the outputs; its null is a benign bank. Norm ratio: the squared length "
        "of the rotated update by that of the observed one, 1 where the null's assumption holds; "
        "far above 1 its p is an upper bound."
    )
    return Section("Weighed by the inputs", (text,), (TableBlock(columns, tuple(rows), ""),))


def _residual(pairs: list[Mapping[str, Any]]) -> Section:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{p['a']} - {p['b']}", p["overlap"], p["residual_overlap"],
            p["residual_overlap_null"]["mean"], p["residual_overlap_null"]["sd"],
            p["residual_overlap_modules"],
        )
        for p in pairs
    ]  # fmt: skip
    columns = ("pair", "input overlap", "outside the initial rows", "chance", "sd", "modules")
    text = (
        "The true initial lora_A, and its bf16 rounding, are projected out of both updates. What "
        "is left does not know the seed, but it describes and supports no claim: unrelated tasks "
        "exceed chance too, since their gradients share inputs."
    )
    table = TableBlock(columns, tuple(rows), "")
    return Section("Input overlap outside the true initial rows", (text,), (table,))
