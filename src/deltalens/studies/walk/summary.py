"""What the points of a walk amount to: tables, the document, and a sentence or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from deltalens.connectivity.features import FeatureLinearity
from deltalens.connectivity.second_order import fit_second_order
from deltalens.core.result import Row
from deltalens.errors import GeometryError
from deltalens.studies.walk import statistics as st
from deltalens.studies.walk.positions import inside
from deltalens.studies.walk.rows import BarrierRow, DifferenceRow, FitRow, QuestionRow, RateRow
from deltalens.studies.walk.store import Point
from deltalens.studies.walk.tally import Tally
from deltalens.studies.walk.verdict import DISCLAIMER, OUTSIDE, largest, smallest, verdict


@dataclass(frozen=True)
class Summary:
    """Everything that is said of a walk, as rows."""

    questions: Sequence[QuestionRow]
    rates: Sequence[RateRow]
    barriers: Sequence[BarrierRow]
    falls: Sequence[BarrierRow]
    trend_p: float | None
    differences: Sequence[DifferenceRow]
    features: Sequence[FeatureLinearity]
    fits: Sequence[FitRow]
    by_group: Sequence[Mapping[str, float]]

    def tables(self) -> dict[str, Sequence[Row]]:
        """Name -> rows, those that are there."""
        every: dict[str, Sequence[Row]] = {
            "rates": self.rates,
            "behaviour": self.questions,
            "barriers": [*self.barriers, *self.falls],
            "differences": self.differences,
            "features": self.features,
            "fits": self.fits,
        }
        return {name: rows for name, rows in every.items() if rows}


def summarise(
    points: Sequence[Point], held: Tally | None, *, from_base: bool, seed: int, draws: int
) -> Summary:
    """Rows of every table.

    Args:
        points: finished points, rising in t, 0 and 1 among them. Barriers, trends and the
            second-order law speak of those from 0 to 1.
        held: their behaviour, or None.
        from_base: whether one end is the base, so that a trend is expected and not a flat line;
            so it is wherever the ends differ by more than a tenth.
        seed: of the simulated curves.
        draws: how many of them.
    """
    falls: Sequence[BarrierRow] = ()
    trend_p = None
    line = None if held is None else held.between_the_ends()
    if line is not None and (from_base or st.ends_differ(line)):
        falls, trend_p = st.trend_rows(line, seed=seed, draws=draws)
    features = [row for point in points for row in point.features]
    return Summary(
        questions=[] if held is None else held.rows(),
        rates=[] if held is None else st.rate_rows(held),
        barriers=[] if line is None else st.barrier_rows(line, seed=seed, draws=draws),
        falls=falls,
        trend_p=trend_p,
        differences=[] if held is None else st.difference_rows(held),
        features=features,
        fits=fit_rows(features, next((p.floor for p in points if p.t == 0.0), ())),
        by_group=[] if held is None else [held.by_group(i) for i in range(len(points))],
    )


def fit_rows(features: Sequence[FeatureLinearity], floor: Sequence[float | None]) -> list[FitRow]:
    """The second-order law layer by layer, on the points between the ends."""
    return [
        _fit(layer, [row for row in features if row.layer == layer and inside(row.t)],
             floor[layer] if layer < len(floor) else None)
        for layer in sorted({row.layer for row in features})
    ]  # fmt: skip


def _fit(layer: int, rows: Sequence[FeatureLinearity], floor: float | None) -> FitRow:
    known = [(row.t, row.l2) for row in rows if row.l2 is not None]
    try:
        fit = fit_second_order([t for t, _ in known], [e for _, e in known], floor=floor)
    except GeometryError as problem:
        return FitRow(layer, None, floor, floor is not None, None, None, len(known), str(problem))
    return FitRow(
        layer=layer,
        E_max=fit.E_max,
        floor=fit.floor,
        measured=fit.measured,
        floor_fitted=fit.floor_fitted,
        misfit=fit.misfit,
        n=fit.n,
        reason=None,
    )


def document(points: Sequence[Point], made: Summary, head: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON document: settings first, then points, barriers, features, what can be said."""
    return {
        **head,
        "points": [_point(i, point.t, made) for i, point in enumerate(points)],
        "barriers": [asdict(row) for row in made.barriers],
        "monotonicity": _monotonicity(made),
        "ends": [asdict(row) for row in made.differences if row.t == 1.0],
        "layers": layer_documents(made),
        "outside": None if _ends_at_ends(points) else OUTSIDE,
        "verdict": verdict(
            made.falls,
            made.barriers,
            [row for row in made.features if inside(row.t)],
            measured=bool(made.rates),
            between=any(inside(point.t) for point in points),
            rates=[
                row.rate
                for row in made.rates
                if (row.measure, row.target) == ("misaligned", st.THESE) and 0.0 <= row.t <= 1.0
            ],
        ),
        "disclaimer": DISCLAIMER,
    }


def _ends_at_ends(points: Sequence[Point]) -> bool:
    return (points[0].t, points[-1].t) == (0.0, 1.0)


def _point(i: int, t: float, made: Summary) -> dict[str, Any]:
    held = {(r.measure, r.target): r for r in made.rates if r.t == t}
    rates: dict[str, Any] = {"misaligned": None, "coherent": None, "unscored": None}
    intervals: dict[str, dict[str, Any]] = {}
    for (measure, target), row in held.items():
        if target == st.THESE:
            rates[measure], rates["unscored"] = row.rate, row.unscored
        ends = None if row.low is None or row.high is None else [row.low, row.high]
        said = {"interval": ends, "n": row.n, "method": row.method, "reason": row.reason,
                "needed": row.needed}  # fmt: skip
        intervals.setdefault(measure, {})[target] = said
    groups = made.by_group[i] if i < len(made.by_group) else {}
    return {"t": t, **rates, "intervals": intervals, "groups": groups}


def _monotonicity(made: Summary) -> dict[str, Any] | None:
    if not made.falls:
        return None
    return {"largest_step_back": [asdict(row) for row in made.falls], "page_p": made.trend_p}


def layer_documents(made: Summary) -> list[dict[str, Any]]:
    """Of every layer the worst between the ends, the worst outside, and the fit."""
    fits = {row.layer: row for row in made.fits}
    found: list[dict[str, Any]] = []
    for layer in sorted(fits):
        rows = [row for row in made.features if row.layer == layer]
        outside = [row for row in rows if not 0.0 <= row.t <= 1.0]
        found.append(
            {
                "layer": layer,
                **_worst([row for row in rows if inside(row.t)]),
                "distance": next(row.distance for row in rows if row.t == 0.0),
                "fit": asdict(fits[layer]),
                "outside": _worst(outside) if outside else None,
            }
        )
    return found


def _worst(rows: Sequence[FeatureLinearity]) -> dict[str, float | None]:
    return {
        "l2": largest([row.l2 for row in rows]),
        "l2_delta": largest([row.l2_delta for row in rows]),
        "gap_error": largest([row.gap_error for row in rows]),
        "r2": smallest([row.r2 for row in rows]),
        "r2_delta": smallest([row.r2_delta for row in rows]),
    }
