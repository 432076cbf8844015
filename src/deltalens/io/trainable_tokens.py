"""Rows of an embedding that were trained on their own (`trainable_token_indices`).

The file holds the new rows, not their change: `dW = E_T (rows - W[T])` over the trained tokens T,
exactly low-rank, and only with the base (PEFT `TrainableTokensLayer`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from deltalens.core.adapter import UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel
from deltalens.io.limits import Limits
from deltalens.io.peft_layouts import TRANSPOSED
from deltalens.io.saved_modules import Saved
from deltalens.io.sources import Computed
from deltalens.io.tensor_set import TensorSet

GAUGE = "token rows were trained themselves: they have no factors of training"


def trained_tokens(
    found: Mapping[str, str],
    indices: Mapping[str, tuple[int, ...]],
    tensors: TensorSet,
    base: BaseModel | None,
    where: str,
    limits: Limits,
) -> Saved:
    """Updates of the embeddings whose rows a file holds, or a warning without the base.

    Args:
        found: module path -> its tensor of rows.
        indices: module as the config names it (`""`: the embedding) -> row numbers.
        tensors: where they lie.
        base: the base, where it is at hand.
        where: the file, for messages.
        limits: what an untrusted file may cost.

    Raises:
        AdapterError: if rows and indices do not agree, or do not fit the base.
    """
    made = Saved()
    if indices and not found:
        raise AdapterError(
            f"{where}: trainable_token_indices is set, but no trainable_tokens_delta is in the file"
        )
    for path, name in found.items():
        rows, entry = _rows(path, indices), tensors.entries[name]
        if len(entry.shape) != 2 or entry.shape[0] != len(rows) or not entry.readable:
            raise AdapterError(
                f"{where}: tensor {shown(name)} is {entry.dtype} {list(entry.shape)}; "
                f"trainable_token_indices names {len(rows)} rows of it"
            )
        if len(rows) > limits.rank:
            raise AdapterError(
                f"{where}: {shown(path)} has {len(rows)} trained rows; at most {limits.rank} "
                "(rank) are allowed"
            )
        if base is None:
            made.warnings.append(
                f"{shown(path)}: {len(rows)} trained token rows: their change is not measured "
                "without the base (--base)"
            )
            continue
        stored = base.shape(path)
        if len(stored) != 2 or stored[1] != entry.shape[1] or max(rows) >= stored[0]:
            raise AdapterError(
                f"{where}: tensor {shown(name)} is {list(entry.shape)}, for rows up to "
                f"{max(rows)}; the base {shown(base.path)} has {list(stored)}"
            )
        spec = UpdateSpec((stored[1], stored[0]), len(rows), gauge=GAUGE, layout=TRANSPOSED)
        made.sources[ModuleKey(path)] = Computed(spec, _change(path, name, rows, tensors, base))
    return made


def _rows(path: str, indices: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    for name, rows in indices.items():
        if name in ("", path) or path.endswith(f".{name}"):
            return rows
    return ()


def _change(
    path: str, name: str, rows: tuple[int, ...], tensors: TensorSet, base: BaseModel
) -> Callable[[], LowRankUpdate]:
    def compute() -> LowRankUpdate:
        W = base.tensor(path)
        selects = np.zeros((len(rows), len(W)))
        selects[np.arange(len(rows)), list(rows)] = 1.0
        return LowRankUpdate((tensors.read(name) - W[list(rows)]).T, selects)

    return compute
