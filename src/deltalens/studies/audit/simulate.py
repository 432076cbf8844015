"""Pairs of unrelated updates of one seed, drawn exactly in r x r algebra.

`dW = B A0` with `A0 = T Q^T` (T lower triangular, Q orthonormal) has its right singular vectors at
`Q V'`, V' the eigenvectors of `T^T B^T B T`; two updates of one seed share Q, so
`V1^T V2 = V1'^T V2'`.
With `B = H C^(q/2) A0^T` and H right-invariant, `B^T B` is distributed as `R E R^T` where
`R R^T = A0 C^q A0^T` and E is the Gram matrix of the first r columns of H: Wishart (Bartlett's
triangle) for independent entries, `O diag(sigma^2) O^T` with O Haar for a given spectrum. Only `A0`
itself (r x d) is drawn at full width, from the distribution that PEFT uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Array, Float
from deltalens.geometry.nulls.rotation import haar_orthogonal
from deltalens.studies.audit.hypotheses import Hypothesis, Inputs, Spectrum
from deltalens.studies.audit.shapes import LayerModule

Grams = dict[tuple[Inputs | None, int], Array]


@dataclass(frozen=True)
class Cuts:
    """How many directions each measure looks at."""

    overlap: int = 16
    angle: int = 20


@dataclass(frozen=True, eq=False)
class Draws:
    """Simulated pairs of one module under h hypotheses.

    Attributes:
        measures: overlap, mean angle in degrees, mean PC cosine, first PC cosine,
            `Float[Array, "h draws 4"]`.
        curve: PC cosine by index, mean over the draws, `Float[Array, "h k"]`.
    """

    measures: Float[Array, "h draws 4"]
    curve: Float[Array, "h k"]


def simulate(
    module: LayerModule,
    cases: Sequence[Hypothesis],
    cuts: Cuts,
    draws: int,
    *,
    rng: np.random.Generator,
    spectra: Float[Array, "draws 2 r"] | None = None,
) -> Draws:
    """Draw pairs; hypotheses share the draws of A0, modules do not.

    Args:
        module: shapes and rank.
        cases: what to assume.
        cuts: k of overlap, and of angles and PC cosines; neither above the rank.
        draws: pairs for each hypothesis.
        rng: source of every draw.
        spectra: singular values of both updates' B, for the spectrum of real files.
    """
    wanted = dict.fromkeys((case.inputs, case.q) for case in cases)
    grams = draw_grams(module.rank, module.d_in, tuple(wanted), draws, rng=rng)
    T = np.linalg.cholesky(grams[(None, 1)])
    found = [_pairs(case, grams, T, module, cuts, rng, spectra) for case in cases]
    return Draws(np.stack([f[0] for f in found]), np.stack([f[1] for f in found]))


def draw_grams(
    r: int,
    d: int,
    kinds: Sequence[tuple[Inputs | None, int]],
    draws: int,
    *,
    rng: np.random.Generator,
) -> Grams:
    """`A0 C^q A0^T` for draws of A0, uniform with variance 1/d; `(None, 1)` is `A0 A0^T`.

    Args:
        r: rank.
        d: inputs.
        kinds: pairs of C and q; `(None, 0)` stands for a B unrelated to A0 and gives identities.
        draws: how many A0.
        rng: source of every draw.
    """
    out: Grams = {kind: np.empty((draws, r, r)) for kind in (*kinds, (None, 1))}
    weights = {
        (c, q): c.energies(d) ** q for c, q in kinds if c is not None and c.kind != "isotropic"
    }
    reach = np.sqrt(3 / d)
    for t in range(draws):
        A = rng.uniform(-reach, reach, (r, d))
        own = A @ A.T
        for (c, q), gram in out.items():
            if c is None:
                gram[t] = own if q else np.eye(r)
            else:
                gram[t] = own if c.kind == "isotropic" else (A * weights[c, q]) @ A.T
    return out


def gram_of_unrelated(
    spectrum: Spectrum, rows: int, r: int, draws: int, *, rng: np.random.Generator
) -> Float[Array, "draws r r"]:
    """`H^T H` of the first r columns of a right-invariant H with this spectrum.

    Args:
        spectrum: independent entries, or a decay; fewer rows than columns leave zeros.
        rows: outputs.
        r: columns.
        draws: how many.
        rng: source of every draw.
    """
    if spectrum.decay is None:
        if rows < r:
            H = rng.standard_normal((draws, rows, r))
            return H.swapaxes(1, 2) @ H
        T = np.tril(rng.standard_normal((draws, r, r)), -1)
        T[:, np.arange(r), np.arange(r)] = np.sqrt(rng.chisquare(rows - np.arange(r), (draws, r)))
        return T @ T.swapaxes(1, 2)
    sigma = np.exp(-np.arange(r) / spectrum.decay) * (np.arange(r) < rows)
    return turned(np.broadcast_to(sigma, (draws, r)), rng=rng)


def turned(
    sigma: Float[Array, "draws r"], *, rng: np.random.Generator
) -> Float[Array, "draws r r"]:
    """`O diag(sigma^2) O^T` with O Haar."""
    draws, r = sigma.shape
    haar = haar_orthogonal(r, draws, rng=rng)
    return (haar * sigma[:, None, :] ** 2) @ haar.swapaxes(1, 2)


def _pairs(
    case: Hypothesis,
    grams: Grams,
    T: Array,
    module: LayerModule,
    cuts: Cuts,
    rng: np.random.Generator,
    spectra: Array | None,
) -> tuple[Array, Array]:
    draws = T.shape[0]
    into = np.linalg.cholesky(grams[(case.inputs, case.q)]).swapaxes(1, 2) @ T
    ends: list[Array] = []
    for end in range(2):
        own = None if spectra is None else spectra[:, end]
        E = _gram(case.spectrum, module, draws, own, rng)
        vectors = np.linalg.eigh(into.swapaxes(1, 2) @ E @ into)[1]
        ends.append(vectors[..., ::-1][..., : max(cuts.overlap, cuts.angle)])
    return measures(ends[0].swapaxes(1, 2) @ ends[1], cuts)


def _gram(
    spectrum: Spectrum,
    module: LayerModule,
    draws: int,
    own: Array | None,
    rng: np.random.Generator,
) -> Array:
    if not spectrum.own:
        return gram_of_unrelated(spectrum, module.d_out, module.rank, draws, rng=rng)
    if own is None:
        raise ValueError("the files' own spectra are assumed, and none were given")
    return turned(own, rng=rng)


def measures(C: Float[Array, "draws c c"], cuts: Cuts) -> tuple[Array, Array]:
    """The four measures of each draw, and the mean PC cosine by index."""
    head, tail = C[:, : cuts.overlap, : cuts.overlap], C[:, : cuts.angle, : cuts.angle]
    overlap = np.einsum("dab,dab->d", head, head) / cuts.overlap
    cosines = np.minimum(np.linalg.svd(tail, compute_uv=False), 1.0)
    angle = np.degrees(np.arccos(cosines)).mean(axis=1)
    pc = np.abs(np.diagonal(tail, axis1=1, axis2=2))
    return np.stack([overlap, angle, pc.mean(axis=1), pc[:, 0]], axis=1), pc.mean(axis=0)
