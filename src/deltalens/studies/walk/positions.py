"""The positions of a walk: equally spaced, with both ends among them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

from deltalens.errors import OptionError

LEAST_STEPS = 3


def positions(steps: int, start: float = 0.0, stop: float = 1.0) -> tuple[float, ...]:
    """`steps` equally spaced positions from `start` to `stop`, and 0 and 1 where they are not.

    The spacing is exact in the decimals that were given, so that 0 and 1 are on the grid where
    arithmetic says so, and a position is the nearest number to its value.

    Raises:
        OptionError: if there are too few, the range is empty or not finite, or positions lie so
            close that their six digits are alike.
    """
    if steps < LEAST_STEPS:
        raise OptionError(f"--steps must be {LEAST_STEPS} or more (both ends count); found {steps}")
    if not (math.isfinite(start) and math.isfinite(stop) and start < stop):
        raise OptionError(f"--from must be below --to, both finite; found {start:g} and {stop:g}")
    first, last = (Fraction(str(float(end))) for end in (start, stop))
    grid = {float(first + (last - first) * i / (steps - 1)) for i in range(steps)}
    found = tuple(sorted(grid | {0.0, 1.0}))
    if len({f"{t:g}" for t in found}) < max(len(found), steps):
        raise OptionError(
            f"--steps {steps} from {start:g} to {stop:g}: positions are too close to be told "
            "apart by six digits; fewer are needed"
        )
    return found


def served_positions(
    held: Sequence[float], steps: int | None, start: float, stop: float
) -> tuple[float, ...]:
    """The positions of a walk over points that are there already: all in the range, or the grid.

    Args:
        held: where there are points.
        steps: as in `positions`; None: every point from `start` to `stop`.
        start: the first position.
        stop: the last position.

    Raises:
        OptionError: if a position has no point, or there are too few.
    """
    if steps is None:
        wanted = tuple(sorted({t for t in held if start <= t <= stop} | {0.0, 1.0}))
        if len(wanted) < LEAST_STEPS:
            raise OptionError(
                f"the server has {len(wanted)} points from {start:g} to {stop:g}; a walk needs "
                f"{LEAST_STEPS} or more, 0 and 1 among them"
            )
    else:
        wanted = positions(steps, start, stop)
    for t in wanted:
        if t not in held:
            nearest = min(held, key=lambda other: abs(other - t))
            raise OptionError(
                f"t = {t:g} is not served; the nearest is {nearest:g} (served are "
                f"{', '.join(f'{other:g}' for other in held)}; without --steps all are)"
            )
    return wanted


def inside(t: float) -> bool:
    """Whether t lies between the ends, where there is a line to leave."""
    return 0.0 < t < 1.0
