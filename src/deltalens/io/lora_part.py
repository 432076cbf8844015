"""What LoRA matrices can hold of a full checkpoint; the rest is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.checkpoint import BARE, WHOLE_FORMATS
from deltalens.io.export_format import Format
from deltalens.io.places import WORDS, kind_of
from deltalens.io.stacking import stacked


def lora_part(adapter: Adapter) -> Adapter:
    """A checkpoint without vectors, routers, parameters of no module, and 3-d convolutions.

    Experts that it stores apart become the stacks of the loaded model. Anything but a full
    checkpoint is returned as it is.

    Raises:
        AdapterError: if nothing is left.
    """
    if adapter.provenance.format not in WHOLE_FORMATS:
        return adapter
    bare = set(adapter.provenance.details.get(BARE, ()))
    whole = stacked(adapter)
    with_experts = {_above(key) for key in whole.specs if key.expert is not None}

    def holds(key: ModuleKey) -> bool:
        above = key.path.rpartition(".")[0].replace(".block_sparse_moe", ".mlp")
        router = above in with_experts  # no linear layer to PEFT
        plain = key.path not in bare and not router
        return (plain or key.expert is not None) and len(whole.specs[key].layout.kernel) <= 2

    kept = _without(whole, holds, "LoRA matrices do not hold it")
    if adapter.biases:
        kept = _warned(kept, f"left out: {len(adapter.biases)} vectors (norms, biases)")
    return replace(kept, biases={})


def _above(key: ModuleKey) -> str:
    """`layers.0.mlp` of `layers.0.mlp.experts.down_proj`."""
    return key.path.rpartition(".experts.")[0]


def format_part(adapter: Adapter, ends: Sequence[Adapter], layout: Format) -> Adapter:
    """A point of a path, without what the format does not hold if an end is a full checkpoint.

    Raises:
        AdapterError: if nothing is left.
    """
    if all(end.provenance.format not in WHOLE_FORMATS for end in ends):
        return adapter

    def holds(key: ModuleKey) -> bool:
        return kind_of(key, adapter.specs[key]) in layout.kinds

    words = ", ".join(WORDS[kind][1] for kind in layout.kinds)
    return _without(adapter, holds, f"the format holds {words} alone")


def biases_left_out(ends: Sequence[Adapter]) -> list[str]:
    """A warning for each adapter whose trained biases no point of a path holds."""
    return [
        f"left out: {len(end.biases)} trained biases of {shown(end.name)}"
        for end in ends
        if end.biases
    ]


def _without(adapter: Adapter, holds: Callable[[ModuleKey], bool], why: str) -> Adapter:
    specs = {key: spec for key, spec in adapter.specs.items() if holds(key)}
    left = sorted({key.path for key in adapter.specs.keys() - specs.keys()})
    if not specs and left:
        raise AdapterError(
            f"{shown(adapter.name)}: nothing is left to write; {shown(left[0])} is left out: {why}"
        )
    kept = replace(adapter, specs=specs)
    if not left:
        return kept
    more = f" and {len(left) - 1} more" if len(left) > 1 else ""
    return _warned(kept, f"left out, since {why}: {shown(left[0])}{more}")


def _warned(adapter: Adapter, warning: str) -> Adapter:
    warnings = (*adapter.provenance.warnings, warning)
    return replace(adapter, provenance=replace(adapter.provenance, warnings=warnings))
