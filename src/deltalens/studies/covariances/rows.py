"""Which tokens are read: every text cut to a length, all of them to a number of tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from deltalens.core.text import shown
from deltalens.errors import OptionError


@dataclass(frozen=True)
class Reading:
    """Token ids in order, and what was left out.

    Attributes:
        rows: token ids of each text that is read.
        tokens: tokens that count.
        dropped: the first tokens of every text, and the dropped ids.
        cut: texts that were longer than the model reads.
    """

    rows: tuple[list[int], ...]
    tokens: int
    dropped: int
    cut: int


def reading(
    rows: Sequence[list[int]],
    *,
    length: int,
    drop_first: int,
    drop: Collection[int],
    max_tokens: int | None,
) -> Reading:
    """Cut the texts, and stop once `max_tokens` tokens count.

    Raises:
        OptionError: if no token is left.
    """
    kept: list[list[int]] = []
    tokens = dropped = cut = 0
    for row in rows:
        if max_tokens is not None and tokens >= max_tokens:
            break
        cut += len(row) > length
        taken, counted = 0, 0
        for place, token in enumerate(row[:length]):
            if max_tokens is not None and tokens + counted >= max_tokens:
                break
            counted += place >= drop_first and token not in drop
            taken += 1
        kept.append(row[:taken])
        tokens, dropped = tokens + counted, dropped + taken - counted
    if tokens == 0:
        raise OptionError(
            f"no token is left of {len(rows)} texts: the first {drop_first} of each and the ids "
            f"{shown(sorted(drop), 60)} are dropped"
        )
    return Reading(tuple(kept), tokens, dropped, cut)
