"""Second-order agreement: do two seeds arrange the same tasks alike?

A seed hides similarity between runs of different seeds, or adds to it between runs of one; which
tasks are *more* alike than others can still be compared. The measure is the correlation of two
task-by-task matrices of similarity over their pairs of tasks, as in representational similarity
analysis, tested by permuting the tasks of one (Mantel 1967): no library among ours has that test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from deltalens.core.shapes import Array, Float
from deltalens.errors import OptionError
from deltalens.stats.resample import monte_carlo_p, smallest_reachable_p

LEAST_TASKS = 4  # three tasks have three pairs, and six orders: no p under 1/6
_EXACT_UP_TO = 5040  # orders of seven tasks
_TIE = 1e-12


@dataclass(frozen=True, slots=True)
class Agreement:
    """The outcome; numbers are None where `reason` says why.

    Attributes:
        correlation: Pearson's, over pairs of tasks, from -1 to 1.
        p: upper tail, over orders of the tasks.
        p_smallest: the smallest that p could have been.
        n_tasks: tasks that both seeds have.
        n_orders: orders counted (exact) or drawn.
        exact: whether every order was counted.
        reason: why there is no correlation.
    """

    correlation: float | None
    p: float | None
    p_smallest: float | None
    n_tasks: int
    n_orders: int
    exact: bool
    reason: str = ""


def second_order_agreement(
    one: Float[Array, "task task"],
    two: Float[Array, "task task"],
    *,
    draws: int = 9999,
    rng: np.random.Generator | None = None,
) -> Agreement:
    """Correlate the similarities between tasks under one seed with those under another.

    Args:
        one: similarity of every two tasks under the one seed; symmetric, its diagonal is not read.
        two: the same tasks in the same order under the other seed, or across further seeds.
        draws: orders drawn where there are too many to count (more than seven tasks).
        rng: source of the draws; needed only for them.

    Returns:
        The correlation and its p. None with the reason under four tasks, for undefined entries, or
        where all pairs of a seed are equally alike.

    Raises:
        OptionError: if the matrices are not square and of one shape, or draws have no `rng`.
    """
    if one.shape != two.shape or one.ndim != 2 or one.shape[0] != one.shape[1]:
        raise OptionError(
            f"matrices of tasks must be square and of one shape; found {list(one.shape)} and "
            f"{list(two.shape)}"
        )
    n = len(one)
    pairs = np.triu_indices(n, 1)
    x, y = one[pairs], two[pairs]
    reason = _why_not(x, y, n)
    if reason:
        return Agreement(None, None, None, n, 0, exact=True, reason=reason)
    standard = _standardised(x)
    observed = float(standard @ _standardised(y))
    exact = math.factorial(n) <= _EXACT_UP_TO
    if exact:
        orders = np.array(list(permutations(range(n))))
    elif rng is None:
        raise OptionError(f"{n} tasks have too many orders to count: draws need rng")
    else:
        orders = rng.permuted(np.tile(np.arange(n), (draws, 1)), axis=1)
    found = np.array([standard @ _standardised(two[np.ix_(o, o)][pairs]) for o in orders])
    if exact:  # the observed order is one of them
        p, least = float(np.mean(found >= observed - _TIE)), 1 / len(orders)
    else:
        p, least = monte_carlo_p(observed, found), smallest_reachable_p(draws)
    return Agreement(observed, p, least, n, len(orders), exact)


def _standardised(values: Float[Array, " pair"]) -> Float[Array, " pair"]:
    centred = values - values.mean()
    return centred / np.linalg.norm(centred)


def _why_not(x: Float[Array, " pair"], y: Float[Array, " pair"], n: int) -> str:
    if n < LEAST_TASKS:
        return f"n = {n} tasks: agreement needs at least {LEAST_TASKS}"
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return "a pair of tasks has no value"
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return "all pairs of tasks are equally alike: there is no arrangement to compare"
    return ""
