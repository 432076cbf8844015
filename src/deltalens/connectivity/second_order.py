"""The law of the error along a path: `E(t)^2 = (4 E_max t (1-t))^2 + n^2`.

A smooth function along a straight line leaves its chord by a remainder of second order, which is
`4 E_max t (1-t)` with its largest value in the middle. Rounding adds a floor n, independent of t
(SCIENCE section 5). The floor is measured by running one endpoint twice. A deterministic machine
repeats itself to the last bit, so the second run needs another batch size; where the measured
floor is 0 and the fitted one is not, look at `floor_fitted`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.errors import GeometryError


@dataclass(frozen=True, slots=True)
class SecondOrderFit:
    """The law fitted to one layer's error, in the units of E.

    Attributes:
        E_max: error in the middle, above the floor.
        floor: the floor used: the measured one where there is one, else the fitted one.
        measured: whether the floor was measured.
        floor_fitted: the floor that fits best when it is free.
        misfit: `max |E - fit| / max fit`, 0 where the law holds exactly; None where the fit is 0.
        n: points that were fitted.
    """

    E_max: float
    floor: float
    measured: bool
    floor_fitted: float
    misfit: float | None
    n: int

    def __call__(self, t: float) -> float:
        """The fitted error at t."""
        return float(np.hypot(4.0 * self.E_max * t * (1.0 - t), self.floor))


def fit_second_order(
    t: Sequence[float], error: Sequence[float], *, floor: float | None = None
) -> SecondOrderFit:
    """Least squares in `E^2`, which is linear in `E_max^2` and `n^2`; both are kept from below 0.

    The ends are left out: there the error is 0 by definition, floor or not, because the line is
    drawn through those very features.

    Args:
        t: positions on the path.
        error: normalised L2 (or any other norm of the error) at each.
        floor: the measured floor, in the same units.

    Raises:
        GeometryError: if there are under 2 points besides the ends, or a number is not finite or
            is negative.
    """
    from scipy.optimize import nnls

    if len(t) != len(error):
        raise GeometryError(f"t has length {len(t)} but error has {len(error)}")
    given = np.array([*zip(t, error, strict=True)], dtype=np.float64).reshape(-1, 2)
    given = given[(given[:, 0] != 0.0) & (given[:, 0] != 1.0)]
    E = given[:, 1]
    if not np.isfinite(given).all() or (E < 0).any() or not (floor is None or floor >= 0):
        raise GeometryError("an error and its floor must be finite numbers of 0 or more")
    if len(E) < 2:
        points = "1 point" if len(E) == 1 else f"{len(E)} points"
        raise GeometryError(f"{points} besides the ends: at least 2 are needed for a fit")
    scale = float(E.max()) or 1.0  # squares of small errors must not underflow
    shape = (4.0 * given[:, 0] * (1.0 - given[:, 0])) ** 2
    square = (E / scale) ** 2
    free, _ = nnls(np.stack([shape, np.ones_like(shape)], axis=1), square)
    floor_fitted = float(np.sqrt(free[1])) * scale
    if floor is None:
        peak, used = float(free[0]), floor_fitted
    else:
        above = float(shape @ (square - (floor / scale) ** 2)) / float(shape @ shape)
        peak, used = max(above, 0.0), floor
    E_max = float(np.sqrt(peak)) * scale
    fitted = np.hypot(E_max * np.sqrt(shape), used)
    largest = float(fitted.max())
    misfit = float(np.abs(E - fitted).max()) / largest if largest > 0 else None
    return SecondOrderFit(E_max, used, floor is not None, floor_fitted, misfit, len(E))
