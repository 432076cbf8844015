"""Experts that a checkpoint stores apart, as the stacks that the loaded model holds.

The same rule as in `io.fused`, for updates: a LoRA on the model names `experts.gate_up_proj`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.io.fused import SPELLINGS

_EXPERT = re.compile(r"^(?P<inner>.+\.experts)\.(?P<expert>[0-9]+)\.(?P<part>[^.]+)\Z")
Parts = tuple[ModuleKey, ...]


def stacked(adapter: Adapter) -> Adapter:
    """The adapter with complete sets of experts as stacks; anything else stays as it is."""
    stacks = _stacks(adapter)
    if not stacks:
        return adapter
    taken = {key for parts in stacks.values() for key in parts}
    specs = {key: spec for key, spec in adapter.specs.items() if key not in taken}
    for key, parts in stacks.items():
        one = adapter.specs[parts[0]]
        shape = (one.shape[0] * len(parts), one.shape[1])
        specs[key] = replace(one, shape=shape, rank=min(shape))

    def read(key: ModuleKey) -> LowRankUpdate:
        if key not in stacks:
            return adapter[key]
        return from_dense(np.concatenate([adapter[part].dense() for part in stacks[key]]))

    return replace(adapter, specs=specs, read=read, fill=None)


def _stacks(adapter: Adapter) -> Mapping[ModuleKey, Parts]:
    """Expert of a stack -> the updates that lie above each other in it."""
    experts: dict[str, dict[int, set[str]]] = {}
    for key in adapter.specs:
        match = _EXPERT.match(key.path)
        if match is not None and key.expert is None:
            parts = experts.setdefault(match["inner"], {}).setdefault(int(match["expert"]), set())
            parts.add(match["part"])
    found: dict[ModuleKey, Parts] = {}
    for inner, held in experts.items():
        for spelling in SPELLINGS:
            if set(held) == set(range(len(held))) and all(
                {*spelling.gate_up, spelling.down} == parts for parts in held.values()
            ):
                outer = inner.replace(spelling.stored, spelling.model)
                for expert in held:
                    stem = f"{inner}.{expert}"
                    gate_up = tuple(ModuleKey(f"{stem}.{part}") for part in spelling.gate_up)
                    found[ModuleKey(f"{outer}.gate_up_proj", expert)] = gate_up
                    found[ModuleKey(f"{outer}.down_proj", expert)] = (
                        ModuleKey(f"{stem}.{spelling.down}"),
                    )
    return found
