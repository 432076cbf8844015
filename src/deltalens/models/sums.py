"""From streamed sums of inputs to a second moment in one of three forms.

Every sum is linear in the tokens, so batches add, a stopped run goes on where it was, and centring
is done once at the end: `C - m m^T`.

The low-rank form is a single-pass Nystrom approximation (Tropp, Yurtsever, Udell, Cevher 2017,
arXiv 1706.05736): with a seeded orthonormal test matrix W `(in, width)` the stream keeps
`Y = C W`, and `C ~ Y (W^T Y)^+ Y^T`, cut to the leading `rank` directions. It never exceeds C, so
what it leaves of the exactly known diagonal is added back as a diagonal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deltalens.core.moment import InputMoment, MomentKind
from deltalens.core.shapes import Array, Float

_FLOOR = 1e-12  # of W^T Y's largest eigenvalue: below it the sketch holds rounding


@dataclass(frozen=True)
class Plan:
    """What is kept of the inputs.

    Attributes:
        kind: the form.
        rank: directions of the low-rank form.
        seed: of its test matrix.
    """

    kind: MomentKind = "full"
    rank: int = 64
    seed: int = 0

    def width(self, d_in: int) -> int:
        """Columns of the sketch: `2 rank + 8`, never more than the input has."""
        return min(2 * self.rank + 8, d_in) if self.kind == "low-rank" else 0

    def numbers(self, d_in: int) -> int:
        """Float64 numbers that one input keeps while it is streamed."""
        return 2 * d_in + (d_in * d_in if self.kind == "full" else d_in * self.width(d_in))


def sketch_matrix(d_in: int, plan: Plan) -> Float[Array, "in width"]:
    """A seeded orthonormal basis of a random subspace, the same for every module of this width."""
    rng = np.random.default_rng([plan.seed, d_in])
    return np.linalg.qr(rng.standard_normal((d_in, plan.width(d_in))))[0]


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the tokens of one module's inputs.

    Attributes:
        total: `sum x`, `Float[Array, "in"]`.
        squares: `sum x^2`, `Float[Array, "in"]`.
        product: `sum x x^T` (full) or `sum x (x^T W)` (low-rank), `Float[Array, "in width"]`.
    """

    total: Float[Array, " in"]
    squares: Float[Array, " in"]
    product: Float[Array, "in width"]


@dataclass(frozen=True, eq=False)
class Found:
    """A second moment and the share of `tr C` that its full or low-rank part holds."""

    moment: InputMoment
    captured: float


def moment(sums: Sums, tokens: int, plan: Plan, *, centred: bool) -> Found:
    """The second moment of `tokens` inputs, about their mean if `centred`.

    Centring subtracts squares: where the mean is 1e6 deviations long, half the digits are lost.
    """
    mean = sums.total / tokens if centred else np.zeros_like(sums.total)
    squares = np.maximum(sums.squares / tokens - mean**2, 0.0)
    if plan.kind == "diagonal":
        return Found(InputMoment.of_diagonal(squares), 0.0)
    if plan.kind == "full":
        about = sums.product / tokens - np.outer(mean, mean)
        whole = (about + about.T) / 2
        np.fill_diagonal(whole, squares)
        return Found(InputMoment.full(whole), 1.0)
    W = sketch_matrix(mean.size, plan)
    factor = _nystrom(sums.product / tokens - np.outer(mean, mean @ W), W, plan.rank)
    held = np.einsum("ir,ir->i", factor, factor)
    trace = float(squares.sum())
    captured = min(float(held.sum()) / trace, 1.0) if trace > 0 else 0.0
    return Found(InputMoment(np.maximum(squares - held, 0.0), factor), captured)


def _nystrom(
    Y: Float[Array, "in width"], W: Float[Array, "in width"], rank: int
) -> Float[Array, "in rank"]:
    core = W.T @ Y
    values, vectors = np.linalg.eigh((core + core.T) / 2)
    kept = values > max(_FLOOR * float(values[-1]), 0.0)
    root = Y @ (vectors[:, kept] / np.sqrt(values[kept]))
    U, S, _ = np.linalg.svd(root, full_matrices=False)
    found = np.zeros((len(Y), min(rank, Y.shape[1])))
    held = min(found.shape[1], S.size)  # inputs of a smaller rank leave columns of 0
    found[:, :held] = U[:, :held] * S[:held]
    return found
