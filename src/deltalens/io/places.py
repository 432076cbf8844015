"""Where an adapter's updates stand in a base, as files that hold LoRA see it.

A file has one pair of tensors for a linear layer, an embedding or a convolution, and one for all
experts of a stacked parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from deltalens.core.adapter import Adapter, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.text import shown
from deltalens.errors import UnsupportedAdapterError
from deltalens.io.base import EMBEDDINGS
from deltalens.io.peft_layouts import CONV1D_MODULES

Kind = Literal["linear", "embedding", "convolution", "experts"]
WORDS: Mapping[Kind, tuple[str, str]] = {
    "linear": ("a linear layer", "linear layers"),
    "embedding": ("an embedding", "embeddings"),
    "convolution": ("a convolution", "convolutions"),
    "experts": ("a stack of experts", "stacks of experts"),
}
LOOKUPS = (*EMBEDDINGS, "wpe", "embed_positions")
# In the order in which transformers' modules register them: PEFT nests its wrappers so.
_REGISTERED = ("gate_up_proj", "down_proj")


@dataclass(frozen=True)
class Place:
    """One pair of tensors of a file.

    Attributes:
        path: the module's or parameter's path in the base.
        kind: what stands there.
        shape: `(out, in)` of one update.
        layout: how the base stores it.
        keys: one module, or one for every expert, in order.
        inside: how many other stacks of the same module PEFT wraps around this one.
    """

    path: str
    kind: Kind
    shape: tuple[int, int]
    layout: Layout
    keys: tuple[ModuleKey, ...]
    inside: int = 0


def kind_of(key: ModuleKey, spec: UpdateSpec) -> Kind:
    """What stands at a module; embeddings are told by how they are stored and by their names."""
    if key.expert is not None:
        return "experts"
    if spec.layout.kernel:
        return "convolution"
    last = key.path.rpartition(".")[2]
    if last in LOOKUPS or (spec.layout.transposed and last not in CONV1D_MODULES):
        return "embedding"
    return "linear"


def places_of(adapter: Adapter, ranks: Mapping[ModuleKey, int]) -> dict[Place, int]:
    """Every place that a file holds, in order, and its rank: the largest among its experts.

    Args:
        adapter: whose updates they are.
        ranks: module -> rank, of the modules that are written.

    Raises:
        UnsupportedAdapterError: for a stack that lacks experts, or whose order in its module is
            not known.
    """
    paths = dict.fromkeys(key.path for key in ranks)
    stacks: dict[str, list[str]] = {}
    for key in ranks:
        if key.expert is not None:
            names = stacks.setdefault(key.path.rpartition(".")[0], [])
            if key.path not in names:
                names.append(key.path)
    inside = {path: n for paths in stacks.values() for path, n in _nested(adapter, paths).items()}
    held = _keys(adapter)
    found: dict[Place, int] = {}
    for path in paths:
        keys = held[path]
        spec = adapter.specs[keys[0]]
        place = Place(
            path, kind_of(keys[0], spec), spec.shape, spec.layout, keys, inside.get(path, 0)
        )
        found[place] = max(ranks.get(key, 0) for key in keys)
    return found


def _keys(adapter: Adapter) -> dict[str, tuple[ModuleKey, ...]]:
    found: dict[str, list[ModuleKey]] = {}
    for key in adapter:
        found.setdefault(key.path, []).append(key)
    for path, keys in found.items():
        numbers = [key.expert for key in keys]
        if numbers != [None] and numbers != list(range(len(keys))):
            raise UnsupportedAdapterError(
                f"{shown(adapter.name)}: {shown(path)} holds the experts "
                f"{shown(', '.join(map(str, numbers)), 60)} of a stack; all from 0 are needed"
            )
    return {path: tuple(keys) for path, keys in found.items()}


def _nested(adapter: Adapter, paths: Sequence[str]) -> dict[str, int]:
    """Stack -> how many others are wrapped around it: the last one registered is outermost."""
    if len(paths) == 1:
        return {paths[0]: 0}
    names = {path.rpartition(".")[2]: path for path in paths}
    unknown = sorted(names.keys() - set(_REGISTERED))
    if unknown:
        raise UnsupportedAdapterError(
            f"{shown(adapter.name)}: {shown(names[unknown[0]])} is one of {len(paths)} stacks of "
            f"its module, whose order is not known; known are {', '.join(_REGISTERED)}"
        )
    order = [names[name] for name in _REGISTERED if name in names]
    return {path: len(order) - 1 - i for i, path in enumerate(order)}


def pair_shapes(place: Place, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A (down) and B (up) as PEFT and kohya keep them; a convolution has a window."""
    (out, in_), kernel = place.shape, place.layout.kernel
    if kernel:
        return (rank, in_ // math.prod(kernel), *kernel), (out, rank, *(1 for _ in kernel))
    return (rank, in_), (out, rank)
