"""The size and shape of one update: norm, stable rank, leading singular values."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float

SHOWN = 16
# Up to this width the whole spectrum is cheaper than an iteration for its head.
_NARROW = 256
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Size:
    """How large an update is, and how many directions share that.

    Attributes:
        norm: `|dW|_F`.
        stable_rank: `|dW|_F^2 / S_1^2`; None for a zero update.
        singular_values: the first ones, descending.
    """

    norm: float
    stable_rank: float | None
    singular_values: tuple[float, ...]


def size_of(update: LowRankUpdate) -> Size:
    """Measure an update; zero values are kept, undefined ones are None."""
    S, norm = _leading(update)
    if norm == 0.0 or not math.isfinite(norm):
        return Size(norm, None, tuple(S.tolist()))
    return Size(norm, float((norm / S[0]) ** 2), tuple(S.tolist()))


def _leading(update: LowRankUpdate) -> tuple[Float[Array, " k"], float]:
    """The first singular values and the norm."""
    if update.rank <= _NARROW or min(update.shape) <= _NARROW:
        S = update.svd().S
        return S[:SHOWN], float(np.linalg.norm(S))
    from deltalens.io.truncate_dense import leading_triples

    dense = update.dense()
    norm = float(np.linalg.norm(dense))
    if norm == 0.0:
        return np.zeros(SHOWN), 0.0
    return leading_triples(dense / norm, SHOWN)[1] * norm, norm


def sketch(singular_values: tuple[float, ...] | list[float], width: int = 8) -> str:
    """Bars of `S_j / S_1` on a logarithmic scale over three decades; empty for a zero update."""
    S = [value for value in singular_values if math.isfinite(value)]
    if not S or S[0] <= 0.0:
        return ""
    step = max(1, math.ceil(len(S) / width))
    return "".join(_bar(value / S[0]) for value in S[::step])


def _bar(share: float) -> str:
    if share <= 1e-3:
        return _BARS[0]
    return _BARS[round((1 + math.log10(share) / 3) * (len(_BARS) - 1))]
