"""The factors of an adapter while it is trained, as an `Adapter` like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from deltalens.core.adapter import Adapter, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import GeometryError, OptionError
from deltalens.io.peft_names import strip_prefixes

LARGEST_K: Final = 16
# Half the unit round-off of float32, as `io.tensors` counts it.
_ROUNDOFF: Final = 2.0**-25


class Factor(NamedTuple):
    """One module's factors as they are trained: `dW = scaling * B @ A`."""

    B: Float[Array, "out rank"]
    A: Float[Array, "rank in"]
    scaling: float


Factors = Mapping[ModuleKey, Factor]


def live_factors(model: Any, adapter: str = "default") -> dict[ModuleKey, Factor]:
    """Copies of a PEFT model's LoRA factors, in float32 on the CPU.

    Raises:
        OptionError: if the model has no such adapter, or one that is not plain LoRA.
    """
    found: dict[ModuleKey, Factor] = {}
    for path, module in model.named_modules():
        if adapter not in getattr(module, "lora_A", {}):
            continue
        A, B = (getattr(module, name)[adapter].weight for name in ("lora_A", "lora_B"))
        if A.ndim != 2 or getattr(module, "use_dora", {}).get(adapter):
            raise OptionError(
                f"{shown(path)}: plain LoRA on linear modules is measured while it is trained"
            )
        key, scaling = ModuleKey(strip_prefixes(path)), float(module.scaling[adapter])
        found[key] = Factor(_array(B), _array(A), scaling)
    if not found:
        raise OptionError(f"the model has no LoRA adapter {adapter!r}: nothing can be measured")
    return found


def _array(tensor: Any) -> Array:
    return tensor.detach().float().cpu().numpy().copy()


def as_adapter(name: str, factors: Factors) -> Adapter:
    """Factors in memory as an adapter."""

    def read(key: ModuleKey) -> LowRankUpdate:
        B, A, scaling = factors[key]
        return LowRankUpdate(B.astype(float) * scaling, A.astype(float))

    def fill(key: ModuleKey, B: Array, A: Array) -> float:
        B[...], A[...] = factors[key].B, factors[key].A
        return factors[key].scaling

    specs = {
        key: UpdateSpec((f.B.shape[0], f.A.shape[1]), f.A.shape[0], roundoff=_ROUNDOFF)
        for key, f in factors.items()
    }
    return Adapter(name, specs, read, fill=fill)


def untrained(factors: Factors) -> dict[ModuleKey, Factor]:
    """The same factors with B at zero, as training starts."""
    return {key: Factor(np.zeros_like(f.B), f.A, f.scaling) for key, f in factors.items()}


def common_k(factors: Factors, against: Adapter | None) -> int:
    """The cut, as `deltalens compare` takes it: 16, or half the smallest rank where that is less.

    With all of the rank, the input side would be the row space of lora_A and nothing else.

    Raises:
        GeometryError: if the two adapters share no module, or not a module's shape.
    """
    ranks = [f.A.shape[0] for f in factors.values()]
    if against is None:
        return _half(ranks)
    shared = [key for key in factors if key in against.specs]
    if not shared:
        raise GeometryError(
            f"{shown(against.name)}: shares no module with what is trained; it has "
            f"{shown(next(iter(against), 'none'))}, and {shown(min(factors))} is trained"
        )
    for key in shared:
        mine = (factors[key].B.shape[0], factors[key].A.shape[1])
        theirs = against.specs[key].shape
        if mine != theirs:
            raise GeometryError(
                f"{shown(against.name)}: {shown(key)} is {theirs}, and {mine} is trained: "
                "adapters of one base are needed"
            )
    return _half([*ranks, *(against.specs[key].rank for key in shared)])


def _half(ranks: Sequence[int]) -> int:
    return max(1, min(LARGEST_K, min(ranks) // 2))
