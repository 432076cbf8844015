"""Intervals for any statistic of answers that come in clusters: questions are drawn again.

Answers to one question are alike, so the question is the replicate (SCIENCE section 5). From 40
questions on they are resampled; with fewer a bootstrap is too narrow (at 8 questions it covers
.78-.86), and each is left out in turn instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from deltalens.core.shapes import Array, Float, Int
from deltalens.stats.intervals import MIN_REPLICATES, ROUNDING, Interval, make_t_interval
from deltalens.stats.normal import check_level

ENOUGH = 40
"""Questions from which they are resampled."""

Of = Callable[[Array], float | None]
"""A statistic of some of the answers, by their place; None where it is undefined."""


def over_clusters(
    clusters: Sequence[str],
    statistic: Of,
    *,
    rng: np.random.Generator,
    draws: int = 999,
    level: float = 0.95,
) -> Interval:
    """A statistic of all answers, with an interval for new questions.

    From 40 clusters on the percentiles of a bootstrap of whole clusters; under that the jackknife
    over clusters, `se^2 = (q - 1) / q * sum_i (s_(-i) - mean s_(-i))^2`, with t(q - 1) quantiles.

    Args:
        clusters: which cluster each answer belongs to.
        statistic: of the answers at some places, an answer standing twice where it is drawn twice.
        rng: source of the bootstrap.
        draws: of the bootstrap.
        level: confidence level.

    Returns:
        The interval, `n` counting clusters; without ends, and with the reason, under 3 clusters,
        or where the statistic is undefined without one of them.

    Raises:
        OptionError: if the level is impossible.
    """
    check_level(level)
    names = list(dict.fromkeys(clusters))
    of = np.array([names.index(name) for name in clusters], dtype=np.int64)
    members = [np.flatnonzero(of == i) for i in range(len(names))]
    estimate = statistic(np.arange(len(clusters)))
    q = len(names)
    if estimate is None:
        return Interval(None, None, None, None, q, level, "none", "the statistic is undefined")
    if q >= ENOUGH:
        return _bootstrap(members, statistic, estimate, rng, draws, level)
    reason = None
    without: list[float] = []
    if q < MIN_REPLICATES:
        reason = f"n = {q} questions: an interval for new questions needs at least {MIN_REPLICATES}"
    else:
        found = [statistic(np.flatnonzero(of != i)) for i in range(q)]
        without = [value for value in found if value is not None]
        if len(without) < q:
            reason = "without one of the questions the statistic is undefined"
        elif np.ptp(without) <= ROUNDING * max(map(abs, without)):
            reason = "leaving any question out changes nothing: an interval needs some spread"
    return make_t_interval(
        estimate=estimate,
        standard_error=None if reason else _spread(np.array(without)),
        df=q - 1.0,
        n=q,
        level=level,
        method="jackknife over questions, for new questions",
        reason=reason,
        n_missing=0,
    )


def _spread(without: Float[Array, " cluster"]) -> float:
    q = len(without)
    return float(np.sqrt((q - 1) / q * ((without - without.mean()) ** 2).sum()))


def _bootstrap(
    members: Sequence[Int[Array, " _"]],
    statistic: Of,
    estimate: float,
    rng: np.random.Generator,
    draws: int,
    level: float,
) -> Interval:
    q, method = len(members), "bootstrap over questions, for new questions"
    found: list[float] = []
    for _ in range(draws):
        drawn = rng.integers(q, size=q)
        value = statistic(np.concatenate([members[i] for i in drawn]))
        if value is not None:
            found.append(value)
    missing = draws - len(found)
    if missing > draws // 20:
        reason = f"the statistic is undefined in {missing} of {draws} draws"
        return Interval(estimate, None, None, None, q, level, method, reason, missing)
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(estimate, low, high, None, q, level, method, None, missing)
