"""kohya's layout: `MODULE.lora_down.weight`, `MODULE.lora_up.weight`, `MODULE.alpha`, no config.

sd-scripts names modules `lora_unet_...` with every dot an underscore, which cannot be undone; the
adapter's own names are kept, so that reading the file gives the adapter back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.io.export_format import Format
from deltalens.io.places import Place, pair_shapes

# Whole numbers up to here are exact in bf16.
_EXACT = 256


def alpha_of(rank: int) -> int:
    """The alpha that is written: the rank, or a power of two where bf16 would round the rank."""
    return rank if rank <= _EXACT else 1 << (rank.bit_length() - 1)


def _shapes(place: Place, rank: int) -> dict[str, tuple[int, ...]]:
    A, B = pair_shapes(place, rank)
    return {
        f"{place.path}.lora_down.weight": A,
        f"{place.path}.lora_up.weight": B,
        f"{place.path}.alpha": (),
    }


def _tensors(place: Place, updates: Sequence[LowRankUpdate]) -> list[tuple[str, Array]]:
    (update,) = updates
    A, B = pair_shapes(place, update.rank)
    alpha = alpha_of(update.rank)
    up = update.B if alpha == update.rank else update.B * (update.rank / alpha)
    return [
        (f"{place.path}.lora_down.weight", update.A.reshape(A)),
        (f"{place.path}.lora_up.weight", up.reshape(B)),
        (f"{place.path}.alpha", np.array(float(alpha))),
    ]


FORMAT = Format("lora.safetensors", _shapes, _tensors, kinds=("linear", "convolution"))
