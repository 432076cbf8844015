"""mlx-lm's layout: `MODULE.lora_a (in, r)` and `MODULE.lora_b (r, out)`, scale 1.

mlx-lm makes every layer of one rank before it loads: modules of a lower rank are filled up with
zeros, which changes no update.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.io.export_format import Format, Ranks
from deltalens.io.places import Place


def _shapes(place: Place, rank: int) -> dict[str, tuple[int, ...]]:
    out, in_ = place.shape
    return {f"{place.path}.lora_a": (in_, rank), f"{place.path}.lora_b": (rank, out)}


def _tensors(place: Place, updates: Sequence[LowRankUpdate]) -> list[tuple[str, Array]]:
    (update,) = updates
    return [(f"{place.path}.lora_a", update.A.T), (f"{place.path}.lora_b", update.B.T)]


def _config(adapter: Adapter, ranks: Ranks) -> dict[str, Any]:
    return {
        "fine_tune_type": "lora",
        "model": adapter.base_model,
        "num_layers": -1,
        "lora_parameters": {
            "rank": max(ranks.values()),
            "scale": 1.0,
            "dropout": 0.0,
            "keys": sorted({key.module for key in ranks}),
        },
    }


def _largest(_own: int, largest: int) -> int:
    return largest


FORMAT = Format("adapters.safetensors", _shapes, _tensors, _config, _largest)
