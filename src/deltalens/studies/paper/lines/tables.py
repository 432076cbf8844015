"""The walks as long tables: one row a point, layer or barrier, with the line that it is of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltalens.core.result import Row
from deltalens.studies.paper.lines.walked import Walked


@dataclass(frozen=True)
class LineRow:
    """One measure of one line at one position.

    Attributes:
        family: which question the line belongs to.
        a: the organism at t = 0.
        b: the organism at t = 1.
        path: kind of path.
        t: position.
        layer: of a feature measure; None for rates.
        measure: `misaligned`, `coherent`, or a feature measure.
        value: None where undefined.
    """

    family: str
    a: str
    b: str
    path: str
    t: float
    layer: int | None
    measure: str
    value: float | None


_FEATURES = ("l2", "r2", "l2_delta", "r2_delta", "gap_error", "distance")


def line_tables(walked: Walked) -> dict[str, Sequence[Row]]:
    """`lines` and `triangle`."""
    rows: list[LineRow] = []
    for line, result in walked.results.items():
        head = (line.family, line.a, line.b, line.plan.path)
        for p in result.document["points"]:
            for measure in ("misaligned", "coherent"):
                rows.append(LineRow(*head, p["t"], None, measure, p[measure]))
        for row in result.tables.get("features", ()):
            for measure in _FEATURES:
                rows.append(LineRow(*head, row.t, row.layer, measure, getattr(row, measure)))
    return {"lines": rows, "triangle": walked.triangle.points}
