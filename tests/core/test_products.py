"""Products that keep their factors against dense numpy."""

from __future__ import annotations

import numpy as np
import pytest

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense, hadamard, hadamard_rank, kronecker, narrowed


def update(rng: np.random.Generator, out: int, in_: int, rank: int) -> LowRankUpdate:
    return LowRankUpdate(rng.standard_normal((out, rank)), rng.standard_normal((rank, in_)))


@pytest.mark.parametrize(("r1", "r2"), [(1, 1), (2, 3), (3, 3), (7, 1), (0, 2)])
def test_hadamard(r1: int, r2: int, rng: np.random.Generator) -> None:
    left, right = update(rng, 7, 9, r1), update(rng, 7, 9, r2)
    product = hadamard(left, right)
    np.testing.assert_allclose(product.dense(), left.dense() * right.dense(), atol=1e-13)
    assert product.rank == hadamard_rank((7, 9), r1, r2) <= 7


@pytest.mark.parametrize(("r1", "r2"), [(1, 1), (2, 3), (0, 2)])
def test_kronecker(r1: int, r2: int, rng: np.random.Generator) -> None:
    left, right = update(rng, 3, 2, r1), update(rng, 4, 5, r2)
    product = kronecker(left, right)
    np.testing.assert_allclose(product.dense(), np.kron(left.dense(), right.dense()), atol=1e-13)
    assert product.rank == r1 * r2


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
def test_a_dense_matrix_is_kept_exactly(shape: tuple[int, int], rng: np.random.Generator) -> None:
    W = rng.standard_normal(shape)
    np.testing.assert_array_equal(from_dense(W).dense(), W)
    assert from_dense(W).rank == min(shape)


def test_narrowed_never_exceeds_a_side(rng: np.random.Generator) -> None:
    wide, thin = update(rng, 4, 6, 9), update(rng, 4, 6, 2)
    assert narrowed(wide).rank == 4
    np.testing.assert_allclose(narrowed(wide).dense(), wide.dense(), atol=1e-13)
    assert narrowed(thin) is thin
