"""Adapters of mlx-lm: `adapters.safetensors` and an `adapter_config.json` of its own.

`dW = scale * (lora_a @ lora_b)^T` with `lora_a (in, r)` and `lora_b (r, out)`; the scale is used as
it is, whatever the rank (`mlx_lm/tuner/lora.py`). Experts keep three axes, `(experts, r, in)` and
`(experts, out, r)`; DoRA's `m` are the lengths of the new weight's rows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.dora import GAUGE, dora
from deltalens.io.fields import flag, mapping, number, text, whole
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.parts import (
    Opened,
    Parts,
    adapter_of,
    fitted,
    refuse_rest,
    scaled,
    sorted_parts,
    spec_of,
)
from deltalens.io.sources import Computed
from deltalens.io.strict_json import absolute, exists, read_object
from deltalens.io.tensor_set import open_tensors

CONFIG, WEIGHTS, OLD_WEIGHTS = "adapter_config.json", "adapters.safetensors", "adapters.npz"
_NAMES = re.compile(r"^(?P<path>.+)\.(?P<role>lora_a|lora_b|m)\Z")
_OTHERS = (
    (r"\.lora_[AB]\b", "PEFT (lora_A, lora_B)"),
    (r"_(scales|biases)\Z", "an adapter that was quantised for inference (lora_a_scales)"),
    (r"\.(weight|bias)\Z", "a full fine-tune"),
)
_EMBEDDINGS = frozenset(
    ["embed_tokens", "wte", "wpe", "embed_in", "word_embeddings", "tok_embeddings"]
)


@dataclass(frozen=True)
class MlxSettings:
    """What of an mlx-lm config determines dW."""

    scale: float
    rank: int | None
    dora: bool
    model: str | None
    warnings: tuple[str, ...]


def recognises(path: Path) -> bool:
    """Whether a folder or file looks like an adapter of mlx-lm, readable or not."""
    if path.name in (WEIGHTS, OLD_WEIGHTS):
        return True
    return exists(path / WEIGHTS) or exists(path / OLD_WEIGHTS)


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open an mlx-lm adapter: the config and the header are read, the tensors are not.

    Args:
        path: the adapter's folder, or its `adapters.safetensors` with the config beside it.
        name: how reports call it; the folder's name by default.
        base: the base model, which DoRA and full fine-tunes need.
        limits: what an untrusted file may cost.

    Raises:
        AdapterError: naming the file, what was found and what is allowed.
        UnsupportedAdapterError: for a numpy archive, or DoRA or a full fine-tune without the base.
    """
    weights = path if path.suffix == ".safetensors" else path / WEIGHTS
    if path.name == OLD_WEIGHTS or (weights != path and not exists(weights)):
        raise UnsupportedAdapterError(
            f"{shown(path)}: holds {OLD_WEIGHTS}; numpy archives are not read, {WEIGHTS} is"
        )
    where = shown(weights.parent)
    config = read_object(weights.parent / CONFIG, limits.config_bytes)
    if config.get("fine_tune_type") == "full":
        return _full(weights, name or absolute(weights.parent).name, base, limits)
    settings = mlx_settings(config, f"{where}/{CONFIG}")
    tensors = open_tensors(weights, limits=limits)
    modules, rest = sorted_parts(tensors, _NAMES, str, where)
    refuse_rest(rest, _OTHERS, where, "mlx-lm's MODULE.lora_a and MODULE.lora_b")
    if not modules:
        raise AdapterError(f"{where}: holds no LoRA tensors; lora_a and lora_b are needed")
    opened: dict[ModuleKey, Opened] = {}
    for parts in modules.values():
        opened |= _opened(parts, settings, base, limits)
    return adapter_of(
        opened,
        name=name or absolute(weights.parent).name,
        tensors=tensors,
        format="mlx-dora" if settings.dora else "mlx-lora",
        base_model=settings.model,
        warnings=settings.warnings,
    )


def _full(weights: Path, name: str, base: BaseModel | None, limits: Limits) -> Adapter:
    """A full fine-tune: the trained weights of the last layers, as they became."""
    from deltalens.io.checkpoint import MLX_FORMAT, changes

    if base is None:
        raise UnsupportedAdapterError(
            f"{shown(weights.parent)}: fine_tune_type 'full' keeps weights, not changes; give "
            "their base (--base)"
        )
    tensors = open_tensors(weights, limits=limits)
    return changes(BaseModel(weights.parent, tensors.files), base, name, MLX_FORMAT)


