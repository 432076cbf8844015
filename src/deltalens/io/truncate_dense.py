"""The closest matrix of a low rank to a dense one: the head of its spectrum, not all of it.

A full fine-tune's difference has a slowly falling spectrum, where one pass of a randomised SVD is
off by percents; Lanczos iteration (ARPACK, in scipy) needs products with the matrix alone too, and
runs until the triples are exact to rounding. scikit-learn has a randomised SVD with power
iterations, scipy only an interpolative one; neither is needed then.
"""

from __future__ import annotations

from typing import cast

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float

# Above this share of the full rank, or below this size, LAPACK's full SVD is faster.
_SHARE, _SMALL = 0.1, 200


def truncated_dense(dW: Float[Array, "out in"], rank: int) -> tuple[LowRankUpdate, float, float]:
    """Cut a dense matrix to `rank`, each factor scaled by `sqrt(S_j)`.

    Returns:
        The update, `|dW|_F`, and `|dW - kept|_F`, both measured on the dense matrix.
    """
    norm = float(np.linalg.norm(dW))
    if norm == 0.0:
        return LowRankUpdate(np.zeros((dW.shape[0], rank)), np.zeros((rank, dW.shape[1]))), 0.0, 0.0
    U, S, Vt = _head(dW / norm, rank)
    root = np.sqrt(S * norm)
    kept = LowRankUpdate(U * root, root[:, None] * Vt)
    return kept, norm, float(np.linalg.norm(dW - kept.dense()))


def _head(W: Float[Array, "out in"], rank: int) -> tuple[Array, Array, Array]:
    """The first `rank` singular triples, descending."""
    smaller = min(W.shape)
    if smaller <= _SMALL or rank > _SHARE * smaller:
        U, S, Vt = np.linalg.svd(W, full_matrices=False)
        return U[:, :rank], S[:rank], Vt[:rank]
    return leading_triples(W, rank)


def leading_triples(W: Float[Array, "out in"], k: int) -> tuple[Array, Array, Array]:
    """The first `k` singular triples by Lanczos iteration, descending; `k < min(out, in)`."""
    from scipy.sparse.linalg import svds

    start = np.random.default_rng(0).standard_normal(min(W.shape))  # a run can be repeated
    left, values, right = cast("tuple[Array, Array, Array]", svds(W, k=k, v0=start))
    order = np.argsort(values)[::-1]
    return left[:, order], values[order], right[order]
