"""What is left of an update's input side once the true initial row space is taken out.

Adapters of one seed share the rows of their initial A. With that A0 known (never estimated from
the pair: residuals of a mean are equal by construction) its row space, and that of A0 rounded to
bf16, is projected out of both updates, and the leading subspaces of what is left are compared.
The chance level is Haar in the space that is left: `k / (d - dim)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float
from deltalens.errors import GeometryError

LEAST_DRIFT = 0.01
HALF_PRECISION = 2.0**-12  # a file that rounds more than this holds 16-bit numbers
_INDEPENDENT = 1e-2  # sine of a row's angle to those before it, where Cholesky keeps 1e-12
_RANK = 1e-10
_OWN = float(np.finfo(float).eps)
_EIGEN = 1e-12  # of the largest eigenvalue: below it the order of directions is rounding


def rounded_to_bf16(A: Float[Array, "rank in"]) -> Float[Array, "rank in"]:
    """A as a bf16 file holds it: to the nearest, ties to even."""
    bits = A.astype("<f4").view("<u4").astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) << 16
    return rounded.astype("<u4").view("<f4").astype(np.float64)


def initial_basis(starts: Sequence[Float[Array, "_ in"]]) -> Float[Array, "in dim"]:
    """An orthonormal basis of the rows of every A0 and of every bf16(A0).

    Args:
        starts: the initial A of each adapter compared; equal ones count once.
    """
    parts: list[Array] = []
    for A0 in starts:
        error = rounded_to_bf16(A0) - A0
        parts += [_unit(A0), _unit(error)]
    rows = np.concatenate(parts)
    if len(rows) <= rows.shape[1]:
        with suppress(np.linalg.LinAlgError):
            L = np.linalg.cholesky(rows @ rows.T)  # unit rows: a fifth of the cost of a QR
            if np.diagonal(L).min() > _INDEPENDENT:
                return np.linalg.solve(L, rows).T
    _, S, Vt = np.linalg.svd(rows, full_matrices=False)  # dependent rows, or more than fit
    return np.ascontiguousarray(Vt[_RANK * S[0] < S].T)


def _unit(A: Array) -> Array:
    """Rows at a common scale, so that a rounding error counts as a direction; zero rows go."""
    lengths = np.linalg.norm(A, axis=1)
    return A[lengths > 0] / lengths[lengths > 0, None]


def drift(A: Float[Array, "rank in"], A0: Float[Array, "rank in"], roundoff: float) -> float:
    """`|A - A0|_F / |A|_F`; against bf16(A0) where the file holds 16-bit numbers."""
    start = rounded_to_bf16(A0) if roundoff > HALF_PRECISION else A0
    norm = float(np.linalg.norm(A))
    return float(np.linalg.norm(A - start)) / norm if norm > 0 else 0.0


def space_left(d_in: int, basis: Float[Array, "in dim"], k: int) -> int:
    """Dimensions that the projection leaves.

    Raises:
        GeometryError: if k subspace directions do not fit.
    """
    left = d_in - basis.shape[1]
    if k > left:
        raise GeometryError(
            f"k = {k} is larger than the space left: {left} of {d_in} input dimensions remain "
            f"without the {basis.shape[1]} of the initial rows; use a smaller --top-k"
        )
    return left


def residual_frame(
    update: LowRankUpdate, basis: Float[Array, "in dim"], k: int, roundoff: float
) -> Float[Array, "in k"] | None:
    """The k leading input directions of `dW (1 - Q Q^T)`.

    Returns:
        None where fewer than k singular values stand above the rounding of the stored A: error of
        deviation `u |A|_F / sqrt(3 r d)` an entry, through B, four times over.
    """
    left = update.A
    for _ in range(2):  # the second pass takes out what rounding left of the first
        left = left - (left @ basis) @ basis.T
    r, d = left.shape
    Q, R = np.linalg.qr(left.T)
    GB = update.B.T @ update.B
    squares, vectors = np.linalg.eigh(R @ GB @ R.T)  # dW P = (B R^T) Q^T
    norm = float(np.linalg.norm(update.A))
    deviation = roundoff * norm / np.sqrt(3 * r * d)
    own = _OWN * max(update.shape) * norm
    largest = float(np.sqrt(max(np.linalg.eigvalsh(GB)[-1], 0.0)))
    floor = (4 * deviation * (np.sqrt(d) + np.sqrt(r)) + own) * largest
    if squares.size < k or not squares[-k] > max(floor**2, _EIGEN * squares[-1]):
        return None
    return Q @ vectors[:, ::-1][:, :k]
