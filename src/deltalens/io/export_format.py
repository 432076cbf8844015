"""How a format lays out an adapter that we write: one weight file and perhaps a config."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.places import Kind, Place

Ranks = Mapping[ModuleKey, int]


@dataclass(frozen=True)
class Format:
    """A format by what it writes.

    Attributes:
        weights: name of the weight file.
        shapes: `(place, rank)` -> name and shape of each tensor of a place, in order.
        tensors: `(place, updates)` -> the same tensors with their values; one update an expert.
        config: the config file's content, or None.
        rank: module's rank and the largest of all -> the rank that the module is written at.
        kinds: what the files can hold.
    """

    weights: str
    shapes: Callable[[Place, int], Mapping[str, tuple[int, ...]]]
    tensors: Callable[[Place, Sequence[LowRankUpdate]], Sequence[tuple[str, Array]]]
    config: Callable[[Adapter, Ranks], dict[str, Any]] | None = None
    rank: Callable[[int, int], int] = lambda own, _largest: own
    kinds: tuple[Kind, ...] = ("linear",)


# --format -> the module that holds its FORMAT; imported when it is asked for.
_MODULES: Mapping[str, str] = {
    "peft": "deltalens.io.export_peft",
    "kohya": "deltalens.io.export_kohya",
    "mlx": "deltalens.io.export_mlx",
}
# Every weight file that an export can leave in a folder.
WEIGHT_FILES = ("adapter_model.safetensors", "lora.safetensors", "adapters.safetensors")


def format_of(name: str) -> Format:
    """The format of a name.

    Raises:
        OptionError: for a name that is not known.
    """
    if name not in _MODULES:
        raise OptionError(
            f"--format {shown(name, 40)!r} is not known; known are {', '.join(_MODULES)}"
        )
    return cast("Format", import_module(_MODULES[name]).FORMAT)
