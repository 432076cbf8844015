"""What a panel may offer whose judges had better see many answers at once, and when one is stopped.

A panel without it is asked one answer after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from deltalens.core.protocols import Exchange
from deltalens.core.text import shown
from deltalens.errors import BehaviourError

Say = Callable[[str], None]
"""Told a line about what is being done."""


@dataclass(frozen=True)
class Expected:
    """Answers that do not exist yet.

    Attributes:
        exchange: their question; the answer is not there.
        n: how many.
        max_tokens: how long each may be.
    """

    exchange: Exchange
    n: int
    max_tokens: int


@runtime_checkable
class Batch(Protocol):
    """What a panel may offer whose judges had better see many answers at once."""

    def announce(
        self, known: Sequence[Exchange], expected: Sequence[Expected], *, say: Say
    ) -> None:
        """Say what judging these will amount to; raise if it is more than is allowed."""
        ...

    def prepare(self, exchanges: Sequence[Exchange], *, say: Say, max_failures: int | None) -> None:
        """See all exchanges before the judges are asked for one; raise as soon as it is no use."""
        ...


class TooManyFailuresError(BehaviourError):
    """A judge failed more often than is allowed; who allowed it may say so in their own words."""

    def __init__(self, failed: str, allowed: str, reason: str | None) -> None:
        super().__init__(f"{failed}, where {allowed}; the last: {reason}")
        self._failed, self._reason = failed, reason

    def where(self, allowed: str) -> TooManyFailuresError:
        """The same with another wording of what is allowed."""
        return TooManyFailuresError(self._failed, allowed, self._reason)


def require_few_failures(
    name: str, failures: int, n: int, most: int | None, reason: str | None
) -> None:
    """Stop a judge that fails too often.

    Args:
        name: of the panel.
        failures: answers on which it failed.
        n: answers that it was asked about.
        most: failures that are allowed; None: any number.
        reason: of the last failure.

    Raises:
        TooManyFailuresError: if there are more.
    """
    if most is not None and failures > most:
        failed = f"judge {shown(name, 80)!r} failed on {failures} of {n} answers"
        raise TooManyFailuresError(failed, f"{most} are allowed (max_failures)", reason)
