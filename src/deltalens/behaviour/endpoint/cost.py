"""What asking will amount to, said beforehand; above a limit nothing is sent.

Input tokens are estimated as a quarter of the characters, four more a message (what English takes
with the common tokenizers; other scripts take more). Output tokens are the most that may come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deltalens.behaviour.endpoint.settings import Settings
from deltalens.errors import BehaviourError

CHARACTERS = 4
"""Characters a token."""
_AROUND = 4


@dataclass(frozen=True)
class Estimate:
    """So many requests, and the tokens of all of them.

    Attributes:
        requests: that will be sent.
        cached: that need not be.
        inputs: tokens, estimated.
        outputs: tokens, at most.
    """

    requests: int = 0
    cached: int = 0
    inputs: int = 0
    outputs: int = 0

    def __add__(self, other: Estimate) -> Estimate:
        return Estimate(
            self.requests + other.requests,
            self.cached + other.cached,
            self.inputs + other.inputs,
            self.outputs + other.outputs,
        )

    def cost(self, settings: Settings) -> float | None:
        """Money, in the currency of the prices; None without prices."""
        return money(self.inputs, self.outputs, settings)

    def said(self, settings: Settings, *, at_most: bool = False) -> str:
        """One line for people."""
        cost = self.cost(settings)
        price = "" if cost is None else f", cost up to {_shown(cost)}"
        return (
            f"judge {settings.model}: {'at most ' if at_most else ''}{self.requests} requests "
            f"({self.cached} more are cached), about {self.inputs} input tokens "
            f"(characters / {CHARACTERS}), up to {self.outputs} output tokens{price}"
        )


def tokens(characters: int) -> int:
    """The estimated tokens of one message."""
    return math.ceil(characters / CHARACTERS) + _AROUND


def money(inputs: int, outputs: int, settings: Settings) -> float | None:
    """Tokens times prices; None without prices."""
    if settings.prices is None:
        return None
    a_million = 1e-6
    return a_million * (inputs * settings.prices[0] + outputs * settings.prices[1])


def require_affordable(estimate: Estimate, spent: Estimate, settings: Settings) -> None:
    """Refuse, before any of it is sent, what would go over a limit of the file.

    Args:
        estimate: what is about to be sent.
        spent: what this judge has sent already.
        settings: the limits.

    Raises:
        BehaviourError: naming the limit.
    """
    total = spent + estimate
    before = f" after {spent.requests} that were sent" if spent.requests else ""
    if settings.max_requests is not None and total.requests > settings.max_requests:
        raise BehaviourError(
            f"{settings.where}: {estimate.requests} requests are needed{before}, where "
            f"{settings.max_requests} are allowed (max_requests); none of them was sent"
        )
    cost = total.cost(settings)
    if settings.max_cost is not None and cost is not None and cost > settings.max_cost:
        raise BehaviourError(
            f"{settings.where}: {estimate.requests} requests{before} may cost {_shown(cost)}, "
            f"where {settings.max_cost:g} is allowed (max_cost); none of them was sent"
        )


def _shown(cost: float) -> str:
    return f"{cost:.2f}" if cost >= 1.0 else f"{cost:.2g}"
