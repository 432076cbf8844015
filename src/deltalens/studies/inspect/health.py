"""What looks wrong in an adapter: hints for a person, in fixed words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from deltalens.core.adapter import Adapter

# Scalings that people train with lie between 1/8 and 64; beyond, a config is more likely wrong.
_USUAL = (0.125, 64.0)


def scaling_notes(scalings: Sequence[float]) -> list[str]:
    """What is unusual about the scalings `s` of `dW = s B A`."""
    notes: list[str] = []
    if any(s == 0 for s in scalings):
        notes.append("scaling 0: the adapter changes nothing")
    if any(s < 0 for s in scalings):
        notes.append("negative scaling: the update is subtracted")
    sizes = [abs(s) for s in scalings if s != 0 and math.isfinite(s)]
    if any(not _USUAL[0] <= size <= _USUAL[1] for size in sizes):
        extreme = max(sizes, key=lambda size: abs(math.log(size)))
        notes.append(f"unusual scaling {extreme:g} (usual: {_USUAL[0]:g} to {_USUAL[1]:g})")
    return notes


def update_notes(modules: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the measured updates show: untrained modules, one that outweighs the rest."""
    norms = {name: m["norm"] for name, m in modules.items() if "norm" in m}
    if not norms:
        return []
    zero = [name for name, norm in norms.items() if norm == 0]
    if len(zero) == len(norms):
        return ["every update is zero: untrained"]
    notes = [f"{len(zero)} of {len(norms)} updates are zero"] if zero else []
    total = math.hypot(*norms.values())
    name, largest = max(norms.items(), key=lambda item: item[1])
    if len(norms) >= 4 and largest**2 > 0.9 * total**2:
        notes.append(f"{name} holds {largest**2 / total**2:.0%} of the energy")
    return notes


def header_notes(adapter: Adapter) -> list[str]:
    """What config and header tell without reading a tensor."""
    notes = scaling_notes(adapter.provenance.details.get("scaling") or ())
    collisions = [w for w in adapter.provenance.warnings if "with different values" in w]
    if collisions:
        notes.append("patterns collide")
    if any(spec.rank > min(spec.shape) for spec in adapter.specs.values()):
        notes.append("rank above the size of its matrix")
    return notes
