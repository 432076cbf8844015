"""What LoRA matrices can hold of a full checkpoint: its linear layers; the rest is named."""

from __future__ import annotations

from dataclasses import replace

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.checkpoint import FORMAT, LOOKUPS


def linear_part(adapter: Adapter) -> Adapter:
    """A checkpoint without embeddings, stacked experts, convolutions and vectors.

    Anything but a full checkpoint is returned as it is.

    Raises:
        AdapterError: if it has no linear layer.
    """
    if adapter.provenance.format != FORMAT:
        return adapter
    specs = {
        key: spec
        for key, spec in adapter.specs.items()
        if key.expert is None and not spec.layout.kernel and not _is_lookup(key.path)
    }
    if not specs:
        raise AdapterError(f"{shown(adapter.name)}: has no linear layer that a LoRA could hold")
    left = sorted(adapter.specs.keys() - specs.keys())
    warnings = [*adapter.provenance.warnings]
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        warnings.append(f"left out, since LoRA matrices do not hold it: {shown(left[0])}{more}")
    if adapter.biases:
        warnings.append(f"left out: {len(adapter.biases)} vectors (norms, biases)")
    provenance = replace(adapter.provenance, warnings=tuple(warnings))
    return replace(adapter, specs=specs, provenance=provenance, biases={})


def _is_lookup(path: str) -> bool:
    return path.rpartition(".")[2] in LOOKUPS
