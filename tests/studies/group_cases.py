"""Pair documents and comparisons of known similarity, for groups and designs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from deltalens.studies.compare.rows import MEASURES


def document(
    names: Sequence[str],
    value: Callable[[str, str], float | None],
    *,
    shared: Callable[[str, str], str] = lambda a, b: "none",
    null: str | None = "haar",
    moments: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """What `compare` would say of every pair, each measure with one value and one null."""
    held = dict(moments or {"mean": 0.1, "sd": 0.01, "draws": 0})
    return [
        {
            "a": a,
            "b": b,
            **{measure: value(a, b) for measure in MEASURES},
            "shared_init": shared(a, b),
            "n_partial_init": 0,
            "null_used": {} if null is None else dict.fromkeys(MEASURES, null),
            "nulls": {} if null is None else {null: dict.fromkeys(MEASURES, held)},
        }
        for a, b in combinations(names, 2)
    ]


def noisy(names: Sequence[str], rng: np.random.Generator, sd: float = 1.0) -> Callable[..., float]:
    """Similarity `u_a + u_b + e_ab`: what runs share with every partner, and noise of the pair."""
    of = {name: sd * rng.standard_normal() for name in names}
    pair = {frozenset(p): 0.3 * rng.standard_normal() for p in combinations(names, 2)}
    return lambda a, b: of[a] + of[b] + pair[frozenset((a, b))]
