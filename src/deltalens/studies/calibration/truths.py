"""The worlds in which the rungs are tried: who is unrelated to whom, and how updates arise.

(a) B unrelated to A0; (b) one gradient step, `B = S^(1/2) G C^(q/2) A0^T` with unrelated G and
shared C (and S, the covariance of output gradients); (d) as (b), but the two updates of the pair,
and not the bank, share a part of G.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Array, Float
from deltalens.geometry.gram import GramBatch
from deltalens.studies.audit.hypotheses import Inputs


@dataclass(frozen=True)
class Sizes:
    """One small adapter; whole updates are `modules` independent modules of one shape.

    Attributes:
        d_in: inputs.
        d_out: outputs.
        rank: of the update.
        k: directions of the subspace measures.
        modules: of an adapter.
        bank: members of the benign bank.
        draws: rotations a module.
    """

    d_in: int = 64
    d_out: int = 48
    rank: int = 8
    k: int = 4
    modules: int = 3
    bank: int = 19
    draws: int = 39


@dataclass(frozen=True)
class Truth:
    """How the updates of one seed come about.

    Attributes:
        group: `"a"`, `"b"` or `"d"`.
        name: for people.
        decay: singular values `e^(-j / decay)` of G's r columns; None for independent entries;
            infinite for orthonormal columns.
        inputs: C; None where B is unrelated to A0.
        q: the power of C.
        outputs: S has eigenvalues `i^-outputs`; 0 for none.
        shared: correlation of G between the two of a pair.
    """

    group: str
    name: str
    decay: float | None = None
    inputs: Inputs | None = None
    q: int = 0
    outputs: float = 0.0
    shared: float = 0.0


_MILD, _STRONG = Inputs("power law", 0.5), Inputs("power law", 1.5)
TRUTHS = (
    Truth("a", "B unrelated to A, orthonormal columns", decay=np.inf),
    Truth("a", "B unrelated to A, independent entries"),
    Truth("a", "B unrelated to A, spectrum e^-j/4", decay=4.0),
    Truth("b", "gradient step, isotropic inputs", inputs=Inputs(), q=1),
    Truth("b", "gradient step, inputs j^-0.5, q = 1", inputs=_MILD, q=1),
    Truth("b", "gradient step, inputs j^-0.5, q = 2", inputs=_MILD, q=2),
    Truth("b", "gradient step, inputs j^-1.5, q = 1", inputs=_STRONG, q=1),
    Truth("b", "gradient step, inputs j^-1.5, q = 2", inputs=_STRONG, q=2),
    Truth("b", "the same with outputs i^-0.75, q = 1", inputs=_STRONG, q=1, outputs=0.75),
    Truth("d", "10 % of the task shared", inputs=_MILD, q=1, shared=0.1),
    Truth("d", "30 % of the task shared", inputs=_MILD, q=1, shared=0.3),
    Truth("d", "60 % of the task shared", inputs=_MILD, q=1, shared=0.6),
)


@dataclass(frozen=True, eq=False)
class Sample:
    """n replicas of a pair and its bank; rows of `batch` are replicas x modules, in that order.

    Attributes:
        batch: Gram blocks of all `2 + bank` updates; the first two are the pair.
        A0: the shared initial A of each row, which has not moved.
        energies: eigenvalues of C in A0's coordinates; ones where there is no C.
    """

    batch: GramBatch
    A0: Float[Array, "m r in"]
    energies: Float[Array, " in"]


def draw(truth: Truth, sizes: Sizes, n: int, *, rng: np.random.Generator) -> Sample:
    """Draw n replicas.

    Args:
        truth: how updates come about.
        sizes: of the adapters.
        n: replicas.
        rng: source of every draw.
    """
    rows, r, updates = n * sizes.modules, sizes.rank, 2 + sizes.bank
    A0 = rng.uniform(-1, 1, (rows, r, sizes.d_in)) * np.sqrt(3 / sizes.d_in)
    energies = (truth.inputs or Inputs()).energies(sizes.d_in)
    G = np.stack([_columns(truth, sizes, rows, rng) for _ in range(updates)], axis=1)
    if truth.shared:
        common = _columns(truth, sizes, rows, rng)[:, None]
        G[:, :2] = np.sqrt(truth.shared) * common + np.sqrt(1 - truth.shared) * G[:, :2]
    H = G * np.arange(1, sizes.d_out + 1)[:, None] ** (-truth.outputs / 2)
    B = H if truth.inputs is None else H @ _root(A0, energies, truth.q).swapaxes(1, 2)[:, None]
    return Sample(_batch(A0, B, sizes), A0, energies)


def _columns(truth: Truth, sizes: Sizes, rows: int, rng: np.random.Generator) -> Array:
    """R columns of an unrelated right-invariant matrix, `(rows, out, r)`."""
    G = rng.standard_normal((rows, sizes.d_out, sizes.rank))
    if truth.decay is None:
        return G
    left, _, right = np.linalg.svd(G, full_matrices=False)
    return (left * np.exp(-np.arange(sizes.rank) / truth.decay)) @ right


def _root(A0: Array, energies: Array, q: int) -> Array:
    """L with `L L^T = A0 C^q A0^T`: `G C^(q/2) A0^T` is distributed as r columns times `L^T`."""
    return np.linalg.cholesky((A0 * energies**q) @ A0.swapaxes(1, 2))


def _batch(A0: Array, B: Array, sizes: Sizes) -> GramBatch:
    rows, n = B.shape[:2]
    r = sizes.rank
    flat = B.transpose(0, 2, 1, 3).reshape(rows, sizes.d_out, n * r)
    GA = (A0 @ A0.swapaxes(1, 2))[:, None, :, None, :]
    return GramBatch(
        keys=(),
        shapes=np.tile([sizes.d_out, sizes.d_in], (rows, 1)),
        ranks=np.full((rows, n), r),
        A=np.broadcast_to(GA, (rows, n, r, n, r)),
        B=(flat.swapaxes(1, 2) @ flat).reshape(rows, n, r, n, r),
        sketch=np.zeros((rows, n, 0)),
    )
