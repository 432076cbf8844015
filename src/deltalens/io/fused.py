"""Experts that a checkpoint stores apart and the model holds as one tensor.

Transformers 5 stacks them when it loads: `experts.N.gate_proj` and `experts.N.up_proj` become
`experts.gate_up_proj[N]`, one above the other. Adapters name the stacked parameter; most published
checkpoints hold the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Array
from deltalens.io.tensors import TensorFile


@dataclass(frozen=True)
class Spelling:
    """How a checkpoint names the parts: the module's name in it and in the model, and theirs."""

    stored: str
    model: str
    gate_up: tuple[str, str]
    down: str


SPELLINGS = (
    Spelling(".mlp.experts", ".mlp.experts", ("gate_proj", "up_proj"), "down_proj"),
    Spelling(".block_sparse_moe.experts", ".mlp.experts", ("w1", "w3"), "w2"),
)


@dataclass(frozen=True)
class Fused:
    """A stacked parameter and the tensors that it is made of.

    Attributes:
        files: tensor name -> its file.
        parts: for each expert, the tensors that lie above each other in it.
    """

    files: Mapping[str, TensorFile]
    parts: tuple[tuple[str, ...], ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """`(experts, out, in)`."""
        out, in_ = self.files[self.parts[0][0]].entries[self.parts[0][0]].shape
        return len(self.parts), out * len(self.parts[0]), in_

    def read(self, expert: int) -> Array:
        """One expert in float64, `(out, in)`."""
        return np.concatenate([self.files[name].read(name) for name in self.parts[expert]])


def fused(files: Mapping[str, TensorFile], path: str) -> Fused | None:
    """What a parameter's path stands for where its experts lie apart; else None.

    Args:
        files: tensor name -> its file.
        path: `...experts.gate_up_proj` or `...experts.down_proj`.
    """
    if path.endswith((".gate_up_proj", ".down_proj")) and path not in files:
        # checkpoints of the bare model lack the first part of a path
        return _found(files, path) or _found(files, path.partition(".")[2])
    return None


def _found(files: Mapping[str, TensorFile], path: str) -> Fused | None:
    module, _, name = path.rpartition(".")
    for spelling in SPELLINGS:
        inner = module.replace(spelling.model, spelling.stored)
        names = spelling.gate_up if name == "gate_up_proj" else (spelling.down,)
        parts: list[tuple[str, ...]] = []
        while all(f"{inner}.{len(parts)}.{part}.weight" in files for part in names):
            parts.append(tuple(f"{inner}.{len(parts)}.{part}.weight" for part in names))
        found = Fused(files, tuple(parts))
        if parts and _are_alike(found):
            return found
    return None


def _are_alike(found: Fused) -> bool:
    entries = [found.files[name].entries[name] for of in found.parts for name in of]
    shapes = {entry.shape for entry in entries}
    return len(shapes) == 1 and len(entries[0].shape) == 2