def mlx_settings(config: Mapping[str, Any], where: str) -> MlxSettings:
    """Check a config and keep what matters.

    Raises:
        AdapterError: for a scale that is missing, or a field of the wrong type or value.
    """
    old = flag(config.get("use_dora", False), "use_dora", where)
    kind = config.get("fine_tune_type", "dora" if old else "lora")
    if kind not in ("lora", "dora"):
        raise AdapterError(
            f"{where}: fine_tune_type {shown(kind, 60)!r} is not known; lora, dora and full are"
        )
    fields = mapping(config.get("lora_parameters"), "lora_parameters", where)
    if "scale" not in fields:
        raise AdapterError(f"{where}: lora_parameters has no scale; a finite number is needed")
    scale = number(fields["scale"], "lora_parameters.scale", where)
    rank = fields.get("rank")
    rank = None if rank is None else whole(rank, "lora_parameters.rank", where)
    warnings: list[str] = []
    if fields.get("alpha") is not None:
        alpha = number(fields["alpha"], "lora_parameters.alpha", where)
        if rank is None or alpha != rank:
            warnings.append(
                f"alpha {alpha:g} in the config: mlx-lm uses scale {scale:g} as it is, and so does "
                "this; its releases before autumn 2024 multiplied it by alpha / rank"
            )
    return MlxSettings(
        scale, rank, kind == "dora", text(config.get("model"), "model", where), tuple(warnings)
    )


def _opened(
    parts: Parts, settings: MlxSettings, base: BaseModel | None, limits: Limits
) -> dict[ModuleKey, Opened]:
    parts.require(("lora_a", "lora_b"))
    if settings.dora != ("m" in parts):
        found = "a magnitude m" if "m" in parts else "no magnitude m"
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} has {found}; the config says "
            f"{'dora' if settings.dora else 'lora'}"
        )
    axes = 3 if len(parts.shape("lora_a")) == 3 and not settings.dora else 2
    for role in ("lora_a", "lora_b"):
        parts.require_axes(role, axes)
    if axes == 3:
        return _experts(parts, settings, limits)
    (in_, r), (r_b, out) = parts.shape("lora_a"), parts.shape("lora_b")
    rank = parts.require_equal("the inner ranks", {"lora_a": r, "lora_b": r_b})
    _require_rank(parts, rank, settings, limits)
    embedding = parts.path.rpartition(".")[2] in _EMBEDDINGS
    layout = fitted(parts, (out, in_), base, transposed=embedding)
    key = ModuleKey(parts.path)
    if settings.dora:
        return {key: _dora(parts, (out, in_), layout, settings.scale, base, limits)}
    spec = spec_of(parts, (out, in_), rank, limits=limits, layout=layout)
    return {key: Opened(Computed(spec, partial(_plain, parts, settings.scale)), settings.scale)}


def _require_rank(parts: Parts, rank: int, settings: MlxSettings, limits: Limits) -> None:
    parts.require_rank(rank, limits)
    if settings.rank is not None and rank != settings.rank:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} has rank {rank} in the tensors and "
            f"{settings.rank} in the config"
        )


def _experts(parts: Parts, settings: MlxSettings, limits: Limits) -> dict[ModuleKey, Opened]:
    (n, r, in_), (n_b, out, r_b) = parts.shape("lora_a"), parts.shape("lora_b")
    n = parts.require_equal("the numbers of experts", {"lora_a": n, "lora_b": n_b})
    if n > limits.tensors:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} has {n} experts; at most {limits.tensors} "
            "(tensors) are allowed"
        )
    rank = parts.require_equal("the inner ranks", {"lora_a": r, "lora_b": r_b})
    _require_rank(parts, rank, settings, limits)
    spec = spec_of(parts, (out, in_), rank, limits=limits)

    def expert(index: int) -> LowRankUpdate:
        plain = LowRankUpdate(parts.read_slice("lora_b", index), parts.read_slice("lora_a", index))
        return scaled(plain, settings.scale, parts)

    return {
        ModuleKey(parts.path, index): Opened(Computed(spec, partial(expert, index)), settings.scale)
        for index in range(n)
    }


def _dora(
    parts: Parts,
    shape: tuple[int, int],
    layout: Layout,
    scale: float,
    base: BaseModel | None,
    limits: Limits,
) -> Opened:
    """DoRA with lengths over the rows of the stored weight: an embedding's are its tokens."""
    if base is None:
        raise UnsupportedAdapterError(
            f"{parts.where}: DoRA changes each weight by its own size, so the base is needed; "
            "give --base"
        )
    parts.require_axes("m", 1)
    rows = layout.stored(shape)[0]
    parts.require_equal("the lengths", {"m": parts.shape("m")[0], "stored rows": rows})
    key = ModuleKey(parts.path)

    def compute() -> LowRankUpdate:
        W, m, plain = base.matrix(key, layout), parts.read("m"), _plain(parts, scale)
        try:
            if not layout.transposed:
                return from_dense(dora(W, plain, m))
            return from_dense(dora(W.T, LowRankUpdate(plain.A.T, plain.B.T), m).T)
        except AdapterError as error:
            raise AdapterError(f"{parts.where}: {shown(key)}: {error}") from None

    spec = spec_of(parts, shape, min(shape), limits=limits, layout=layout, gauge=GAUGE)
    return Opened(Computed(spec, compute), scale)


def _plain(parts: Parts, scale: float) -> LowRankUpdate:
    return scaled(LowRankUpdate(parts.read("lora_b").T, parts.read("lora_a").T), scale, parts)
