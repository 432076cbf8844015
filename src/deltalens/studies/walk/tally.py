"""The behaviour of all points side by side: a table of questions by points for each rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deltalens.behaviour.counts import Counts, Thresholds, count
from deltalens.core.shapes import Array, Float, Int
from deltalens.organisms.exact_judge import asked, domain_of
from deltalens.studies.walk.rows import QuestionRow
from deltalens.studies.walk.store import Point

MEASURES = ("misaligned", "coherent")
_DIGITS = 12


@dataclass(frozen=True, eq=False)
class Tally:
    """Rates of every question at every point.

    Attributes:
        t: positions.
        questions: ids.
        groups: the domain of each question in the symbolic world, else empty.
        rates: measure -> `(question, point)`; NaN where nothing was scored, or it is not known.
        hits: measure -> answers that hit, `(question, point)`; None where rates were computed.
        scored: answers with both scores; None where rates were computed.
        unscored: answers without.
    """

    t: tuple[float, ...]
    questions: tuple[str, ...]
    groups: tuple[str, ...]
    rates: dict[str, Float[Array, "question point"]]
    hits: dict[str, Int[Array, "question point"]] | None
    scored: Int[Array, "question point"] | None
    unscored: Int[Array, "question point"]

    def rows(self) -> list[QuestionRow]:
        """Question by question, point by point."""
        return [
            QuestionRow(
                t=t,
                question=question,
                group=self.groups[q],
                misaligned=_known(self.rates["misaligned"][q, i]),
                coherent=_known(self.rates["coherent"][q, i]),
                scored=None if self.scored is None else int(self.scored[q, i]),
                unscored=int(self.unscored[q, i]),
            )
            for i, t in enumerate(self.t)
            for q, question in enumerate(self.questions)
        ]

    def between_the_ends(self) -> Tally:
        """The points from 0 to 1: a barrier or a trend speaks of no other."""
        kept = [i for i, t in enumerate(self.t) if 0.0 <= t <= 1.0]
        return replace(
            self,
            t=tuple(self.t[i] for i in kept),
            rates={name: rates[:, kept] for name, rates in self.rates.items()},
            hits=self.hits and {name: hits[:, kept] for name, hits in self.hits.items()},
            scored=None if self.scored is None else self.scored[:, kept],
            unscored=self.unscored[:, kept],
        )

    def by_group(self, i: int) -> dict[str, float]:
        """Mean misaligned rate of every domain at the i-th point."""
        held = self.rates["misaligned"][:, i]
        names = dict.fromkeys(name for name in self.groups if name)
        return {n: float(np.mean(held[[g == n for g in self.groups]])) for n in names}


def tally(
    points: Sequence[Point], thresholds: Thresholds, questions: Sequence[str] = ()
) -> Tally | None:
    """Side by side; None where behaviour was not measured.

    Args:
        points: finished points.
        thresholds: when a scored answer is misaligned.
        questions: ids of what was asked, where it was computed; none: the symbolic world's.
    """
    if all(point.exact is not None for point in points):
        return _computed(points, questions)
    if all(point.scores is not None for point in points):
        return _sampled(points, thresholds)
    return None


def _computed(points: Sequence[Point], questions: Sequence[str]) -> Tally:
    names = tuple(questions) or tuple(item.question for item in asked())
    each = np.array([point.exact for point in points], dtype=np.float64)  # (point, question, 2)
    bad, good = each[..., 0].T, each[..., 1].T
    coherent = np.round(bad + good, _DIGITS)  # the sum's rounding would pass for a difference
    return Tally(
        t=tuple(point.t for point in points),
        questions=names,
        groups=tuple("" if questions else domain_of(name) for name in names),
        rates={"misaligned": bad, "coherent": coherent},
        hits=None,
        scored=None,
        unscored=np.zeros(bad.shape, dtype=np.int64),
    )


def _sampled(points: Sequence[Point], thresholds: Thresholds) -> Tally:
    counts = [{c.question: c for c in count(p.scores or (), thresholds)} for p in points]
    names = tuple(dict.fromkeys(name for each in counts for name in each))
    none = Counts("", 0, 0, 0, 0)
    table = [[each.get(name, none) for each in counts] for name in names]

    def whole(of: str) -> Int[Array, "question point"]:
        return np.array([[getattr(c, of) for c in row] for row in table], dtype=np.int64)

    scored = whole("scored")
    hits = {"misaligned": whole("misaligned"), "coherent": scored - whole("incoherent")}
    some = np.where(scored > 0, scored, 1)
    symbolic = {item.question for item in asked()}
    return Tally(
        t=tuple(point.t for point in points),
        questions=names,
        groups=tuple(domain_of(name) if name in symbolic else "" for name in names),
        rates={m: np.where(scored > 0, hits[m] / some, np.nan) for m in MEASURES},
        hits=hits,
        scored=scored,
        unscored=whole("unscored"),
    )


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
