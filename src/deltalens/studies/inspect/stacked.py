"""Experts that one tensor of the base holds, as the one parameter that they are there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.studies.inspect.spectrum import SHOWN, size_of


def parameters(adapter: Adapter) -> dict[str, list[ModuleKey]]:
    """Path in the base -> its updates: one of a plain module, one an expert of a stack."""
    found: dict[str, list[ModuleKey]] = {}
    for key in sorted(adapter.specs):
        found.setdefault(key.path, []).append(key)
    return found


def stored_shape(adapter: Adapter, keys: Sequence[ModuleKey]) -> tuple[int, ...]:
    """Shape of the whole parameter as the base stores it: `(experts, ...)` of a stack."""
    one = adapter.specs[keys[0]].stored
    return one if keys[0].expert is None else (len(keys), *one)


def stack_row(adapter: Adapter, keys: Sequence[ModuleKey], *, weights: bool) -> dict[str, Any]:
    """One row for all experts of a parameter; `experts` keeps what there is of each.

    The norm is that of the whole tensor, the probe runs over its three axes, and the rank is the
    largest of an expert. Singular values and stable rank are those of all experts as blocks on one
    diagonal, so the stable rank lies between 1 and the sum of the experts' ranks.
    """
    ranks = [adapter.specs[key].rank for key in keys]
    shape = list(stored_shape(adapter, keys))
    experts: list[dict[str, Any]] = [{"rank": rank} for rank in ranks]
    row: dict[str, Any] = {"shape": shape, "rank": max(ranks)}
    if weights:
        probe, values = 0.0, list[float]()
        for key, expert in zip(keys, experts, strict=True):
            update = adapter[key]
            size = size_of(update)
            probe += adapter.specs[key].layout.probe(update, key.expert)
            values += size.singular_values
            expert |= {"norm": size.norm, "stable_rank": size.stable_rank}
        norm = math.hypot(*(expert["norm"] for expert in experts))
        values.sort(reverse=True)
        row |= {
            "norm": norm,
            "probe": probe,
            "stable_rank": (norm / values[0]) ** 2 if norm > 0.0 else None,
            "singular_values": values[:SHOWN],
        }
    return row | {"experts": experts}
