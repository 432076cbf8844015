"""Full fine-tuned checkpoints: what is left when the base is taken away, tensor by tensor.

The file holds weights, not changes, so the base is needed. Each difference is dense: it is carried
exactly, with an identity as its other factor, and one tensor is in memory at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from deltalens.core.adapter import Adapter, Provenance, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import EMBEDDINGS, INDEX, WEIGHTS, BaseModel, open_base
from deltalens.io.biases import Bias
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.peft_layouts import CONV1D_MODELS, CONV1D_MODULES
from deltalens.io.places import LOOKUPS
from deltalens.io.strict_json import absolute
from deltalens.io.tensors import TensorEntry

FORMAT, MLX_FORMAT = "checkpoint", "mlx-full"
WHOLE_FORMATS = (FORMAT, MLX_FORMAT)
GAUGE = "a full checkpoint has no factors of training"
# In the provenance: parameters that are no module's weight, which a LoRA file cannot name.
BARE = "bare parameters"
# Whose experts are stored (expert, in, out); all others' (expert, out, in).
_TRANSPOSED_EXPERTS = frozenset(["gpt_oss", "aria", "aria_text", "openai_privacy_filter"])


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open a fine-tuned model as its change from `base`; headers are read, tensors are not.

    Args:
        path: the model's folder, its weights in one safetensors file or sharded.
        name: how reports call it; the folder's name by default.
        base: the model that it was trained from.
        limits: what an untrusted file may cost.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if the two share no matrix, or a tensor is of another shape.
        BaseModelError: if the folder holds no readable model.
    """
    if base is None:
        raise UnsupportedAdapterError(
            f"{shown(path)}: a full checkpoint holds weights, not changes; give its base (--base)"
        )
    return changes(open_base(path, limits=limits), base, name or absolute(path).name, FORMAT)


def changes(tuned: BaseModel, base: BaseModel, name: str, format: str) -> Adapter:
    """What a set of trained weights changes in the base; what it lacks is unchanged.

    Raises:
        AdapterError: if the two share no matrix, or a tensor is of another shape.
    """
    path = tuned.path
    found = _matched(tuned, base)
    if not found.specs:
        raise AdapterError(
            f"{shown(path)}: shares no matrix with the base {shown(base.path)}; "
            "a fine-tune of that base is needed"
        )
    first = str(next(iter(tuned.files.values())).path)
    warned, shards, bare = tuple(found.warnings), _shards(tuned), tuple(found.bare)
    provenance = Provenance(first, format, None, warned, {BARE: bare}, files=shards)
    return Adapter(
        name,
        found.specs,
        _Source(tuned, base, found.specs).read,
        _base_name(base),
        provenance,
        biases=found.vectors,
    )


def _shards(tuned: BaseModel) -> tuple[str, ...]:
    """The index and every shard, which a provenance hashes; nothing where there is one file."""
    held = sorted({str(file.path) for file in tuned.files.values()})
    index = tuned.path / INDEX
    return (str(index), *held) if index.is_file() and held != [str(tuned.path / WEIGHTS)] else ()


@dataclass
class _Matched:
    specs: dict[ModuleKey, UpdateSpec] = field(default_factory=dict[ModuleKey, UpdateSpec])
    vectors: dict[str, Bias | None] = field(default_factory=dict[str, "Bias | None"])
    warnings: list[str] = field(default_factory=list[str])
    bare: list[str] = field(default_factory=list[str])


@dataclass(frozen=True)
class _Source:
    tuned: BaseModel
    base: BaseModel
    specs: Mapping[ModuleKey, UpdateSpec]

    def read(self, key: ModuleKey) -> LowRankUpdate:
        if key.expert is None:
            new, old = self.tuned.tensor(key.path), self.base.tensor(key.path)
        else:
            new, old = (model.expert(key.path, key.expert) for model in (self.tuned, self.base))
        rows = min(len(new), len(old))
        new[:rows] -= old[:rows]
        if len(new) == len(old):
            change = new
        else:  # rows that only one of them has did not change: they came or went
            change = np.zeros(old.shape)
            change[:rows] = new[:rows]
        return from_dense(self.specs[key].layout.matrix(change))


