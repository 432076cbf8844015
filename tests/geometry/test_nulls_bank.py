"""The rank test in a bank: its level is a matter of counting, and only equals may be counted."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from cases import surveyed
from hypothesis import given, settings
from hypothesis import strategies as st

from deltalens.geometry.cosine import cosines
from deltalens.geometry.initialisation import DIFFERENT, MISSING, PARTIAL, SHARED, UNTOLD, classify
from deltalens.geometry.nulls import Undefined
from deltalens.geometry.nulls.bank import (
    ENOUGH,
    Chosen,
    RankTest,
    copies,
    exchangeable,
    rank_test,
)
from strategies import SEEDS


def ranked(observed: float, a: Sequence[float], b: Sequence[float], tail="upper") -> RankTest:
    found = rank_test(observed, a, b, tail=tail)
    assert isinstance(found, RankTest)
    return found


def test_the_rank_by_hand() -> None:
    found = ranked(0.4, [0.1, 0.5, 0.2], [0.1, 0.2, 0.3])
    assert found.p == pytest.approx(2 / 4)  # with a one of three is as high; with b none
    assert found.p_smallest == pytest.approx(1 / 4)
    assert (found.m, found.values) == (3, (0.1, 0.5, 0.2, 0.1, 0.2, 0.3))
    assert found.mean == pytest.approx(np.mean(found.values))
    assert found.sd == pytest.approx(np.std(found.values, ddof=1))


def test_the_larger_p_of_the_two_directions_counts() -> None:
    alike, apart = [0.1] * 19, [0.9] * 19
    assert ranked(0.5, alike, alike).p == pytest.approx(1 / 20)
    assert ranked(0.5, alike, apart).p == ranked(0.5, apart, alike).p == 1.0


def test_a_smaller_angle_is_more_alike() -> None:
    others = [60.0, 70.0, 80.0]
    assert ranked(20.0, others, others, tail="lower").p == pytest.approx(1 / 4)
    assert ranked(20.0, others, others, tail="upper").p == 1.0


def test_a_tie_counts_against_the_claim() -> None:
    assert ranked(0.3, [0.3, 0.1], [0.1, 0.2]).p == pytest.approx(2 / 3)


def test_unequal_banks_promise_what_the_smaller_one_can_give() -> None:
    found = ranked(1.0, [0.0] * 19, [0.0] * 3)
    assert found.m == 3
    assert found.p == found.p_smallest == pytest.approx(1 / 4)


def test_undefined_members_do_not_count() -> None:
    nan = math.nan
    assert ranked(0.5, [nan, 0.1, 0.2], [0.1, nan, nan]).m == 1
    assert math.isnan(RankTest(0.5, 0.5, 1, (0.1,), ()).sd)


@pytest.mark.parametrize(
    ("observed", "a", "b", "reason"),
    [
        (None, [0.1], [0.1], "the pair's own value is undefined"),
        (math.nan, [0.1], [0.1], "the pair's own value is undefined"),
        (0.5, [0.1], [], "defined with 1 and 0 members"),
        (0.5, [math.nan], [0.1], "defined with 0 and 1 members"),
    ],
)
def test_without_values_there_is_no_rank(
    observed: float | None, a: list[float], b: list[float], reason: str
) -> None:
    found = rank_test(observed, a, b)
    assert isinstance(found, Undefined)
    assert reason in found.reason


@settings(max_examples=30)
@given(seed=SEEDS, n=st.integers(3, 22), heavy=st.booleans())
def test_the_level_is_exact_for_any_statistic(seed: int, n: int, heavy: bool) -> None:
    """Every pair of n adapters ranked among the others: at most 1 in n - 1 can come first."""
    rng = np.random.default_rng(seed)
    T = rng.standard_cauchy((n, n)) if heavy else rng.integers(0, 5, (n, n)).astype(float)
    T = T + T.T + rng.exponential(size=n)[:, None] * rng.exponential(size=n)  # adapters differ
    T = (T + T.T) / 2
    p = []
    for i in range(n):
        for j in range(i):
            others = [c for c in range(n) if c not in (i, j)]
            p.append(ranked(T[i, j], T[i, others].tolist(), T[j, others].tolist()).p)
    for alpha in (1 / (n - 1), 0.2, 0.5):
        assert np.mean(np.array(p) <= alpha + 1e-12) <= alpha + 1e-12
    assert min(p) >= 1 / (n - 1) - 1e-12


def test_nineteen_are_enough_for_five_per_cent() -> None:
    assert ranked(1.0, [0.0] * ENOUGH, [0.0] * ENOUGH).p_smallest == 0.05
    assert ranked(1.0, [0.0] * (ENOUGH - 1), [0.0] * (ENOUGH - 1)).p_smallest > 0.05


# Relations of initialisations, one module: adapters 0 and 1 are the pair.
def relations(inits: Sequence[int], modules: int = 2) -> np.ndarray:
    """SHARED where the numbers are equal, DIFFERENT elsewhere."""
    number = np.array(inits)
    codes = np.where(number[:, None] == number, SHARED, DIFFERENT)
    return np.repeat(codes[None], modules, axis=0)


def chosen(codes: np.ndarray, same: np.ndarray | None = None, kinds: Sequence[int] = ()) -> Chosen:
    n = codes.shape[1]
    alike = np.zeros((n, n), dtype=bool) if same is None else same
    found = exchangeable(codes, alike, kinds or [0] * n, (0, 1), range(2, n))
    assert isinstance(found, Chosen)
    assert sorted((*found.members, *found.left_out)) == list(range(2, n))
    return found


def test_members_of_the_shared_initialisation_count() -> None:
    found = chosen(relations([7, 7, 7, 8, 7, 9]))
    assert found.members == (2, 4)
    assert set(found.left_out.values()) == {
        "another seed relation to the other adapter than the pair's"
    }


def test_across_seeds_members_of_the_ranked_adapters_initialisation_count() -> None:
    # a from 7, b from 8: in b's place stand adapters from 8, not those from 7.
    found = chosen(relations([7, 8, 7, 8, 8, 9]))
    assert found.members == (3, 4)
    assert found.left_out[2].startswith("another seed relation")
    assert found.left_out[5].startswith("another initialisation than")


def test_across_seeds_members_with_their_own_initialisation_serve_too() -> None:
    # One of each initialisation: two of one seed would not be two draws of a seed.
    found = chosen(relations([7, 8, 9, 9, 10, 11]))
    assert found.members == (2, 4, 5)
    assert found.left_out[3].startswith("another initialisation than")


def test_modules_are_related_one_by_one() -> None:
    codes = relations([7, 7, 7, 7])
    codes[1, 0, 1] = codes[1, 1, 0] = DIFFERENT  # the pair shares one of two modules
    assert chosen(codes).members == ()
    codes[1, 0, 2] = codes[1, 2, 0] = DIFFERENT  # 2 stands to a as b does
    assert chosen(codes).members == (2,)
    codes[1] = MISSING  # neither holds the module, nor do the members
    assert chosen(codes).members == (2, 3)


def test_a_moved_initialisation_makes_nobody_exchangeable() -> None:
    codes = relations([7, 7, 7])
    codes[0, 0, 1] = codes[0, 1, 0] = PARTIAL
    found = exchangeable(codes, np.zeros((3, 3), dtype=bool), [0, 0, 0], (0, 1), [2])
    assert isinstance(found, Undefined)
    assert "moved or is shared in part" in found.reason


def test_a_dense_update_makes_nobody_exchangeable() -> None:
    codes = relations([7, 7, 7])
    codes[0, 0, 1] = codes[0, 1, 0] = UNTOLD
    found = exchangeable(codes, np.zeros((3, 3), dtype=bool), [0, 0, 0], (0, 1), [2])
    assert isinstance(found, Undefined)
    assert "is dense and has no initialisation" in found.reason


def test_the_pair_itself_and_repeated_members_do_not_count() -> None:
    same = np.eye(6, dtype=bool)
    for i, j in ((0, 2), (1, 3), (4, 5)):
        same[i, j] = same[j, i] = True
    found = chosen(relations([7] * 6), same)
    assert found.members == (4,)
    assert found.left_out[2].startswith("the pair itself")
    assert found.left_out[3].startswith("the pair itself")
    assert found.left_out[5] == "a near-copy of another member"


def test_members_of_another_kind_do_not_count() -> None:
    found = chosen(relations([7] * 5), kinds=[0, 1, 1, 0, 2])
    assert found.members == (2,)  # of b's kind, in whose place they stand
    assert {found.left_out[3], found.left_out[4]} == {
        "other ranks, modules or storage than the adapter that it would stand for"
    }


def test_copies_are_known_by_their_content() -> None:
    rng = np.random.default_rng(0)
    A = rng.standard_normal((4, 30))
    B1, B2 = rng.standard_normal((2, 20, 4))
    G = rng.standard_normal((4, 4))
    half = B1.astype("<f2").astype(float)
    rewritten = B1 @ np.linalg.inv(G), G @ A
    later = B1 + 0.2 * B2  # a checkpoint, as it were: cosine .98
    near = [(half, A), rewritten, (3 * B1, A), (-B1, A), (later, A)]
    each = [(B1, A), *near, (B2, A), (np.zeros((20, 4)), A)]
    s = surveyed(*({"layers.0.q": f} for f in each), k=2)
    same = copies(cosines(s.inner.sum(axis=0)))
    assert same[0].tolist() == [True] * 6 + [False, False]
    assert not same[7].any()  # a zero update is a copy of nothing
    codes = classify(s.raw_cosine, s.row_overlap, s.shapes[:, 1], s.ranks)
    found = exchangeable(codes, same, [0] * 8, (0, 6), [1, 2, 3, 4, 5])
    assert isinstance(found, Chosen)
    assert found.members == ()
