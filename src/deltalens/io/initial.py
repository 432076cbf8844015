"""The initial lora_A that training left beside an adapter: the true A0, never an estimate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.peft_names import parse_factors
from deltalens.io.strict_json import exists
from deltalens.io.tensors import TensorFile

INITIAL = "initial_lora_A.safetensors"


@dataclass(frozen=True, eq=False)
class InitialFactors:
    """The initial A of every module of one adapter, read when it is asked for."""

    file: TensorFile
    tensors: Mapping[ModuleKey, str]

    def A(self, key: ModuleKey) -> Float[Array, "rank in"]:
        """The initial A of a module.

        Raises:
            AdapterError: if it holds NaN or infinity.
        """
        return self.file.read(self.tensors[key])


def open_initial(adapter: Adapter, *, limits: Limits = DEFAULT_LIMITS) -> InitialFactors | None:
    """The file beside an adapter's weights; None where there is none.

    Raises:
        AdapterError: if it is there but is not the start of this adapter: a module is missing, or
            its shape differs from lora_A's.
    """
    if not adapter.provenance.path:
        return None
    path = Path(adapter.provenance.path).parent / INITIAL
    if not exists(path):
        return None
    file = TensorFile.open(path, limits=limits)
    factors, _ = parse_factors(file.entries, shown(path))
    tensors = {ModuleKey(f.path): f.tensor for f in factors if f.factor == "A"}
    for key, spec in adapter.specs.items():
        if key not in tensors:
            raise AdapterError(f"{shown(path)}: lacks {shown(key)}, which the adapter has")
        entry, needed = file.entries[tensors[key]], (spec.rank, spec.shape[1])
        if entry.shape != needed or not entry.readable:
            raise AdapterError(
                f"{shown(path)}: {shown(entry.name)} is {entry.dtype} {list(entry.shape)}; "
                f"lora_A of the adapter is {list(needed)}"
            )
    return InitialFactors(file, tensors)
