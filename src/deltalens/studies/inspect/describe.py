"""One adapter as the document of the contract; fields are added, never renamed."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel
from deltalens.studies.inspect.health import header_notes, update_notes
from deltalens.studies.inspect.spectrum import size_of
from deltalens.studies.inspect.stacked import parameters, stack_row, stored_shape

# Formats whose files keep names of their own, which need not be the base's.
_NAMED_BY_TOOLS = ("kohya", "diffusers")


def describe(
    adapter: Adapter, model: BaseModel | None = None, *, weights: bool = True
) -> dict[str, Any]:
    """Format, base, scaling, modules, biases, health and warnings of an adapter.

    Args:
        adapter: as it was loaded.
        model: its base; every module must fit.
        weights: whether tensors are read, one module at a time, for norms, spectra and probes.

    Raises:
        AdapterError: if a module does not fit the base or holds NaN.
        BaseModelError: if the base lacks a module or is another than the adapter's.
    """
    if model is not None:
        _require_fit(adapter, model)
    modules = {
        name: _module(adapter, keys, weights) if keys[0].expert is None
        else stack_row(adapter, keys, weights=weights)
        for name, keys in parameters(adapter).items()
    }  # fmt: skip
    biases = {name: _bias(change, weights) for name, change in adapter.biases.items()}
    document: dict[str, Any] = {
        "name": adapter.name,
        "format": adapter.provenance.format,
        "base_model": adapter.base_model,
        "scaling": adapter.provenance.details.get("scaling"),
        "init": adapter.provenance.details.get("init"),
        "modules": modules,
        "bias": biases,
        "health": [*header_notes(adapter), *update_notes(modules)],
        "warnings": list(adapter.provenance.warnings),
    }
    if weights:
        document |= _whole(modules)
    if "hub" in adapter.provenance.details:
        document["hub"] = dict(adapter.provenance.details["hub"])
    return document


def _module(adapter: Adapter, keys: Sequence[ModuleKey], weights: bool) -> dict[str, Any]:
    (key,) = keys
    spec = adapter.specs[key]
    row: dict[str, Any] = {"shape": list(spec.stored), "rank": spec.rank}
    if weights:
        update = adapter[key]
        size = size_of(update)
        row |= {
            "norm": size.norm,
            "probe": spec.layout.probe(update),
            "stable_rank": size.stable_rank,
            "singular_values": list(size.singular_values),
        }
    return row


def _bias(change: Callable[[], Array] | None, weights: bool) -> dict[str, Any]:
    if change is None:
        return {"norm": None, "reason": "the base is needed (--base)"}
    return {"norm": float(np.linalg.norm(change()))} if weights else {}


def _whole(modules: dict[str, Any]) -> dict[str, Any]:
    """The adapter's own norm, and the stable rank of a typical module (the upper median)."""
    stable = sorted(m["stable_rank"] for m in modules.values() if m["stable_rank"] is not None)
    return {
        "norm": math.hypot(*(m["norm"] for m in modules.values())),
        "stable_rank": stable[len(stable) // 2] if stable else None,
    }


def _require_fit(adapter: Adapter, model: BaseModel) -> None:
    from deltalens.studies.compare.study import require_its_base

    require_its_base(adapter, model)
    model = model.replicated(adapter.provenance.details.get("layers", ()))
    own_names = adapter.provenance.format.startswith(_NAMED_BY_TOOLS)
    for name, keys in parameters(adapter).items():
        known = keys[0].path in model
        if own_names and not known:  # compared when it was opened, if it could be
            continue
        if known and not model.readable(keys[0].path):  # packed by a quantiser
            continue
        found, mine = model.shape(keys[0].path), stored_shape(adapter, keys)
        if found != mine:
            raise AdapterError(
                f"{shown(adapter.name)}: {shown(name)} is {list(mine)}; "
                f"the base {shown(model.path)} has {list(found)}"
            )
