"""How judges agree: every measure with its interval and with what chance gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from deltalens.behaviour.counts import Thresholds
from deltalens.core.shapes import Array, Float
from deltalens.stats import raters as st
from deltalens.stats.clusters import over_clusters
from deltalens.stats.intervals import Interval
from deltalens.stats.judges_by_chance import Chance, by_chance
from deltalens.studies.agreement.rows import AgreementRow, ScoredRow
from deltalens.studies.agreement.table import SCALES, Table

ALL = "all"


def _of_classes(weights: st.Weights, scores: Float[Array, "answer judge"]) -> float | None:
    return st.kappa(st.binned(scores), weights)


_SCORES: Mapping[str, st.Statistic] = {
    "kappa_quadratic": partial(_of_classes, "quadratic"),
    "kappa_linear": partial(_of_classes, "linear"),
    "spearman": st.rank_correlation,
    "mean_difference": st.mean_difference,
}
_VERDICTS: Mapping[str, st.Statistic] = {"kappa": partial(st.kappa, weights="none")}
_NO_CHANCE = ("mean_difference",)
_NOT_MOVED = Chance(
    None, None, None, 0, None, 0, "dealing scores out again does not change a judge's mean"
)
RARER = 8
"""Questions that must hold the rarer verdict, for an interval of agreement on the verdict."""


def agreement_rows(
    table: Table, thresholds: Thresholds, *, seed: int, draws: int
) -> list[AgreementRow]:
    """Alpha of all judges, then every measure of every two, scale by scale."""
    rows: list[AgreementRow] = []
    for scale in SCALES:
        scores = table.scale(scale, thresholds)
        every = [("alpha", ALL, "", scores, st.alpha)]
        measures = _VERDICTS if scale == "misaligned" else _SCORES
        every += [
            (name, table.labels[i], table.labels[j], scores[:, [i, j]], measure)
            for i, j in table.pairs()
            for name, measure in measures.items()
        ]
        for name, a, b, of, measure in every:
            rng = np.random.default_rng([seed, len(rows)])
            rows.append(_row(scale, name, a, b, of, measure, table.questions, rng, draws))
    return rows


def _row(
    scale: str,
    name: str,
    a: str,
    b: str,
    scores: Float[Array, "answer judge"],
    measure: st.Statistic,
    questions: Sequence[str],
    rng: np.random.Generator,
    draws: int,
) -> AgreementRow:
    known = np.flatnonzero(np.isfinite(scores).sum(axis=1) >= 2)
    kept, asked = scores[known], [questions[i] for i in known.tolist()]
    interval = over_clusters(asked, lambda rows: measure(kept[rows]), rng=rng, draws=draws)
    if scale == "misaligned":
        interval = _of_verdicts(interval, kept, asked)
    if name in _NO_CHANCE:
        chance = _NOT_MOVED
    else:
        chance = by_chance(kept, asked, measure, rng=rng, draws=draws)
    undefined = interval.estimate is None
    return AgreementRow(
        scale=scale,
        measure=name,
        a=a,
        b=b,
        value=interval.estimate,
        low=interval.low,
        high=interval.high,
        n=len(known),
        questions=len(set(asked)),
        method=interval.method,
        reason=_why(kept) if undefined else interval.reason,
        chance_mean=chance.mean,
        chance_sd=chance.sd,
        p=chance.p,
        smallest_p=chance.smallest_p,
        draws=chance.draws,
        exchanged=chance.exchanged,
        chance_reason=chance.reason,
    )


def _of_verdicts(
    interval: Interval, verdicts: Float[Array, "answer judge"], asked: Sequence[str]
) -> Interval:
    """No ends where the rarer verdict stands on too few questions; else with what they cover.

    A verdict that is rare leaves agreement to a handful of questions, and neither the jackknife
    nor the bootstrap sees how much another handful would change (docs/agreement.md, coverage).
    """
    if interval.low is None:
        return interval
    on = [
        len({asked[i] for i in np.flatnonzero((verdicts == value).any(axis=1)).tolist()})
        for value in (0.0, 1.0)
    ]
    if min(on) < RARER:
        why = (
            f"the rarer verdict stands on {min(on)} questions: an interval of agreement on it "
            f"needs {RARER}"
        )
        return replace(interval, low=None, high=None, reason=why)
    return replace(interval, method=f"{interval.method}; covers .82 to .95")


def _why(scores: Float[Array, "answer judge"]) -> str:
    if len(scores) == 0:
        return "no answer was scored by two judges"
    if len(scores) < 3:
        return f"n = {len(scores)} answers scored by two judges are too few"
    return "a judge's scores do not differ: agreement cannot be told from chance"


def scored_rows(table: Table, thresholds: Thresholds) -> list[ScoredRow]:
    """Answers that both of two judges scored, one alone, and neither."""
    return [
        ScoredRow(scale, table.labels[i], table.labels[j], *counts)
        for scale in SCALES
        for i, j in table.pairs()
        for counts in [st.scored_by(table.scale(scale, thresholds)[:, [i, j]]).tolist()]
    ]
