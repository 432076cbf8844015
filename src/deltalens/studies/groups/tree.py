"""Average-linkage clustering of adapters on 1 - overlap (`scipy.cluster.hierarchy`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

Merge = tuple[int, int, float]


def merges(
    names: Sequence[str], pairs: Sequence[Mapping[str, Any]], measure: str
) -> tuple[Merge, ...] | None:
    """Rows `(one, other, distance)` of the tree, or None where a pair has no value.

    The distance of two clusters is the mean over their pairs of `1 - overlap` (UPGMA, Sokal and
    Michener 1958). A tree describes; nothing in it is a test.
    """
    from scipy.cluster.hierarchy import linkage

    known = {frozenset((p["a"], p["b"])): p[measure] for p in pairs}
    values = [known[frozenset(pair)] for pair in combinations(names, 2)]
    if not values or any(value is None for value in values):
        return None
    # Rounding can lift an overlap over 1, and a distance may not be negative.
    tree = linkage([max(0.0, 1.0 - value) for value in values], method="average")
    return tuple((int(one), int(other), float(height)) for one, other, height, _ in tree.tolist())
