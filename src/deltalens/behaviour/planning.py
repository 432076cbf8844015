"""How much more data it would take, where an interval is too wide to say anything."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from deltalens.errors import OptionError
from deltalens.stats.intervals import Interval
from deltalens.stats.normal import normal_quantile, t_quantile

_MOST = 10**9


@dataclass(frozen=True, slots=True)
class Needed:
    """The sample size at which an interval would be narrow enough, all else being as measured.

    Attributes:
        n: how many, at least.
        unit: of what, `"answers"` or `"questions"`.
        arm: half the interval's length as it is.
        resolution: half the length that it should have.
        now: how many there are.
    """

    n: int
    unit: str
    arm: float
    resolution: float
    now: int

    def __str__(self) -> str:
        same = ", with as many answers to each" if self.unit == "questions" else ""
        arm, resolution = _apart(self.arm, self.resolution)
        return (
            f"±{arm} from {self.now} {self.unit} says too little; "
            f"±{resolution} takes about {self.n}{same}"
        )


def _apart(more: float, less: float) -> tuple[str, str]:
    """Both numbers with two digits, or with as many as it takes to tell them apart."""
    found = ("", "")
    for digits in range(2, 18):
        found = f"{more:.{digits}g}", f"{less:.{digits}g}"
        if found[0] != found[1]:
            break
    return found


def needed_for_rate(interval: Interval, resolution: float) -> Needed | None:
    """Answers (for these questions) or questions (for new ones) that a rate needs.

    Args:
        interval: from `wilson` or `wilson_new_questions`.
        resolution: half the length that the interval should have at most.

    Returns:
        The sample size, or None where the interval is narrow enough, or there is none.

    Raises:
        OptionError: if the resolution is not between 0 and 1.
    """
    arm = _arm(interval, resolution)
    if arm is None or arm <= resolution or interval.estimate is None:
        return None
    p, z = interval.estimate, normal_quantile(interval.level)
    if interval.n_effective is None:
        n = _smallest(lambda n: _wilson_arm(p, n, z), resolution, interval.n)
        return Needed(n, "answers", arm, resolution, interval.n)
    # n_eff = (answers / deff) (z / t)^2: the first factor grows with the number of questions.
    t_now = t_quantile(interval.level, interval.n - 1.0)
    each = interval.n_effective * (t_now / z) ** 2 / interval.n

    def with_questions(q: int) -> float:
        return _wilson_arm(p, each * q * (z / t_quantile(interval.level, q - 1.0)) ** 2, z)

    n = _smallest(with_questions, resolution, interval.n)
    return Needed(n, "questions", arm, resolution, interval.n)


def needed_for_difference(interval: Interval, resolution: float) -> Needed | None:
    """Questions that a paired difference needs, where its interval holds 0 and is wide.

    Args:
        interval: a t interval over questions.
        resolution: half the length that the interval should have at most.

    Raises:
        OptionError: if the resolution is not between 0 and 1.
    """
    arm = _arm(interval, resolution)
    if arm is None or arm <= resolution or not _holds_zero(interval):
        return None
    sd = arm * math.sqrt(interval.n) / t_quantile(interval.level, interval.n - 1.0)
    n = _smallest(
        lambda q: t_quantile(interval.level, q - 1.0) * sd / math.sqrt(q), resolution, interval.n
    )
    return Needed(n, "questions", arm, resolution, interval.n)


def _arm(interval: Interval, resolution: float) -> float | None:
    if not 0.0 < resolution < 1.0:
        raise OptionError(
            f"resolution is {resolution:g}, where more than 0 and less than 1 is needed"
        )
    if interval.low is None or interval.high is None:
        return None
    return (interval.high - interval.low) / 2.0


def _holds_zero(interval: Interval) -> bool:
    return (
        interval.low is not None
        and interval.high is not None
        and interval.low <= 0 <= interval.high
    )


def _wilson_arm(p: float, n: float, z: float) -> float:
    """Half the length of Wilson's interval; falls with n for every rate."""
    return z * math.sqrt(n * p * (1.0 - p) + z**2 / 4.0) / (n + z**2)


def _smallest(arm: Callable[[int], float], goal: float, known: int) -> int:
    """The smallest n above `known` (where the arm is too long) with an arm of at most `goal`."""
    low, high = known, known * 2
    while arm(high) > goal and high < _MOST:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if arm(middle) > goal else (low, middle)
    return high
