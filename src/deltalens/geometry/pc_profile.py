"""Index-matched PC cosines one by one, before their mean is taken."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array, Float
from deltalens.core.subspace import Side
from deltalens.geometry.frames import frames
from deltalens.geometry.gram import GramBatch, map_batches


def pc_profile(
    adapters: Sequence[Adapter], keys: Sequence[ModuleKey], k: int, *, side: Side = "input"
) -> Float[Array, "m n n k"]:
    """`|x1_j . x2_j|` for j = 1..k at every module and pair; its mean over j is the PC cosine.

    NaN where a factor is narrower than k. The appendix of arXiv 2511.02022 shows them one by one.

    Args:
        adapters: of equal shapes where they share a module.
        keys: the modules, in the order of the result.
        k: directions.
        side: input (right singular vectors) or output.
    """

    def measure(batch: GramBatch) -> Array:
        head = frames(batch).cross[side][:, :, :k, :, :k]
        found = np.abs(np.einsum("miaja->mija", head))
        narrow = batch.ranks < k
        return np.where((narrow[:, :, None] | narrow[:, None, :])[..., None], np.nan, found)

    return np.concatenate(list(map_batches(adapters, keys, measure)))
