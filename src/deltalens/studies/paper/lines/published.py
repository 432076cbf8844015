"""Figure 3 as published (Llama-3.1-8B), read off the picture; positions 0, .1, .. 1.

Source: arXiv 2511.02022, Figure 3, digitised: alignment to .2 points, EM to 2.5 points (40 answers
a point), L2 to .0002, R^2 to .00002. None where a marker hides another one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deltalens.connectivity.barrier import Excess, barrier
from deltalens.connectivity.curves import Curve

ANSWERS = 40
POSITIONS = tuple(i / 10 for i in range(11))
# Mean alignment score at theta = 0, .5, .7 and 1. Both factors are scaled, hence theta^2 dW: .5 is
# a quarter of the update, and .7 (.49 of it) the middle of the straight line.
ALIGNMENT = {
    "bad medical advice": (89.36, 88.55, 88.46, 66.58),
    "extreme sports": (89.36, 87.62, 87.23, 70.11),
    "risky finance": (89.36, 85.84, 85.12, 53.43),
}
EM_PERCENT = {
    "sports to medical": (5.0, 10.0, 7.5, 10.0, 7.5, 2.5, 5.0, 12.5, 10.0, 15.0, 25.0),
    "medical to finance": (15.0, 15.0, 25.0, 20.0, 17.5, 20.0, 17.5, 30.0, 17.5, 30.0, 32.5),
    "finance to sports": (25.0, 20.0, 30.0, 12.5, 25.0, 20.0, 17.5, 17.5, 2.5, 7.5, 7.5),
}
# Of the two paths that can be followed; the second one's markers at .4 and .5 are hidden, so its
# largest error is at least this.
LARGEST_L2 = {"sports to medical": 0.01884, "finance to sports": 0.01558}
SMALLEST_R2 = {"sports to medical": 0.99952, "finance to sports": 0.99966}


def share_at_half_theta() -> float:
    """Share of the change of alignment at theta = .5, a quarter of the update, mean over tasks."""
    return _mean([(half - first) / (last - first) for first, half, _, last in ALIGNMENT.values()])


def share_at_the_middle() -> float:
    """Share of the change of alignment at theta = .7, .49 of the update, mean over tasks."""
    return _mean([(mid - first) / (last - first) for first, _, mid, last in ALIGNMENT.values()])


def dips(*, seed: int, draws: int = 999) -> dict[str, Excess]:
    """Largest dip of each published curve under the line between its ends, against noise alone."""
    found: dict[str, Excess] = {}
    for name, percent in EM_PERCENT.items():
        rate = np.asarray(percent) / 100
        smoothed = (rate * ANSWERS + 0.5) / (ANSWERS + 1)  # a rate of 0 is not without noise
        noise = np.sqrt(smoothed * (1 - smoothed) / ANSWERS)
        curve = Curve.of_points(rate.tolist(), noise.tolist())
        rng = np.random.default_rng([seed, 3])
        found[name] = barrier(POSITIONS, curve, rng=rng, direction="dip", draws=draws)
    return found


def largest_l2() -> float:
    """Mean over the paths of the largest normalised L2."""
    return _mean(list(LARGEST_L2.values()))


def smallest_r2() -> float:
    """Mean over the paths of the smallest R^2."""
    return _mean(list(SMALLEST_R2.values()))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))
