"""p of every rung and statistic for a sample of pairs, with the package's own nulls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from deltalens.core.moment import InputMoment
from deltalens.core.shapes import Array, Float
from deltalens.geometry import angles
from deltalens.geometry.cosine import cosines, inner_products
from deltalens.geometry.frames import Frames, frames
from deltalens.geometry.gram import GramBatch
from deltalens.geometry.nulls import Undefined, haar, rotation
from deltalens.geometry.nulls.activation import kernels, roots, turn
from deltalens.geometry.nulls.bank import rank_test
from deltalens.geometry.weighted import Blocks
from deltalens.studies.calibration.truths import Sample, Sizes

STATISTICS = ("cosine", "overlap", "output_overlap", "pc_cosine")
RUNGS = ("haar", "rotation", "activation", "bank")
# Neither rotation moves the columns of B, so neither speaks of the output side.
COMBINATIONS = tuple(
    (rung, statistic)
    for rung in RUNGS
    for statistic in STATISTICS
    if not (rung in {"rotation", "activation"} and statistic == "output_overlap")
)
P = Mapping[tuple[str, str], Array]
Statistics = Mapping[str, Array]


def p_values(sample: Sample, sizes: Sizes, *, rng: np.random.Generator) -> P:
    """P of each rung and statistic, one for each replica; small means more alike than the null.

    Args:
        sample: pairs with their banks.
        sizes: of the adapters.
        rng: source of the rotations.
    """
    pair = _pair(sample.batch)
    found, own = frames(sample.batch), frames(pair)
    values, inner = _statistics(sample.batch, found, sizes)
    observed = {name: value[:, 0, 1] for name, value in values.items()}
    return {
        **_haar(pair, inner, observed, sizes),
        **_rotation(pair, own, inner, observed, sizes, rng),
        **_activation(sample, pair, own, inner, observed, sizes, rng),
        **{("bank", name): _bank(value) for name, value in values.items()},
    }


def _pair(batch: GramBatch) -> GramBatch:
    return GramBatch(
        batch.keys,
        batch.shapes,
        batch.ranks[:, :2],
        batch.A[:, :2, :, :2],
        batch.B[:, :2, :, :2],
        batch.sketch[:, :2],
    )


def _statistics(batch: GramBatch, found: Frames, sizes: Sizes) -> tuple[Statistics, Array]:
    """Every statistic of every pair of updates, and `<dW_a, dW_b>` of the pair proper."""
    inner = _by_replica(inner_products(batch), sizes).sum(axis=1)
    means = {
        "overlap": angles.subspace_overlap(found.cross["input"], sizes.k),
        "output_overlap": angles.subspace_overlap(found.cross["output"], sizes.k),
        "pc_cosine": angles.pc_cosine(found.cross["input"], sizes.k),
    }
    values = {name: _by_replica(v, sizes).mean(axis=1) for name, v in means.items()}
    return {"cosine": cosines(inner), **values}, inner[:, 0, 1]


def _by_replica(values: Array, sizes: Sizes) -> Array:
    """Rows are replicas x modules."""
    return values.reshape(-1, sizes.modules, *values.shape[1:])


def _haar(
    pair: GramBatch, inner: Array, observed: Mapping[str, Array], sizes: Sizes
) -> dict[tuple[str, str], Array]:
    variance = _by_replica(haar.inner_variance(pair), sizes).sum(axis=1)[:, 0, 1]
    moments = {
        "overlap": haar.overlap_moments(sizes.d_in, sizes.k),
        "output_overlap": haar.overlap_moments(sizes.d_out, sizes.k),
        "pc_cosine": haar.pc_cosine_moments(sizes.d_in, sizes.k),
    }
    out = {("haar", "cosine"): _tail(inner / np.sqrt(variance))}
    for name, (mean, sd) in moments.items():
        out["haar", name] = _tail((observed[name] - mean) / (sd / np.sqrt(sizes.modules)))
    return out


def _tail(z: Array) -> Array:
    from scipy.special import ndtr

    return np.asarray(ndtr(-z))


def _rotation(
    pair: GramBatch,
    own: Frames,
    inner: Array,
    observed: Mapping[str, Array],
    sizes: Sizes,
    rng: np.random.Generator,
) -> dict[tuple[str, str], Array]:
    alone = [[[m] for m in range(sizes.modules)]] * 2
    ranks = np.full((sizes.modules, 2), sizes.rank)
    squares = _by_replica(rotation.inner_squares(pair), sizes)
    variance = np.array([rotation.inner_variance(s, ranks, alone)[0, 1] for s in squares])
    rows = len(pair.ranks)
    plan = rotation.RotationPlan(
        pairs=((0, 1),),
        draws=sizes.draws,
        k=sizes.k,
        seed=int(rng.integers(2**31)),
        group=np.tile(np.arange(rows)[:, None], (1, 2)),
    )
    drawn = rotation.draw_batch(pair, own, plan, range(rows))[:, 0]
    mean = _by_replica(drawn, sizes).mean(axis=1)
    return {
        ("rotation", "cosine"): _tail(inner / np.sqrt(variance)),
        ("rotation", "overlap"): _share(observed["overlap"], mean[..., 0]),
        ("rotation", "pc_cosine"): _share(observed["pc_cosine"], mean[..., 1]),
    }


def _share(observed: Float[Array, " n"], draws: Float[Array, "n draws"]) -> Float[Array, " n"]:
    """`(1 + #{draw >= observed}) / (draws + 1)`."""
    return (1 + np.sum(draws >= observed[:, None], axis=1)) / (draws.shape[1] + 1)


def _activation(
    sample: Sample,
    pair: GramBatch,
    own: Frames,
    inner: Array,
    observed: Mapping[str, Array],
    sizes: Sizes,
    rng: np.random.Generator,
) -> dict[tuple[str, str], Array]:
    """The cosine in closed form; for overlap and PC cosine draws, to show what they are worth."""
    moment = InputMoment.of_diagonal(sample.energies)
    squares, drawn = [], []
    for row, A0 in enumerate(sample.A0):
        AC = np.broadcast_to((moment.times(A0) @ A0.T)[None, :, None], pair.A[row].shape)
        blocks = Blocks(pair.ranks[row], pair.A[row], pair.B[row], AC)
        squares.append(turn(blocks, [A0, A0], moment).squares)
        K = kernels(A0, moment)
        drawn.append(turned_by(K, pair, own, row, sizes.k, sizes.draws, rng=rng))
    total = _by_replica(np.stack(squares), sizes).sum(axis=1) / sizes.rank
    variance = np.maximum(total[..., 0, 1], total[..., 1, 0])  # n x q: the larger of two directions
    z = inner[:, None] / np.sqrt(variance)
    mean = _by_replica(np.stack(drawn), sizes).mean(axis=1)  # n x q x draws x statistic
    return {
        ("activation", "cosine"): _tail(z).max(axis=1),
        ("activation", "overlap"): _larger(observed["overlap"], mean[..., 0]),
        ("activation", "pc_cosine"): _larger(observed["pc_cosine"], mean[..., 1]),
    }


def _larger(observed: Array, draws: Float[Array, "n 2 draws"]) -> Array:
    return np.maximum(_share(observed, draws[:, 0]), _share(observed, draws[:, 1]))


def turned_by(
    K: Float[Array, "2 r r"],
    pair: GramBatch,
    own: Frames,
    row: int,
    k: int,
    draws: int,
    *,
    rng: np.random.Generator,
) -> Float[Array, "2 draws 2"]:
    """Overlap and PC cosine when the second update is turned by `K^(-1/2) O K^(1/2)`.

    Args:
        K: `A0 C^q A0^T` for q = 1 and 2.
        pair: Gram blocks of two updates.
        own: their frames.
        row: which module.
        k: directions.
        draws: rotations.
        rng: source of the rotations.

    Returns:
        For each q and draw the two measures; NaN where K is singular.
    """
    GB = pair.B[row, 1, :, 1]
    gauge = pair.A[row, 1, :, 1] @ own.whitener[row, 1]  # (A A^T)^(1/2)
    # The first update's directions in the second's whitened rows; one seed: the same rows.
    onto = own.coefficients[row, 0][:, :k].T @ pair.A[row, 0, :, 1] @ own.whitener[row, 1]
    out = np.full((2, draws, 2), np.nan)
    for q in range(2):
        found = roots(K[q])
        if found is not None:
            root, inverse = found
            turn_by = rotation.haar_orthogonal(len(root), draws, rng=rng)
            into = inverse @ turn_by @ root @ gauge
            heads = np.linalg.eigh(into.swapaxes(1, 2) @ GB @ into)[1][..., ::-1][..., :k]
            C = onto @ heads
            out[q, :, 0] = np.einsum("dab,dab->d", C, C) / k
            out[q, :, 1] = np.abs(np.diagonal(C, axis1=1, axis2=2)).mean(axis=1)
    return out


def _bank(values: Float[Array, "n u u"]) -> Float[Array, " n"]:
    def one(T: Array) -> float:
        found = rank_test(float(T[0, 1]), T[0, 2:].tolist(), T[1, 2:].tolist())
        return np.nan if isinstance(found, Undefined) else found.p

    return np.array([one(T) for T in values])
