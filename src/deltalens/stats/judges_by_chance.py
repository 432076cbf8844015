"""What judges that have nothing to do with each other agree on, questions kept together.

Answers to one question are alike, to every judge. Scores dealt out among all answers lose that, and
two judges that each have their own view of the questions then agree by chance far more than such a
null knows: at 8 questions of 10 answers, correlated .6 within questions, p <= .05 comes in .20 of
tables. Here a judge's scores of a question stay together: whole questions change places with
others of which the judge scored as many answers, and within a question scores change places freely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Array, Float, Int
from deltalens.stats.raters import Statistic
from deltalens.stats.resample import monte_carlo_p, smallest_reachable_p

_NO_ORDERS = "a judge scored no two questions with equally many answers: none can change places"

Blocks = Sequence[Array]
"""For each number of answers, the places of these in the questions that have as many."""


@dataclass(frozen=True, slots=True)
class Chance:
    """A measure after every judge's scores changed places, questions kept together.

    Attributes:
        mean: over draws; None where no draw is defined.
        sd: over draws.
        p: upper tail, of judges that have nothing to do with each other; None with the measure.
        draws: those that are defined.
        smallest_p: p is never less: `1 / (draws + 1)`, or 1 over the arrangements that differ.
        exchanged: questions that can change places, of the judge with the fewest.
        reason: why there is no p.
    """

    mean: float | None
    sd: float | None
    p: float | None
    draws: int
    smallest_p: float | None
    exchanged: int
    reason: str | None = None


def by_chance(
    scores: Float[Array, "answer judge"],
    questions: Sequence[str],
    statistic: Statistic,
    *,
    rng: np.random.Generator,
    draws: int = 999,
) -> Chance:
    """What a measure is for judges that agree by chance, each with the scores that it gives.

    For each judge apart, a draw puts the questions of which it scored m answers in a random order,
    for every m, and the m scores of each in a random order. What is missing stays missing where it
    is. A question that no other matches in number stays in place: p keeps its level, and says
    less about agreement between questions.

    Args:
        scores: a column a judge.
        questions: which question each answer is to.
        statistic: of such a table.
        rng: source of the draws.
        draws: how many.

    Returns:
        What chance gives; without numbers and with a reason where the measure is undefined, or
        where a judge's questions cannot change places.
    """
    blocks = [_blocks(np.isfinite(column), questions) for column in scores.T]
    blocks = [each for each in blocks if each]
    exchanged = min((_exchanged(each) for each in blocks), default=0)
    observed = statistic(scores)
    if observed is None:
        return _without("the measure is undefined", exchanged)
    if not exchanged:
        return _without(_NO_ORDERS, exchanged)
    columns = [j for j in range(scores.shape[1]) if np.isfinite(scores[:, j]).any()]
    found: list[float] = []
    for _ in range(draws):
        made = scores.copy()
        for j, places in zip(columns, blocks, strict=True):
            _deal(made[:, j], places, rng)
        value = statistic(made)
        if value is not None:
            found.append(value)
    if not found:
        return _without("the measure is undefined in every draw", exchanged)
    sd = float(np.std(found, ddof=1)) if len(found) > 1 else None
    orders = [log_arrangements(scores[:, j], b) for j, b in zip(columns, blocks, strict=True)]
    if np.isfinite(scores[:, columns]).all():
        orders.remove(max(orders))  # only where judges stand to each other counts
    least = max(smallest_reachable_p(len(found)), math.exp(-sum(orders)))
    p = monte_carlo_p(observed, found)
    return Chance(float(np.mean(found)), sd, p, len(found), least, exchanged)


def _without(reason: str, exchanged: int) -> Chance:
    return Chance(None, None, None, 0, None, exchanged, reason)


def _blocks(known: Array, questions: Sequence[str]) -> Blocks:
    """Places of the answers that a judge scored: a table for each number of answers."""
    of: dict[str, list[int]] = {}
    for place in np.flatnonzero(known).tolist():
        of.setdefault(questions[place], []).append(place)
    sizes = sorted({len(places) for places in of.values()})
    return [np.array([each for each in of.values() if len(each) == size]) for size in sizes]


def _exchanged(blocks: Blocks) -> int:
    return sum(len(places) for places in blocks if len(places) > 1)


def _deal(
    column: Float[Array, " answer"],
    blocks: Blocks,
    rng: np.random.Generator,
) -> None:
    """Whole questions change places, and answers within each; in place."""
    for places in blocks:
        moved = column[rng.permutation(places)]
        column[places] = rng.permuted(moved, axis=1)


def log_arrangements(column: Float[Array, " answer"], blocks: Blocks) -> float:
    """Log of the number of columns that differ which such a draw can make.

    For questions of equally many answers `n! / prod_k n_k!`, with n_k those whose scores are the
    same up to order, times `m! / prod_v m_v!` for each question, with m_v the scores equal to v.
    """
    total = 0.0
    for places in blocks:
        held = np.sort(column[places], axis=1)
        total += _log_orders(np.unique(held, axis=0, return_counts=True)[1])
        total += sum(_log_orders(np.unique(row, return_counts=True)[1]) for row in held)
    return total


def _log_orders(counts: Int[Array, " _"]) -> float:
    return math.lgamma(counts.sum() + 1) - sum(math.lgamma(n + 1) for n in counts.tolist())
