"""Products of updates that keep their factors: exact, and never wider than the dense matrix."""

from __future__ import annotations

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float


def from_dense(W: Float[Array, "out in"]) -> LowRankUpdate:
    """Any matrix as an update: itself and an identity on its shorter side, exact."""
    out, in_ = W.shape
    return LowRankUpdate(W, np.eye(in_)) if in_ <= out else LowRankUpdate(np.eye(out), W)


def narrowed(update: LowRankUpdate) -> LowRankUpdate:
    """The same update with a rank that does not exceed either side of the matrix."""
    return from_dense(update.dense()) if update.rank > min(update.shape) else update


def hadamard_rank(shape: tuple[int, int], left: int, right: int) -> int:
    """Width of the factors that `hadamard` gives for updates of these ranks."""
    return min(left * right, *shape)


def hadamard(left: LowRankUpdate, right: LowRankUpdate) -> LowRankUpdate:
    """The elementwise product `dW1 o dW2`, of rank `r1 r2` or less.

    `(B1 A1) o (B2 A2) = B A` with `B[:, (i, j)] = B1[:, i] B2[:, j]` and
    `A[(i, j), :] = A1[i, :] A2[j, :]` (the Khatri-Rao products of the factors), unless that is
    wider than the matrix itself.
    """
    if left.rank * right.rank > min(left.shape):
        return from_dense(left.dense() * right.dense())
    B = left.B[:, :, None] * right.B[:, None, :]
    A = left.A[:, None, :] * right.A[None, :, :]
    rank = left.rank * right.rank
    return LowRankUpdate(B.reshape(left.shape[0], rank), A.reshape(rank, left.shape[1]))


def kronecker(left: LowRankUpdate, right: LowRankUpdate) -> LowRankUpdate:
    """The Kronecker product `dW1 (x) dW2 = (B1 (x) B2)(A1 (x) A2)`, of rank `r1 r2`.

    Since `r <= min(out, in)` holds for both (see `narrowed`), it holds for the product.
    """
    return LowRankUpdate(np.kron(left.B, right.B), np.kron(left.A, right.A))
