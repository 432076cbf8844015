"""Overlaps of trained pairs under the activation-matched rotation, which offers no null for them.

The package refuses that combination; it is drawn here to show why.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array
from deltalens.geometry.frames import Frames, frames
from deltalens.geometry.gram import GramBatch, map_batches
from deltalens.geometry.layers import layer_of, mean
from deltalens.geometry.nulls.activation import kernels
from deltalens.io.covariances import Covariances
from deltalens.io.initial import open_initial
from deltalens.stats.resample import monte_carlo_p
from deltalens.studies.calibration.rungs import turned_by

STATISTICS = ("overlap", "pc_cosine")


Kernels = Mapping[ModuleKey, Array]


def kernels_of(adapter: Adapter, covariances: Covariances) -> Kernels | None:
    """`A0 C^q A0^T`, q = 1 and 2, at every module; None where the initial factors are not known."""
    start = open_initial(adapter)
    if start is None:
        return None
    return {
        key: kernels(start.A(key), covariances.moment(str(key)))
        for key in adapter.specs
        if str(key) in covariances
    }


def matched_p(
    a: Adapter,
    b: Adapter,
    K: Kernels,
    k: int,
    observed: Mapping[str, Any],
    draws: int,
    *,
    rng: np.random.Generator,
) -> dict[str, float | None]:
    """P of overlap and PC cosine when b is turned, the larger of q = 1 and 2.

    Args:
        a: the adapter that stays.
        b: the adapter that turns.
        K: b's kernels.
        k: directions.
        observed: the pair's own values.
        draws: rotations a module.
        rng: source of the rotations.
    """
    keys = sorted(key for key in a.specs.keys() & b.specs.keys() if key in K)
    drawn = [
        turned_by(K[key], batch, own, row, k, draws, rng=rng)
        for batch, own in map_batches([a, b], keys, _with_frames, workers=1)
        for row, key in enumerate(batch.keys)
    ]
    found = mean(np.stack(drawn), layer_of(keys))  # q x draws x statistic
    return {
        name: _larger([monte_carlo_p(observed[name], found[q, :, s]) for q in range(2)])
        for s, name in enumerate(STATISTICS)
    }


def _with_frames(batch: GramBatch) -> tuple[GramBatch, Frames]:
    return batch, frames(batch)


def _larger(p: list[float | None]) -> float | None:
    known = [value for value in p if value is not None]
    return max(known) if len(known) == len(p) else None
