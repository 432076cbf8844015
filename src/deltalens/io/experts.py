"""LoRA on parameters (`target_parameters`): mostly experts stacked in one tensor.

PEFT stores all E experts of a parameter in one pair: A `(E r, in)` with the expert slowest, B
`(out, r E)` with the expert fastest. Several parameters of one module are nested, the later ones
outside: `experts.base_layer.lora_A` is an earlier parameter than `experts.lora_A`, and no name says
which. Which end is `in` differs by model and changed between PEFT 0.18 and 0.19. Both are told by
the base's shapes, or the file is refused (PEFT `ParamWrapper`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

from deltalens.core.adapter import UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import PLAIN, Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.fused import fused
from deltalens.io.peft_layouts import TRANSPOSED
from deltalens.io.tensor_set import TensorSet

_NESTED = re.compile(r"(?:\.base_layer)+\Z")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter that a pair of tensors changes.

    Attributes:
        path: its path in the base, without `.weight`.
        full: its path with it, as PEFT's patterns see it.
        experts: how many share the pair; None for a plain matrix.
        layout: how the base stores each.
    """

    path: str
    full: str
    experts: int | None
    layout: Layout


def module_of(path: str) -> str:
    """The module's path, without the wrappers that PEFT nests around it."""
    return _NESTED.sub("", path)


def find_parameters(
    pairs: Mapping[str, tuple[Shape, Shape]],
    targets: tuple[str, ...],
    base: BaseModel | None,
    where: str,
) -> dict[str, Parameter]:
    """Path in the file -> the parameter it changes, for every pair that targets parameters.

    Args:
        pairs: path in the file -> shapes of A and B.
        targets: the config's `target_parameters`.
        base: the base, where it is at hand.
        where: the file, for messages.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if the base's shapes do not tell which parameter a pair changes, or how.
    """
    groups: dict[str, dict[str, tuple[Shape, Shape]]] = {}
    for path, shapes in pairs.items():
        if _candidates(module_of(path), targets):
            groups.setdefault(module_of(path), {})[path] = shapes
    if not groups:
        return {}
    if base is None:
        raise UnsupportedAdapterError(
            f"{where}: LoRA on parameters (target_parameters) is told apart by the base's shapes; "
            "give --base"
        )
    found: dict[str, Parameter] = {}
    for module, group in groups.items():
        found |= _assigned(module, group, _stored(module, targets, base), where)
    return found


def _candidates(module: str, targets: tuple[str, ...]) -> list[str]:
    """Full paths of the parameters of a module that the targets name, as PEFT matches them."""
    found: list[str] = []
    for target in targets:
        owner, _, name = target.rpartition(".")
        if not owner or module == owner or module.endswith(f".{owner}"):
            found.append(f"{module}.{name}")
    return sorted(set(found))


def _stored(module: str, targets: tuple[str, ...], base: BaseModel) -> dict[str, Shape]:
    shapes = {full: _shape(full, base) for full in _candidates(module, targets)}
    return {full: shape for full, shape in shapes.items() if shape is not None}


def _shape(full: str, base: BaseModel) -> Shape | None:
    path = full.removesuffix(".weight")
    found = fused(base.files, path)
    if found is not None:
        return found.shape
    return base.shape(path) if path in base else None


def _assigned(
    module: str,
    group: Mapping[str, tuple[Shape, Shape]],
    stored: Mapping[str, Shape],
    where: str,
) -> dict[str, Parameter]:
    fits = [
        dict(zip(group, order, strict=True))
        for order in permutations(stored, len(group))
        if all(
            _layouts(stored[full], *group[path]) for path, full in zip(group, order, strict=True)
        )
    ]
    sizes = ", ".join(f"{shown(full)} {list(shape)}" for full, shape in stored.items())
    if len(fits) != 1:
        why = "fits none" if not fits else f"fits {len(fits)} ways"
        raise AdapterError(
            f"{where}: {shown(module)}: LoRA on {len(group)} of the parameters {sizes or 'none'} "
            f"of the base {why}"
        )
    choices = {path: _layouts(stored[full], *group[path]) for path, full in fits[0].items()}
    told = {layouts[0] for layouts in choices.values() if len(layouts) == 1}
    found: dict[str, Parameter] = {}
    for path, full in fits[0].items():
        layouts = choices[path] if len(choices[path]) == 1 else tuple(told)
        if len(layouts) != 1:  # one module is stored one way: another parameter may tell
            raise AdapterError(
                f"{where}: {shown(full)} is square in the base, {list(stored[full])}: which side "
                "is the input cannot be told"
            )
        experts = stored[full][0] if len(stored[full]) == 3 else None
        found[path] = Parameter(full.removesuffix(".weight"), full, experts, layouts[0])
    return found


def _layouts(stored: Shape, A: Shape, B: Shape) -> tuple[Layout, ...]:
    """The layouts in which a stored tensor can be what A and B change."""
    experts, sizes = (stored[0], stored[1:]) if len(stored) == 3 else (1, stored)
    if not len(sizes) == len(A) == len(B) == 2 or experts == 0:
        return ()
    if A[0] % experts or A[0] != B[1]:
        return ()
    shape = (B[0], A[1])
    either = (PLAIN, TRANSPOSED) if len(stored) == 3 else (PLAIN,)
    return tuple(layout for layout in either if layout.stored(shape) == sizes)


class ExpertFactors:
    """The experts of one adapter; the pair that was read last is kept, because experts share it."""

    def __init__(self, tensors: TensorSet) -> None:
        self.tensors = tensors
        self.last = lru_cache(maxsize=1)(self._read)

    def _read(self, A: str, B: str) -> tuple[Array, Array]:
        return self.tensors.read(A), self.tensors.read(B)

    def update(self, A: str, B: str, experts: int, expert: int, scaling: float) -> LowRankUpdate:
        """`scaling * B_e A_e` of one expert, from the stacked pair."""
        whole_A, whole_B = self.last(A, B)
        rank = whole_A.shape[0] // experts
        B_e: Array = whole_B.reshape(whole_B.shape[0], rank, experts)[:, :, expert]
        return LowRankUpdate(B_e * scaling, whole_A[expert * rank : (expert + 1) * rank].copy())


@dataclass(frozen=True)
class Expert:
    """One expert's update: a `Source`."""

    factors: ExpertFactors
    A: str
    B: str
    scaling: float
    experts: int
    expert: int
    layout: Layout

    @property
    def spec(self) -> UpdateSpec:
        """Shape, rank, precision and layout, without reading tensors."""
        A, B = self.factors.tensors.entries[self.A], self.factors.tensors.entries[self.B]
        return UpdateSpec(
            shape=(B.shape[0], A.shape[1]),
            rank=A.shape[0] // self.experts,
            roundoff=B.roundoff,
            spacing=B.spacing * abs(self.scaling),
            layout=self.layout,
        )

    def read(self) -> LowRankUpdate:
        """The update; all numbers finite."""
        return self.factors.update(self.A, self.B, self.experts, self.expert, self.scaling)

    def fill(self, B: Array, A: Array) -> float:
        """Write the factors into these arrays; nothing is left to scale."""
        update = self.read()
        B[...], A[...] = update.B, update.A
        return 1.0


def keys_of(parameter: Parameter) -> list[ModuleKey]:
    """The module keys of a parameter: one an expert."""
    if parameter.experts is None:
        return [ModuleKey(parameter.path)]
    return [ModuleKey(parameter.path, expert) for expert in range(parameter.experts)]
