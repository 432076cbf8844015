"""mlx-lm's layout: `MODULE.lora_a (in, r)` and `MODULE.lora_b (r, out)`, scale 1.

mlx-lm makes every layer of one rank before it loads: modules of a lower rank are filled up with
zeros, which changes no update.
"""

from __future__ import annotations

from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.io.export_format import Format, Ranks


def _shapes(path: str, shape: tuple[int, int], rank: int) -> dict[str, tuple[int, ...]]:
    return {f"{path}.lora_a": (shape[1], rank), f"{path}.lora_b": (rank, shape[0])}


def _tensors(path: str, update: LowRankUpdate) -> list[tuple[str, Array]]:
    return [(f"{path}.lora_a", update.A.T), (f"{path}.lora_b", update.B.T)]


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
