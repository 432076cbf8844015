"""Second-order agreement: planted arrangements, level, ties, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.core.shapes import Array
from deltalens.errors import OptionError
from deltalens.stats.agreement import second_order_agreement


def similar(n: int, *, rng: np.random.Generator) -> Array:
    """A random symmetric matrix."""
    half = rng.standard_normal((n, n))
    return half + half.T


def test_it_is_pearsons_over_pairs() -> None:
    rng = np.random.default_rng(0)
    one, two = similar(6, rng=rng), similar(6, rng=rng)
    pairs = np.triu_indices(6, 1)
    found = second_order_agreement(one, two)
    assert found.correlation == pytest.approx(np.corrcoef(one[pairs], two[pairs])[0, 1])
    assert found.exact
    assert found.n_orders == 720


def test_an_arrangement_agrees_with_itself_at_any_scale_and_shift() -> None:
    one = similar(5, rng=np.random.default_rng(1))
    found = second_order_agreement(one, 0.1 * one + 3.0)
    assert found.correlation == pytest.approx(1.0)
    assert found.p == pytest.approx(1 / 120) == found.p_smallest
    assert second_order_agreement(one, -one).correlation == pytest.approx(-1.0)


def test_the_same_relabelling_of_both_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    one, two = similar(6, rng=rng), similar(6, rng=rng)
    order = np.ix_(rng.permutation(6), rng.permutation(6))
    order = (order[0], order[0].T)
    a, b = second_order_agreement(one, two), second_order_agreement(one[order], two[order])
    assert a.correlation == pytest.approx(b.correlation)
    assert a.p == pytest.approx(b.p)


def test_level_of_unrelated_arrangements() -> None:
    rng = np.random.default_rng(3)
    ps = [second_order_agreement(similar(5, rng=rng), similar(5, rng=rng)).p for _ in range(300)]
    rejected = np.mean([p is not None and p <= 0.05 for p in ps])
    assert 0.02 < rejected < 0.09  # .05 with a binomial error of .013


def test_many_tasks_are_drawn() -> None:
    one = similar(9, rng=np.random.default_rng(4))
    found = second_order_agreement(one, one, draws=99, rng=np.random.default_rng(5))
    assert not found.exact
    assert found.p == pytest.approx(0.01) == found.p_smallest
    with pytest.raises(OptionError, match="9 tasks have too many orders to count: draws need rng"):
        second_order_agreement(one, one)


@pytest.mark.parametrize(
    ("n", "spoil", "reason"),
    [
        (3, None, "n = 3 tasks: agreement needs at least 4"),
        (5, np.nan, "a pair of tasks has no value"),
        (5, 0.0, "all pairs of tasks are equally alike"),
    ],
)
def test_undefined_says_why(n: int, spoil: float | None, reason: str) -> None:
    one = similar(n, rng=np.random.default_rng(6))
    two = one if spoil is None else np.full_like(one, spoil)
    found = second_order_agreement(one, two)
    assert found.correlation is None
    assert found.p is None
    assert reason in found.reason


@pytest.mark.usefixtures("unchecked_types")
def test_shapes_must_match() -> None:
    with pytest.raises(OptionError, match=r"square and of one shape; found \[4, 4\] and \[5, 5\]"):
        second_order_agreement(np.zeros((4, 4)), np.zeros((5, 5)))
