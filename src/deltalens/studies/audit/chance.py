"""What subspaces without a common initialisation give: Haar, averaged over a layer's modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from deltalens.core.shapes import Float
from deltalens.geometry.nulls.haar import overlap_moments, pc_cosine_moments, sample_cosines
from deltalens.studies.audit.shapes import LayerModule
from deltalens.studies.audit.simulate import Cuts


def chance(
    modules: Sequence[LayerModule],
    cuts: Cuts,
    *,
    rng: np.random.Generator,
    weights: Float[np.ndarray, " m"] | None = None,
    draws: int = 50,
) -> Mapping[str, float]:
    """Mean of each measure for independent uniform subspaces; closed forms but for the angle.

    Args:
        modules: whose shapes to use.
        cuts: how many directions.
        rng: source of the angle's draws.
        weights: of the modules in the mean; by their counts unless given.
        draws: of the angle, for each number of inputs.
    """
    counts = np.array([module.count for module in modules], dtype=float)
    share = counts / counts.sum() if weights is None else weights
    angle = {
        d: float(np.degrees(np.arccos(sample_cosines(d, cuts.angle, draws, rng=rng))).mean())
        for d in sorted({module.d_in for module in modules})
    }

    def mean(values: Sequence[float]) -> float:
        return float(share @ np.array(values))

    pc = mean([pc_cosine_moments(module.d_in, cuts.angle)[0] for module in modules])
    return {
        "overlap": mean([overlap_moments(module.d_in, cuts.overlap)[0] for module in modules]),
        "angle_deg": mean([angle[module.d_in] for module in modules]),
        "pc_cosine": pc,
        "first_pc_cosine": pc,
    }
