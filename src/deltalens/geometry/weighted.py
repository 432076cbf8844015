"""Updates weighed by the inputs that they meet: `<dW1, dW2>_C = E (dW1 x).(dW2 x)`.

`<dW1, dW2>_C = tr(B1^T B2 A2 C A1^T)` with `C = E[x x^T]` of the module's inputs: the mean inner
product of what the two updates add to the module's output. With C = 1 it is the plain one. One
massive input direction can be all of it, so C's effective rank belongs beside every such number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.moment import InputMoment
from deltalens.core.shapes import Array, Float, Int
from deltalens.errors import GeometryError

_DENSE = 512  # up to this width all eigenvalues cost less than an iteration's overhead


@dataclass(frozen=True)
class MomentSpectrum:
    """How many directions the inputs really have.

    Attributes:
        effective_rank: participation ratio `(tr C)^2 / |C|_F^2`, from 1 to the width.
        largest_share: `lambda_1 / tr C`, the share of the largest direction.
    """

    effective_rank: float
    largest_share: float


def spectrum(moment: InputMoment) -> MomentSpectrum:
    """The participation ratio and the largest direction of a second moment.

    Raises:
        GeometryError: if the moment is zero.
    """
    trace = moment.trace()
    if not trace > 0:
        raise GeometryError("a second moment of 0 has no directions: its inputs were all 0")
    return MomentSpectrum(
        effective_rank=trace**2 / moment.squared_norm(),
        largest_share=_largest(moment) / trace,
    )


def _largest(moment: InputMoment) -> float:
    if moment.kind == "diagonal":
        return float(moment.diagonal.max())
    if moment.d_in <= _DENSE:
        return float(np.linalg.eigvalsh(moment.to_dense())[-1])
    from scipy.sparse.linalg import LinearOperator, eigsh

    def product(x: Array) -> Array:
        return moment.times(x.reshape(1, -1))[0]

    shape = (moment.d_in, moment.d_in)
    operator = LinearOperator(shape, matvec=product, dtype=np.float64)  # pyright: ignore[reportCallIssue]
    start = moment.mean_squares() + moment.trace() / moment.d_in  # fixed, hence repeatable
    return float(eigsh(operator, k=1, v0=start, return_eigenvectors=False)[0])


def weighted_inner(one: LowRankUpdate, two: LowRankUpdate, moment: InputMoment) -> float:
    """`<dW1, dW2>_C = tr(B1^T B2 A2 C A1^T)`, from the factors.

    Raises:
        GeometryError: if the shapes differ or C is not as wide as the input.
    """
    if one.shape != two.shape:
        raise GeometryError(f"updates of different shape: {one.shape} and {two.shape}")
    _require_width(moment, one.shape[1])
    return float(np.sum((one.B.T @ two.B) * (moment.times(one.A) @ two.A.T)))


def _require_width(moment: InputMoment, d_in: int) -> None:
    if moment.d_in != d_in:
        raise GeometryError(
            f"a second moment of width {moment.d_in} does not fit inputs of width {d_in}"
        )


@dataclass(frozen=True, eq=False)
class Blocks:
    """Gram blocks of n adapters at one module, ranks padded with zeros to a common r.

    Attributes:
        ranks: width of each factor, 0 where an adapter lacks the module.
        A: `A_i A_j^T`.
        B: `B_i^T B_j`.
        AC: `A_i C A_j^T`.
    """

    ranks: Int[Array, " n"]
    A: Float[Array, "n r n r"]
    B: Float[Array, "n r n r"]
    AC: Float[Array, "n r n r"]


def blocks(adapters: Sequence[Adapter], key: ModuleKey, moment: InputMoment) -> Blocks:
    """Read one module of every adapter and take its Gram blocks, plain and weighed by C.

    Raises:
        GeometryError: if C is not as wide as the module's input.
    """
    updates = [adapter.get(key) for adapter in adapters]
    ranks = np.array([0 if u is None else u.rank for u in updates])
    d_out, d_in = next(a.specs[key].shape for a in adapters if key in a.specs)
    _require_width(moment, d_in)
    n, r = len(updates), max(int(ranks.max()), 1)
    A, B = np.zeros((n, r, d_in)), np.zeros((d_out, n, r))
    for i, update in enumerate(updates):
        if update is not None:
            A[i, : update.rank], B[:, i, : update.rank] = update.A, update.B
    flat_A, flat_B = A.reshape(n * r, d_in), B.reshape(d_out, n * r)
    shape = (n, r, n, r)
    return Blocks(
        ranks=ranks,
        A=(flat_A @ flat_A.T).reshape(shape),
        B=(flat_B.T @ flat_B).reshape(shape),
        AC=(moment.times(flat_A) @ flat_A.T).reshape(shape),
    )


def inner_products(found: Blocks) -> Float[Array, "n n"]:
    """`<dW_i, dW_j>_C`; the diagonal holds squared norms, NaN where an adapter lacks the module."""
    present = found.ranks > 0
    inner = np.einsum("iajb,iajb->ij", found.AC, found.B)
    return np.where(present[:, None] & present[None, :], inner, np.nan)
