"""Did two adapters start from the same lora_A? Asked per module, and without trusting the gauge.

`lora_B` starts at zero and `lora_A` at a random matrix that hardly moves, so adapters of one seed
share their input row space by construction. Two signs tell: the raw cosine of lora_A (equal
shapes; deviation `1/sqrt(r d)` if independent) and the overlap of the row spaces
`|Q_A1^T Q_A2|_F^2 / min(r1, r2)` (any rank, any gauge; chance `max(r1, r2) / d`).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from deltalens.core.shapes import Array, Bool, Float, Int
from deltalens.geometry.gram import GramBatch

SHARED, DIFFERENT, PARTIAL, UNTOLD, MISSING = 1, 0, 2, 3, -1
_ROUNDING = 1e-9
SharedInit = Literal["all", "some", "none"]


def raw_cosine(batch: GramBatch) -> Float[Array, "m n n"]:
    """Cosine of the stored lora_A matrices; NaN where their shapes differ."""
    trace = np.einsum("miaja->mij", batch.A)
    norms = np.sqrt(np.maximum(np.diagonal(trace, axis1=1, axis2=2), 0.0))
    scale = norms[:, :, None] * norms[:, None, :]
    comparable = (batch.ranks[:, :, None] == batch.ranks[:, None, :]) & (scale > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(comparable, np.clip(trace / scale, -1.0, 1.0), np.nan)


def row_overlap_chance(
    d_in: Int[Array, " m"], ranks: Int[Array, "m n"]
) -> tuple[Float[Array, "m n n"], Float[Array, "m n n"]]:
    """Mean and deviation of the row-space overlap of independent initialisations (Haar).

    `max(r1, r2) / d` for ranks up to d; a factor wider than that spans all of R^d.
    """
    d = d_in[:, None, None].astype(float)
    spanned = np.minimum(ranks, d_in[:, None]).astype(float)
    one, two = spanned[:, :, None], spanned[:, None, :]
    smaller = np.maximum(np.minimum(ranks[:, :, None], ranks[:, None, :]), 1)
    variance = 2 * one * two * (d - one) * (d - two) / (d**2 * (d - 1).clip(1) * (d + 2))
    return one * two / (d * smaller), np.sqrt(np.maximum(variance, 0.0)) / smaller


def classify(
    raw: Float[Array, "m n n"],
    rows: Float[Array, "m n n"],
    d_in: Int[Array, " m"],
    ranks: Int[Array, "m n"],
) -> Int[Array, "m n n"]:
    """SHARED, DIFFERENT, PARTIAL (moved, or shared in part), UNTOLD or MISSING, by module and pair.

    Shared if either sign exceeds .5 (and chance by 5 deviations, for ranks near the width);
    different if both are within 5 deviations of chance; otherwise partial. Untold where rows are
    NaN: a dense update (a full checkpoint, DoRA, IA3) has no initialisation to compare.
    """
    chance, deviation = row_overlap_chance(d_in, ranks)
    deviation = deviation + _ROUNDING  # none is left where a factor spans the whole input
    pair_rank = np.maximum(np.minimum(ranks[:, :, None], ranks[:, None, :]), 1)
    raw_deviation = 1 / np.sqrt(pair_rank * d_in[:, None, None])
    high_rows = (rows > 0.5) & (rows > chance + 5 * deviation)
    shared = (raw > np.maximum(0.5, 5 * raw_deviation)) | high_rows
    near_raw = np.isnan(raw) | (np.abs(raw) <= 5 * raw_deviation)
    near_rows = np.abs(rows - chance) <= 5 * deviation
    present = (ranks[:, :, None] > 0) & (ranks[:, None, :] > 0)
    found = np.where(shared, SHARED, np.where(near_raw & near_rows, DIFFERENT, PARTIAL))
    found = np.where(np.isnan(rows), UNTOLD, found)
    return np.where(present, found, MISSING)


def rewritten(raw: Float[Array, "m n n"], rows: Float[Array, "m n n"]) -> Bool[Array, "m n n"]:
    """Equal row spaces but unequal lora_A: somebody rewrote the factors after training."""
    return (rows > 0.5) & ~np.isnan(raw) & (np.abs(raw) < 0.5) & (rows > 0.9)


def summary(codes: Int[Array, " m"]) -> tuple[SharedInit, int, int]:
    """The pair's answer with the number of shared and of compared modules."""
    shared, compared = int(np.sum(codes == SHARED)), int(np.sum(codes != MISSING))
    if shared == 0:
        return "none", shared, compared
    return ("all" if shared == compared else "some"), shared, compared


def groups(linked: Bool[Array, "n n"]) -> list[list[int]]:
    """Connected components of a symmetric relation, in order of their first member."""
    n = len(linked)
    left, found = set(range(n)), list[list[int]]()
    while left:
        todo, members = [min(left)], set[int]()
        while todo:
            i = todo.pop()
            if i not in members:
                members.add(i)
                todo += np.flatnonzero(linked[i]).tolist()
        found.append(sorted(members))
        left -= members
    return found


def row_correlation(batch: GramBatch) -> Float[Array, "m n"]:
    """Root mean square cosine between different rows of each lora_A; NaN below rank 2.

    Rows drawn independently in R^d have about `1/sqrt(d)`; rows that come from an SVD have 0.
    """
    blocks = np.diagonal(batch.A, axis1=1, axis2=3)  # (m, r, r, n)
    cosines = blocks / _lengths(blocks)
    squares = np.einsum("mabn,mabn->mn", cosines, cosines)
    pairs = batch.ranks * (batch.ranks - 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.maximum(squares - batch.ranks, 0.0) / pairs
        return np.where(pairs > 0, np.sqrt(mean), np.nan)


def _lengths(blocks: Float[Array, "m r r n"]) -> Float[Array, "m r r n"]:
    norms = np.sqrt(np.maximum(np.einsum("maan->man", blocks), 0.0))
    scale = norms[:, :, None] * norms[:, None, :]
    return np.where(scale > 0, scale, np.inf)


def training_gauge(
    spread: Float[Array, "m n 2"],
    correlation: Float[Array, "m n"],
    d_in: Int[Array, " m"],
    ranks: Int[Array, "m n"],
) -> Bool[Array, "m n"]:
    """Whether lora_A still looks like a random initialisation, as the rotation null needs.

    A random A has condition about `((1 + q) / (1 - q))` with `q = sqrt(r / d)` (Marchenko-Pastur).
    Refused: `cond(A A^T)` above 1.5 times the square of that, and from rank 4 up rows that are
    orthogonal to a tenth of what chance gives: they come from an SVD (a merged or compressed file).

    Args:
        spread: extreme singular values of lora_A.
        correlation: as from `row_correlation`.
        d_in: width of the module's input.
        ranks: rows of lora_A, 0 where missing.
    """
    q = np.sqrt(np.minimum(ranks / d_in[:, None], 0.99))
    expected = ((1 + q) / (1 - q)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        condition = (spread[..., 0] / spread[..., 1]) ** 2
    orthogonal = (ranks >= 4) & (correlation * np.sqrt(d_in[:, None]) < 0.1)
    return (condition <= 1.5 * expected) & ~orthogonal


def repeated_within(sketch: Float[Array, "m s"]) -> list[list[int]]:
    """Modules of one adapter that start from one and the same A (cosine of a sketch over .5)."""
    norms = np.linalg.norm(sketch, axis=1, keepdims=True)
    unit = sketch / np.where(norms > 0, norms, 1.0)
    return groups((unit @ unit.T) > 0.5)
