"""PEFT's layout: A and B of every module, and a config that says rank and scaling.

Embeddings have names of their own; the experts of a parameter share one pair, in A with the expert
slowest and in B with it fastest (PEFT `ParamWrapper`, see `io.experts`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.io.export_format import Format
from deltalens.io.peft import WEIGHTS
from deltalens.io.places import Place, pair_shapes, places_of


def _shapes(place: Place, rank: int) -> dict[str, tuple[int, ...]]:
    names = _names(place)
    (rows, *in_), (out, columns, *window) = pair_shapes(place, rank)
    n = len(place.keys)
    return dict(zip(names, ((n * rows, *in_), (out, n * columns, *window)), strict=True))


def _tensors(place: Place, updates: Sequence[LowRankUpdate]) -> list[tuple[str, Array]]:
    A = np.concatenate([update.A for update in updates])
    B = np.stack([update.B for update in updates], axis=2).reshape(place.shape[0], -1)
    shapes = _shapes(place, updates[0].rank).values()
    pairs = zip(_names(place), (A, B), shapes, strict=True)
    return [(name, value.reshape(shape)) for name, value, shape in pairs]


def _names(place: Place) -> tuple[str, str]:
    stem = f"base_model.model.{place.path}"
    if place.kind == "embedding":
        return f"{stem}.lora_embedding_A", f"{stem}.lora_embedding_B"
    if place.kind == "experts":
        stem = stem.rpartition(".")[0] + place.inside * ".base_layer"
    return f"{stem}.lora_A.weight", f"{stem}.lora_B.weight"


def _config(adapter: Adapter, ranks: Mapping[ModuleKey, int]) -> dict[str, Any]:
    r"""PEFT's config, whose patterns name modules of lower rank by their whole path.

    The largest rank is the default: a reader that ignores patterns reserves enough and still
    scales by 1. PEFT matches `(.*\.)?(KEY)$`; the `^` keeps out a longer path of the same end.
    """
    places = places_of(adapter, ranks)
    largest = max(places.values())
    lower = {f"^{re.escape(at.path)}": rank for at, rank in places.items() if rank != largest}
    stacks = [at.path for at in places if at.kind == "experts"]
    base = adapter.base_model
    return {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "revision": adapter.provenance.revision if base is not None else None,
        "inference_mode": True,
        "r": largest,
        "lora_alpha": largest,
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": lower,
        "alpha_pattern": lower,
        "target_modules": [at.path for at in places if at.kind != "experts"],
        **({"target_parameters": stacks} if stacks else {}),
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
        "modules_to_save": None,
    }


KINDS = ("linear", "embedding", "convolution", "experts")
FORMAT = Format(WEIGHTS, _shapes, _tensors, _config, kinds=KINDS)
