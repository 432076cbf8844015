"""Benign bank: where does a pair stand among unrelated adapters of the same initialisation?

`p = (1 + #{T(a, c_j) >= T(a, b)}) / (m + 1)`, with a and with b, the larger of the two. Exact for
any statistic and on both sides if b is exchangeable with the members c_j given a (and a given b):
no model of inputs, gradients or optimisers. So only members that stand as b does may count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Array, Bool, Float, Int
from deltalens.geometry.initialisation import DIFFERENT, MISSING, PARTIAL, SHARED, UNTOLD
from deltalens.geometry.nulls import Undefined
from deltalens.stats.resample import Tail, monte_carlo_p, smallest_reachable_p

# One update in two files, checkpoints of one run and repeats of one task are no separate draws of
# tasks: 19 checkpoints of one run counted as 19 members reject .29 at level .05. A harmless task
# of its own stays far below: .6 at most among the organisms.
_COPY = 0.9
ENOUGH = 19  # members for p = .05


@dataclass(frozen=True)
class Chosen:
    """Who counts in one direction.

    Attributes:
        members: indices of the exchangeable ones.
        left_out: index of every other candidate -> the reason.
    """

    members: tuple[int, ...]
    left_out: Mapping[int, str]


@dataclass(frozen=True)
class RankTest:
    """One measure of one pair among the bank's values.

    Attributes:
        p: the larger p of the two directions.
        p_smallest: the smallest that p could have been, `1 / (m + 1)`.
        m: members behind p: of the direction that has fewer.
        with_a: the measure between a and each member.
        with_b: the measure between b and each member.
    """

    p: float
    p_smallest: float
    m: int
    with_a: tuple[float, ...]
    with_b: tuple[float, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """Both directions."""
        return self.with_a + self.with_b

    @property
    def mean(self) -> float:
        """Mean over the values of both directions."""
        return float(np.mean(self.values))

    @property
    def sd(self) -> float:
        """Deviation of the values of both directions; NaN for a single one."""
        if len(self.values) < 2:
            return math.nan
        return float(np.std(self.values, ddof=1))


def rank_test(
    observed: float | None,
    with_a: Sequence[float],
    with_b: Sequence[float],
    *,
    tail: Tail = "upper",
) -> RankTest | Undefined:
    """The rank of a pair's value among the bank's, in both directions.

    Args:
        observed: `T(a, b)`; None where undefined.
        with_a: `T(a, c_j)`; NaN is undefined and does not count.
        with_b: `T(b, c_j)`, likewise.
        tail: `"lower"` where smaller means more alike (angles).

    Returns:
        The test, or `Undefined` without a value or without a member in one of the directions.
    """
    a = tuple(v for v in with_a if math.isfinite(v))
    b = tuple(v for v in with_b if math.isfinite(v))
    if observed is None or not math.isfinite(observed):
        return Undefined("the pair's own value is undefined")
    p_a, p_b = (monte_carlo_p(observed, values, tail=tail) for values in (a, b))
    if p_a is None or p_b is None:
        return Undefined(f"the measure is defined with {len(a)} and {len(b)} members")
    m = min(len(a), len(b))
    return RankTest(max(p_a, p_b), smallest_reachable_p(m), m, a, b)


def copies(cosine: Float[Array, "n n"]) -> Bool[Array, "n n"]:
    """Which adapters hold nearly one update: the cosine of the whole updates is beyond .9 or -.9.

    Names and files do not matter: two paths to one file, a copy in another precision, factors
    rewritten, scaled or negated, checkpoints of one run and repeats of one task with one seed are
    no separate draws from a population of tasks.
    """
    with np.errstate(invalid="ignore"):
        return np.abs(np.nan_to_num(cosine)) > _COPY


def exchangeable(
    codes: Int[Array, "m n n"],
    same: Bool[Array, "n n"],
    kinds: Sequence[int],
    ends: tuple[int, int],
    candidates: Sequence[int],
) -> Chosen | Undefined:
    """Members that could stand in b's place beside a.

    They must relate to a's initialisation as b does, module by module, have b's ranks, modules and
    storage, be no copy of a, of b or of one another, and come from b's initialisation, as draws of
    one population do. Where none does and no module of a pair is shared, members of mutually
    different initialisations serve: there the initialisation too is drawn anew.

    Args:
        codes: relation of initialisations, as from `initialisation.classify`.
        same: which adapters are copies, as from `copies`.
        kinds: equal numbers for equal ranks, modules and storage.
        ends: a, the fixed end, and b, the one that is ranked.
        candidates: indices of the bank.

    Returns:
        Who counts, or `Undefined` where the pair's own relation is unclear.
    """
    a, b = ends
    relation = codes[:, a, b]
    if (relation == UNTOLD).any():
        return Undefined(
            "an update of the pair is dense and has no initialisation: "
            "which members are exchangeable cannot be told"
        )
    if (relation == PARTIAL).any():
        return Undefined(
            "the pair's initialisation moved or is shared in part: "
            "which members are exchangeable cannot be told"
        )
    left_out: dict[int, str] = {}
    kept: list[int] = []
    for c in candidates:
        reason = _why_not(codes, same, kinds, a, b, c)
        if not reason and any(same[c, other] for other in kept):
            reason = "a near-copy of another member"
        if reason:
            left_out[c] = reason
        else:
            kept.append(c)
    held = relation != MISSING
    alike = [c for c in kept if (codes[held, b, c] == SHARED).all()]
    apart = [] if (relation == SHARED).any() else _mutually_apart(codes[held], b, kept)
    members = alike if len(alike) >= len(apart) else apart
    for c in kept:
        if c not in members:
            left_out[c] = "another initialisation than the adapter that it would stand for"
    return Chosen(tuple(members), left_out)


def _why_not(
    codes: Int[Array, "m n n"],
    same: Bool[Array, "n n"],
    kinds: Sequence[int],
    a: int,
    b: int,
    c: int,
) -> str:
    if same[c, a] or same[c, b]:
        return "the pair itself: nearly the same update as one of its adapters"
    if kinds[c] != kinds[b]:
        return "other ranks, modules or storage than the adapter that it would stand for"
    if (codes[:, a, c] != codes[:, a, b]).any():
        return "another seed relation to the other adapter than the pair's"
    return ""


def _mutually_apart(codes: Int[Array, "m n n"], b: int, kept: Sequence[int]) -> list[int]:
    """The first of each initialisation, all different from b's."""
    found: list[int] = []
    for c in kept:
        if all((codes[:, c, other] == DIFFERENT).all() for other in (b, *found)):
            found.append(c)
    return found
