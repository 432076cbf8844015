"""Everything that one pass over n adapters measures, per module and pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array, Bool, Float, Int
from deltalens.core.subspace import SIDES, Side
from deltalens.geometry import angles, explicit, initialisation
from deltalens.geometry.cosine import inner_products
from deltalens.geometry.frames import Frames, frames
from deltalens.geometry.gram import GramBatch, map_batches
from deltalens.geometry.layers import layer_of
from deltalens.geometry.nulls import haar, rotation
from deltalens.geometry.spectrum import noise_floor, numerical_ranks

MEASURES = ("overlap", "pc_cosine", "angle", "energy_overlap")


@dataclass(frozen=True, eq=False)
class Survey:
    """One pass over n adapters and m modules. NaN is undefined or missing, never 0.

    Attributes:
        names: the adapters' names.
        keys: the modules that at least two adapters hold.
        layers: layer of each module, -1 for none.
        k: the cut of every subspace measure.
        shapes: `(out, in)` of each module.
        ranks: width of the factors, 0 where missing.
        numerical_rank: singular values above the noise of the file and of float64.
        S: singular values, padded with zeros.
        inner: `<dW_i, dW_j>`; the diagonal holds squared norms.
        raw_cosine: cosine of the stored lora_A.
        row_overlap: overlap of the row spaces of lora_A.
        spread_A: extreme singular values of lora_A.
        measures: side -> measure -> `(m, n, n)`; angles in radians; energy_overlap is not
            symmetric, (i, j) being the share of j's energy inside i's subspace.
        rotation_squares: `|A_j A_i^T B_i^T B_j|_F^2` for the rotation null.
        haar_variance: variance of the inner product when one input side is turned at random.
        row_correlation: root mean square cosine between different rows of lora_A.
        sketch: first entries of lora_A.
        explicit: modules whose frames came from QR of the factors.
    """

    names: tuple[str, ...]
    keys: tuple[ModuleKey, ...]
    layers: Int[Array, " m"]
    k: int
    shapes: Int[Array, "m 2"]
    ranks: Int[Array, "m n"]
    numerical_rank: Int[Array, "m n"]
    S: Float[Array, "m n r"]
    inner: Float[Array, "m n n"]
    raw_cosine: Float[Array, "m n n"]
    row_overlap: Float[Array, "m n n"]
    spread_A: Float[Array, "m n 2"]
    measures: Mapping[Side, Mapping[str, Float[Array, "m n n"]]]
    rotation_squares: Float[Array, "m n n"]
    haar_variance: Float[Array, "m n n"]
    row_correlation: Float[Array, "m n"]
    sketch: Float[Array, "m n s"]
    explicit: Bool[Array, " m"]

    @property
    def common(self) -> Bool[Array, "m n n"]:
        """Whether both adapters of a pair hold the module."""
        present = self.ranks > 0
        return present[:, :, None] & present[:, None, :]


def survey(
    adapters: Sequence[Adapter],
    keys: Sequence[ModuleKey],
    k: int,
    *,
    workers: int | None = None,
) -> Survey:
    """Measure all pairs of adapters at the given modules in one pass over their files.

    Args:
        adapters: at least one; of equal shapes where they share a module.
        keys: the modules to measure, in the order of the result.
        k: the cut; must not exceed any factor's width (checked by the caller, who can name it).
        workers: threads; as many as cores and free memory allow by default.
    """

    def measure(batch: GramBatch) -> Survey:
        return _measure(batch, adapters, k)

    return _joined(list(map_batches(adapters, keys, measure, workers=workers)))


def _joined(parts: Sequence[Survey]) -> Survey:
    """The surveys of consecutive batches as one."""
    first = parts[0]
    arrays = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name, value in vars(first).items()
        if isinstance(value, np.ndarray) and name != "S"
    }
    width = max(part.S.shape[-1] for part in parts)  # batches are padded each to its own rank
    arrays["S"] = np.concatenate(
        [np.pad(p.S, ((0, 0), (0, 0), (0, width - p.S.shape[-1]))) for p in parts]
    )
    measures = {
        side: {name: np.concatenate([p.measures[side][name] for p in parts]) for name in MEASURES}
        for side in SIDES
    }
    keys = tuple(key for part in parts for key in part.keys)
    return replace(first, keys=keys, measures=measures, **arrays)


def _measure(batch: GramBatch, adapters: Sequence[Adapter], k: int) -> Survey:
    roundoff, spacing = _storage(batch, adapters)
    found, inner = frames(batch), inner_products(batch)
    suspects = explicit.needs_explicit(batch, found, k, roundoff)
    found, inner = explicit.refine(batch, found, inner, adapters, suspects)
    redone = np.asarray(suspects.any(axis=1))
    smallest = explicit.resolved_angle(found, k, redone)
    rank = numerical_ranks(batch, found, noise_floor(batch, found, roundoff, spacing))
    defined = _pairs(rank >= k)
    tells = _pairs(~_dense(batch, adapters))
    return Survey(
        names=tuple(adapter.name for adapter in adapters),
        keys=batch.keys,
        layers=layer_of(batch.keys),
        k=k,
        shapes=batch.shapes,
        ranks=batch.ranks,
        numerical_rank=rank,
        S=found.S,
        inner=np.where(_pairs(batch.ranks > 0), inner, np.nan),
        raw_cosine=np.where(tells, initialisation.raw_cosine(batch), np.nan),
        row_overlap=np.where(tells, found.row_overlap, np.nan),
        spread_A=found.spread_A,
        measures={
            side: _side(batch, found, adapters, k, side, defined, smallest) for side in SIDES
        },
        rotation_squares=rotation.inner_squares(batch),
        haar_variance=haar.inner_variance(batch),
        row_correlation=initialisation.row_correlation(batch),
        sketch=batch.sketch,
        explicit=redone,
    )


def _pairs(each: Bool[Array, "m n"]) -> Bool[Array, "m n n"]:
    return each[:, :, None] & each[:, None, :]


def _dense(batch: GramBatch, adapters: Sequence[Adapter]) -> Bool[Array, "m n"]:
    """Which updates are a dense matrix and an identity: rows of A that no training started from."""
    return np.array(
        [[key in a.specs and a.specs[key].dense for a in adapters] for key in batch.keys], bool
    )


def _storage(batch: GramBatch, adapters: Sequence[Adapter]) -> tuple[Array, Array]:
    roundoff, spacing = np.zeros(batch.ranks.shape), np.zeros(batch.ranks.shape)
    for row, key in enumerate(batch.keys):
        for i, adapter in enumerate(adapters):
            if key in adapter.specs:
                spec = adapter.specs[key]
                roundoff[row, i], spacing[row, i] = spec.roundoff, spec.spacing
    return roundoff, spacing


def _side(
    batch: GramBatch,
    found: Frames,
    adapters: Sequence[Adapter],
    k: int,
    side: Side,
    defined: Bool[Array, "m n n"],
    smallest: Float[Array, "m n"],
) -> dict[str, Array]:
    C = found.cross[side]
    cosines = angles.principal_cosines(C, k)
    values = {
        "overlap": angles.subspace_overlap(C, k),
        "pc_cosine": angles.pc_cosine(C, k),
        "angle": angles.mean_angle(cosines),
        "energy_overlap": angles.energy_overlap(C, found.S, k),
    }
    resolved = np.cos(np.maximum(smallest[:, :, None], smallest[:, None, :]))
    tiny = (cosines > resolved[..., None]).any(axis=-1) & defined
    _mend_small_angles(values["angle"], tiny, batch, adapters, k, side)
    return {name: np.where(defined, value, np.nan) for name, value in values.items()}


def _mend_small_angles(
    mean: Float[Array, "m n n"],
    tiny: Bool[Array, "m n n"],
    batch: GramBatch,
    adapters: Sequence[Adapter],
    k: int,
    side: Side,
) -> None:
    """Replace means that hold an angle too small for a cosine, in place."""
    for row, i, j in np.argwhere(tiny):
        if i < j:
            found = explicit.small_angles(adapters[i], adapters[j], batch.keys[row], k, side)
            mean[row, i, j] = mean[row, j, i] = found.mean()
    n = mean.shape[1]
    mean[:, np.arange(n), np.arange(n)] = 0.0
