"""The figure of a design: every effect with its interval."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from deltalens.core.result import Result
from deltalens.figures.coefficients import (
    CoefficientPanel,
    Coefficients,
    Effect,
    coefficients_figure,
)
from deltalens.studies.compare.rows import WEIGHTED
from deltalens.studies.design.effects import INTERCEPT

PANELS = (
    ("cosine", "Update cosine"),
    ("overlap", "Input overlap"),
    ("output_overlap", "Output overlap"),
    (WEIGHTED, "Activation-weighted cosine"),
)


def design_figures(result: Result) -> dict[str, Figure]:
    """The coefficients by measure; nothing where the comparison has no design."""
    design = result.document.get("design")
    if design is None:
        return {}
    rows = design["effects"]
    terms = tuple(
        r["term"] for r in rows if r["measure"] == PANELS[0][0] and r["term"] != INTERCEPT
    )
    there = {row["measure"] for row in rows}
    panels = tuple(
        CoefficientPanel(title, tuple(_effect(rows, measure, term) for term in terms))
        for measure, title in PANELS
        if measure in there
    )
    text = (
        f"Lines: 95 % intervals by a jackknife over {design['n_units']} {design['unit']}s; "
        "hollow: no interval."
    )
    figure = coefficients_figure(Coefficients(terms, panels, "more alike by", text))
    return {"design-effects": figure}


def _effect(rows: list[dict[str, Any]], measure: str, term: str) -> Effect:
    row = next(r for r in rows if (r["measure"], r["term"]) == (measure, term))
    interval = None if row["interval"] is None else (row["interval"][0], row["interval"][1])
    return Effect(row["estimate"], interval)
