"""Weights of a base model, one matrix at a time, from safetensors, sharded or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, DeltalensError
from deltalens.io.fused import fused
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.sharded import open_shards
from deltalens.io.strict_json import exists, read_object
from deltalens.io.tensors import TensorEntry, TensorFile

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
_LAYER = re.compile(r"(?P<list>(?:^|\.)(?:layers|layer|h))\.(?P<number>[0-9]{1,6})\.")
_HEADS = ("lm_head", "embed_out")
EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in")


@dataclass(frozen=True)
class BaseModel:
    """The stored matrices of a base model; nothing is held in memory.

    Attributes:
        path: the model's folder.
        files: tensor name -> the file that holds it.
        config: the model's `config.json`; empty where there is none.
        layers: the stored layer of each layer, for a model of replicated layers; else empty.
    """

    path: Path
    files: Mapping[str, TensorFile]
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    layers: tuple[int, ...] = ()

    def replicated(self, layers: Sequence[int]) -> BaseModel:
        """The same model as PEFT's `layer_replication` makes it: layer i is stored as layers[i]."""
        return replace(self, layers=tuple(layers))

    def readable(self, module: str) -> bool:
        """Whether a module's weight is stored as numbers, not packed by a quantiser."""
        name = self.find(module)
        return name is not None and self.files[name].entries[name].readable

    def __contains__(self, module: str) -> bool:
        return self.find(module) is not None

    def find(self, module: str) -> str | None:
        """The stored tensor of a module (its weight) or of a bare parameter, or None.

        Checkpoints of the bare model lack the first part of a path (`transformer.h.0` is `h.0`);
        a tied head is stored once, as the embedding.
        """
        module = _LAYER.sub(self._stored_layer, module) if self.layers else module
        inner = module.partition(".")[2]
        for path in (module, inner) if inner else (module,):
            for name in (f"{path}.weight", path):
                if name in self.files:
                    return name
        return self.tied_to(module)

    def _stored_layer(self, match: re.Match[str]) -> str:
        number = int(match["number"])
        stored = self.layers[number] if number < len(self.layers) else "none"
        return f"{match['list']}.{stored}."

    def tied_to(self, module: str) -> str | None:
        """The embedding that the base shares with a head that it does not store."""
        if module.rpartition(".")[2] not in _HEADS or f"{module}.weight" in self.files:
            return None
        if not self.config.get("tie_word_embeddings", self.config.get("model_type") == "gpt2"):
            return None
        ends = tuple(f"{name}.weight" for name in EMBEDDINGS)
        found = [name for name in self.files if name.endswith(ends)]
        return found[0] if len(found) == 1 else None

    def tensor(self, module: str) -> Array:
        """A module's weight, or a bare parameter, in float64 and its stored shape.

        Raises:
            BaseModelError: if the base has no such module.
        """
        entry, file = self._entry(module)
        return file.read(entry.name)

    def expert(self, module: str, index: int) -> Array:
        """One expert of a stacked parameter in float64, as the model stores it.

        Raises:
            BaseModelError: if the base has no such parameter.
        """
        apart = fused(self.files, module)
        if apart is not None:
            return apart.read(index)
        entry, file = self._entry(module)
        return file.read_slice(entry.name, index)

    def matrix(self, key: ModuleKey, layout: Layout) -> Float[Array, "out in"]:
        """The weight that an update changes, oriented as the update is: `(out, in)`.

        Raises:
            BaseModelError: if the base has no such module or expert.
        """
        if key.expert is not None and (apart := fused(self.files, key.path)) is not None:
            return layout.matrix(apart.read(key.expert))
        entry, _ = self._entry(key.path)
        axes = 2 + len(layout.kernel) + (key.expert is not None)
        if len(entry.shape) != axes or not entry.readable:
            raise self._no_matrix(entry, axes)
        if axes == 2:
            return layout.matrix(self.weight(key.path))
        if key.expert is not None:
            return layout.matrix(self.expert(key.path, key.expert))
        return layout.matrix(self.tensor(key.path))

    def weight(self, module: str) -> Float[Array, "out in"]:
        """The matrix of a module in float64, in the stored layout.

        Raises:
            BaseModelError: if the base has no such module or it is no matrix.
        """
        entry, file = self._entry(module)
        if len(entry.shape) != 2 or not entry.readable:
            raise self._no_matrix(entry, 2)
        return file.read(entry.name)

    def shape(self, module: str) -> tuple[int, ...]:
        """Shape of a module's tensor in the model's layout, from the header alone."""
        apart = fused(self.files, module)
        if apart is not None:
            return apart.shape
        return self._entry(module)[0].shape

    def _no_matrix(self, entry: TensorEntry, axes: int) -> BaseModelError:
        what = "a matrix" if axes == 2 else f"a tensor of {axes} axes"
        return BaseModelError(
            f"{shown(self.files[entry.name].path)}: {shown(entry.name)} is {entry.dtype} "
            f"{list(entry.shape)}; {what} of F64, F32, F16 or BF16 is needed"
        )

    def _entry(self, module: str) -> tuple[TensorEntry, TensorFile]:
        name = self.find(module)
        if name is None:
            raise BaseModelError(
                f"{shown(self.path)}: has no module {shown(module)}; "
                "the adapter is of another base, "
                "or the base ties this module to another and does not store it"
            )
        file = self.files[name]
        return file.entries[name], file


def open_base(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> BaseModel:
    """Open a model folder that holds `model.safetensors` or its sharded index.

    Raises:
        BaseModelError: naming the folder and what is missing.
    """
    if not exists(path, BaseModelError) or not path.is_dir():
        raise BaseModelError(f"{shown(path)}: no such folder; a model folder is needed")
    if exists(path / WEIGHTS, BaseModelError):
        file = TensorFile.open(path / WEIGHTS, limits=limits, error=BaseModelError)
        return BaseModel(path, dict.fromkeys(file.entries, file), _config(path, limits))
    if exists(path / INDEX, BaseModelError):
        shards = open_shards(path / INDEX, limits=limits, error=BaseModelError)
        return BaseModel(path, shards, _config(path, limits))
    raise BaseModelError(f"{shown(path)}: holds neither {WEIGHTS} nor {INDEX}")


def _config(path: Path, limits: Limits) -> Mapping[str, Any]:
    """The model's config as a hint: one that cannot be read tells nothing."""
    try:
        return read_object(path / "config.json", limits.config_bytes, BaseModelError)
    except DeltalensError:
        return {}