def _matched(tuned: BaseModel, base: BaseModel) -> _Matched:
    """Which tensors of the fine-tune can be measured, and what is to be said of the others."""
    found = _Matched()
    lone: list[str] = []
    for tensor, file in tuned.files.items():
        path, entry = tensor.removesuffix(".weight"), file.entries[tensor]
        if path not in base:
            lone.append(tensor)
        elif len(entry.shape) >= 2:
            _add(found, path, entry, tuned, base)
        else:
            _add_vector(found, path, entry, tuned, base)
    missing = [name for name in base.files if name.removesuffix(".weight") not in tuned]
    _tell(found, lone, "not in the base: not measured")
    _tell(found, missing, "only in the base: taken as unchanged")
    return found


def _add(found: _Matched, path: str, entry: TensorEntry, tuned: BaseModel, base: BaseModel) -> None:
    new, old = list(entry.shape), list(base.shape(path))
    where = f"{shown(tuned.path)}: {shown(entry.name)}"
    if 0 in new or not entry.readable:
        raise AdapterError(
            f"{where} is {entry.dtype} {new}; a weight of F64, F32, F16 or BF16 is needed"
        )
    if new[1:] != old[1:] or (new[0] != old[0] and len(new) > 2):
        raise AdapterError(f"{where} is {new}; the base {shown(base.path)} has {old}")
    if new[0] != old[0]:
        if not _holds_rows_of_a_vocabulary(path):
            raise AdapterError(f"{where} is {new}; the base {shown(base.path)} has {old}")
        found.warnings.append(
            f"{shown(path)} has {new[0]} rows; the base has {old[0]} (a resized vocabulary): "
            f"the first {min(new[0], old[0])} are compared"
        )
    if not entry.name.endswith(".weight"):
        found.bare.append(path)
    for key, layout in _places(path, old, base):
        sizes = old[1:] if key.expert is not None else old
        matrix = sizes[0], math.prod(sizes[1:])
        shape = (matrix[1], matrix[0]) if layout.transposed else matrix
        # Both were rounded when they were stored, which a difference does not forget; relative
        # to the difference that error is unknown before it is read.
        found.specs[key] = UpdateSpec(shape, min(shape), gauge=GAUGE, layout=layout)


def _add_vector(
    found: _Matched, path: str, entry: TensorEntry, tuned: BaseModel, base: BaseModel
) -> None:
    """A bias by its module's path, any other vector (a norm's weight) by its tensor's name."""
    if entry.shape != base.shape(path) or not entry.readable:
        raise AdapterError(
            f"{shown(tuned.path)}: {shown(entry.name)} is {entry.dtype} {list(entry.shape)}; "
            f"the base {shown(base.path)} has {list(base.shape(path))}"
        )
    name = entry.name.removesuffix(".bias")
    found.vectors[name] = partial(_difference, tuned, base, path)


def _difference(tuned: BaseModel, base: BaseModel, path: str) -> Array:
    return tuned.tensor(path) - base.tensor(path)


def _places(path: str, stored: Sequence[int], base: BaseModel) -> list[tuple[ModuleKey, Layout]]:
    """The modules in one tensor: itself, or one an expert."""
    last = path.rpartition(".")[2]
    if len(stored) == 3 and "expert" in path:
        layout = Layout(transposed=base.config.get("model_type") in _TRANSPOSED_EXPERTS)
        return [(ModuleKey(path, expert), layout) for expert in range(stored[0])]
    if len(stored) > 2:
        return [(ModuleKey(path), Layout(kernel=tuple(stored[2:])))]
    conv1d = last in CONV1D_MODULES and base.config.get("model_type") in CONV1D_MODELS
    return [(ModuleKey(path), Layout(transposed=conv1d or last in LOOKUPS))]


def _holds_rows_of_a_vocabulary(path: str) -> bool:
    return path.rpartition(".")[2] in (*EMBEDDINGS, "lm_head", "embed_out")


def _tell(found: _Matched, names: list[str], what: str) -> None:
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.warnings.append(f"{shown(names[0], 80)}{more} {what}")


def _base_name(base: BaseModel) -> str | None:
    """The base as adapters name it; no machine path goes into an adapter."""
    named = base.config.get("_name_or_path")
    return named if isinstance(named, str) and named else None
