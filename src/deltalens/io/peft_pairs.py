"""The LoRA matrices of a PEFT file: rank, scaling and layout of each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.experts import (
    Expert,
    ExpertFactors,
    Parameter,
    find_parameters,
    keys_of,
    module_of,
)
from deltalens.io.limits import Limits
from deltalens.io.patterns import hits
from deltalens.io.peft_config import LoraSettings
from deltalens.io.peft_layouts import embedding_layout, linear_layout
from deltalens.io.peft_names import FactorName, pair_factors
from deltalens.io.sources import Factors, Source
from deltalens.io.tensor_set import TensorSet
from deltalens.io.tensors import TensorEntry

# In the header of a file that was computed, not trained: why its factors are no training gauge.
GAUGE_NOTE = "deltalens.gauge"
_EMBEDDING_GAUGE = "LoRA on an embedding starts from A = 0 and a random B"


@dataclass(frozen=True)
class PairReader:
    """What it takes to make sources of the pairs of one file."""

    tensors: TensorSet
    settings: LoraSettings
    base: BaseModel | None
    where: str
    limits: Limits

    def sources(
        self, factors: Sequence[FactorName], warnings: list[str]
    ) -> dict[ModuleKey, Source]:
        """Module -> its plain update `scaling * B @ A`.

        Raises:
            AdapterError: if names, shapes, ranks or the base do not agree.
        """
        self._require_named(factors)
        pairs = pair_factors(factors, self.where)
        embeddings = {item.path for item in factors if item.embedding}
        shapes = {path: (self._shape(A), self._shape(B)) for path, (A, B) in pairs.items()}
        parameters = find_parameters(shapes, self.settings.parameters, self.base, self.where)
        scalings = self._scalings(pairs, parameters, warnings)
        gauge = shown(self.tensors.metadata.get(GAUGE_NOTE) or "training", 80)
        stacked = ExpertFactors(self.tensors)
        found: dict[ModuleKey, Source] = {}
        for path, (A, B) in pairs.items():
            parameter = parameters.get(path)
            if parameter is not None and parameter.experts is not None:
                for key in keys_of(parameter):
                    expert = key.expert or 0
                    found[key] = Expert(
                        stacked, A, B, scalings[path], parameter.experts, expert, parameter.layout
                    )
                continue
            name = path if parameter is None else parameter.path
            embedding = path in embeddings
            layout = self._layout(name, A, B, embedding=embedding)
            why = _EMBEDDING_GAUGE if embedding and gauge == "training" else gauge
            found[ModuleKey(name)] = Factors(self.tensors, A, B, scalings[path], layout, why)
        return found

    def _require_named(self, factors: Sequence[FactorName]) -> None:
        nested = [f.tensor for f in factors if f.path != module_of(f.path)]
        if nested and not self.settings.parameters:
            raise AdapterError(
                f"{self.where}: tensor {shown(nested[0])} is not understood: LoRA inside "
                "base_layer belongs to target_parameters, which the config lacks"
            )

    def _shape(self, name: str) -> tuple[int, ...]:
        entry = self.tensors.entries[name]
        if len(entry.shape) < 2:
            raise AdapterError(
                f"{self.where}: tensor {shown(name)} has shape {list(entry.shape)}; "
                "LoRA factors are matrices"
            )
        return entry.shape

    def _layout(self, path: str, A: str, B: str, *, embedding: bool) -> Layout:
        (_, *in_), (out, *_) = self.tensors.entries[A].shape, self.tensors.entries[B].shape
        if len(in_) > 1:
            return self._convolution(path, tuple(in_), out)
        shape = (out, in_[0])
        if embedding:
            return embedding_layout(path, shape, self.base, self.where)
        return linear_layout(path, shape, self.settings.fan_in_fan_out, self.base, self.where)

    def _convolution(self, path: str, in_: tuple[int, ...], out: int) -> Layout:
        layout, stored = Layout(kernel=in_[1:]), (out, *in_)
        if self.base is not None and path in self.base and self.base.shape(path) != stored:
            raise AdapterError(
                f"{self.where}: {shown(path)} is {list(stored)}; the base "
                f"{shown(self.base.path)} has {list(self.base.shape(path))}: other, or a "
                "convolution in groups, which PEFT does not merge either"
            )
        return layout

    def _scalings(
        self,
        pairs: Mapping[str, tuple[str, str]],
        parameters: Mapping[str, Parameter],
        warnings: list[str],
    ) -> dict[str, float]:
        settings, where, limits = self.settings, self.where, self.limits
        named = {path: parameters[path].full if path in parameters else path for path in pairs}
        ranks = hits(list(settings.rank_pattern), list(named.values()), where, limits)
        alphas = hits(list(settings.alpha_pattern), list(named.values()), where, limits)
        _warn_ambiguous("rank_pattern", settings.rank_pattern, ranks, warnings)
        _warn_ambiguous("alpha_pattern", settings.alpha_pattern, alphas, warnings)
        scalings: dict[str, float] = {}
        for path, (A, B) in pairs.items():
            rank_hits, alpha_hits = ranks[named[path]], alphas[named[path]]
            expected = settings.rank_pattern[rank_hits[0]] if rank_hits else settings.r
            alpha = settings.alpha_pattern[alpha_hits[0]] if alpha_hits else settings.alpha
            experts = parameters[path].experts if path in parameters else None
            entries = self.tensors.entries[A], self.tensors.entries[B]
            rank = checked_rank(*entries, path, expected, experts or 1, where, limits)
            scalings[path] = settings.scaling(rank, alpha)
        return scalings


def checked_rank(
    A: TensorEntry,
    B: TensorEntry,
    path: str,
    expected: int,
    experts: int,
    where: str,
    limits: Limits,
) -> int:
    """Rank of a pair, in which tensors and config must agree.

    Raises:
        UnsupportedAdapterError: for a convolution of three dimensions.
        AdapterError: if a tensor is empty, no float, or of another rank, or both together are
            larger than a machine should hold.
    """
    for entry in (A, B):
        if 0 in entry.shape:
            raise AdapterError(
                f"{where}: tensor {shown(entry.name)} is empty {list(entry.shape)}: "
                "saved from a sharded (ZeRO-3) run without gathering"
            )
        if not entry.readable:
            raise AdapterError(
                f"{where}: tensor {shown(entry.name)} is {entry.dtype}; "
                "F64, F32, F16 and BF16 are read"
            )
        if len(entry.shape) > 4:
            raise UnsupportedAdapterError(
                f"{where}: tensor {shown(entry.name)} has shape {list(entry.shape)}; matrices and "
                "convolutions of one or two dimensions are read"
            )
    same = len(A.shape) == len(B.shape) and all(n == 1 for n in B.shape[2:])
    if B.shape[1] != A.shape[0] or not same:
        raise AdapterError(
            f"{where}: {shown(path)}: lora_A is {list(A.shape)} and lora_B {list(B.shape)}; "
            "the inner ranks must agree"
        )
    rank = A.shape[0] // experts
    if rank > limits.rank:
        raise AdapterError(
            f"{where}: {shown(path)} has rank {rank}; at most {limits.rank} (rank) is allowed"
        )
    elements = prod(A.shape) + prod(B.shape)
    if elements > limits.elements:
        raise AdapterError(
            f"{where}: {shown(path)} has {list(A.shape)} and {list(B.shape)}: {elements} numbers; "
            f"at most {limits.elements} (elements) are allowed"
        )
    if rank != expected:
        raise AdapterError(
            f"{where}: {shown(path)} has rank {rank} in the tensors and {expected} in the config"
        )
    return rank


def _warn_ambiguous(
    name: str,
    pattern: Mapping[str, Any],
    found: Mapping[str, list[str]],
    warnings: list[str],
) -> None:
    for path, keys in found.items():
        if len({pattern[key] for key in keys}) > 1:
            warnings.append(
                f"{name}: {len(keys)} keys match {shown(path)} with different values; PEFT takes "
                f"the first in the file, {shown(keys[0], 60)!r}, and sorts the keys when it saves"
            )
            return
