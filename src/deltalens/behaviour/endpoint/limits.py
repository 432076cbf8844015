"""Requests spaced in time: so many a minute, so many tokens a minute, and a pause for all.

Requests start at equal distances and not in bursts, so no minute holds more than was asked for.
Clock and waiting are arguments, so that a test waits for nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Clock:
    """Time, and how to wait.

    Attributes:
        now: seconds, from anywhere.
        wait: waits so many seconds, or until the event is set.
    """

    now: Callable[[], float] = time.monotonic
    wait: Callable[[float, threading.Event], object] = field(
        default=lambda seconds, ended: ended.wait(seconds)
    )


class Limits:
    """The next moment at which a request may start.

    Args:
        clock: tells the time.
        requests: a minute, or None.
        tokens: a minute, or None.
    """

    def __init__(self, clock: Clock, requests: int | None, tokens: int | None) -> None:
        self._clock, self._requests, self._tokens = clock, requests, tokens
        self._next = clock.now()
        self._lock = threading.Lock()

    def turn(self, tokens: int) -> float:
        """Take the next turn: how many seconds from now it is.

        Args:
            tokens: what the request is estimated to take.
        """
        apart = max(
            60.0 / self._requests if self._requests else 0.0,
            60.0 * tokens / self._tokens if self._tokens else 0.0,
        )
        with self._lock:
            now = self._clock.now()
            start = max(now, self._next)
            self._next = start + apart
        return start - now

    def hold(self, seconds: float) -> None:
        """Nobody starts for so many seconds: the endpoint asked one of us to wait."""
        with self._lock:
            self._next = max(self._next, self._clock.now() + seconds)
