"""Modules that were trained whole and saved whole (`modules_to_save`, resized embeddings).

The file holds the new weight, not a change: `dW = new - base` needs the base. Rows that the base
lacks (a larger vocabulary) have no change to speak of and are named in a warning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from deltalens.core.adapter import UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import PLAIN, Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import EMBEDDINGS, BaseModel
from deltalens.io.peft_layouts import TRANSPOSED
from deltalens.io.sources import Computed, Source
from deltalens.io.tensor_set import TensorSet

GAUGE = "the module was trained whole: it has no factors of training"


@dataclass
class Saved:
    """What became of the saved tensors: updates, and what could not be measured."""

    sources: dict[ModuleKey, Source] = field(default_factory=dict[ModuleKey, Source])
    warnings: list[str] = field(default_factory=list[str])


def saved_modules(
    saved: Mapping[str, str], tensors: TensorSet, base: BaseModel | None, where: str
) -> Saved:
    """Updates of the modules that a file holds whole; each is measured or named in a warning.

    Args:
        saved: module path -> its tensor.
        tensors: where they lie.
        base: the base, where it is at hand.
        where: the file, for messages.

    Raises:
        AdapterError: if a tensor is empty or no float, or the base's has other columns.
    """
    found = Saved()
    for path, name in saved.items():
        entry = tensors.entries[name]
        if 0 in entry.shape or not entry.readable:
            raise AdapterError(
                f"{where}: tensor {shown(name)} is {entry.dtype} {list(entry.shape)}; a weight of "
                "F64, F32, F16 or BF16 is needed"
            )
        what = f"{shown(path)} {list(entry.shape)} was saved whole"
        if not 2 <= len(entry.shape) <= 4:
            found.warnings.append(f"{what} and is no matrix: not measured")
        elif base is None:
            found.warnings.append(f"{what}: its change is not measured without the base (--base)")
        elif path not in base:
            found.warnings.append(f"{what} and is not in the base: not measured")
        else:
            _add(found, path, name, tensors, base, where)
    return found


def _add(
    found: Saved, path: str, name: str, tensors: TensorSet, base: BaseModel, where: str
) -> None:
    new, old = tensors.entries[name].shape, base.shape(path)
    if new[1:] != old[1:]:
        raise AdapterError(
            f"{where}: tensor {shown(name)} is {list(new)}; the base {shown(base.path)} has "
            f"{list(old)}"
        )
    if new[0] != old[0]:
        found.warnings.append(
            f"{shown(path)} was saved with {new[0]} rows; the base has {old[0]}: the first "
            f"{min(new[0], old[0])} are compared"
        )
    if _is_copy(tensors.read(name), base.tensor(path)):
        found.warnings.append(f"{shown(path)} was saved whole and equals the base's: no update")
        return
    layout = _layout(path, old)
    rows = old[0], int(np.prod(old[1:]))
    shape = (rows[1], rows[0]) if layout.transposed else rows

    def compute() -> LowRankUpdate:
        return from_dense(layout.matrix(_difference(tensors.read(name), base.tensor(path))))

    spec = UpdateSpec(shape, min(shape), gauge=GAUGE, layout=layout)
    found.sources[ModuleKey(path)] = Computed(spec, compute)


def _layout(path: str, stored: tuple[int, ...]) -> Layout:
    if len(stored) > 2:
        return Layout(kernel=stored[2:])
    return TRANSPOSED if path.rpartition(".")[2] in EMBEDDINGS else PLAIN


def _is_copy(new: Array, old: Array) -> bool:
    rows = min(len(new), len(old))
    return bool(np.array_equal(new[:rows], old[:rows]))


def _difference(new: Array, old: Array) -> Array:
    """New minus old over the rows that both have; elsewhere 0."""
    rows = min(len(new), len(old))
    change = np.zeros(old.shape)
    change[:rows] = new[:rows] - old[:rows]
    return change
