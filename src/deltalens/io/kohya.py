"""Adapters of kohya's sd-scripts and of LyCORIS: one `.safetensors` file, no config.

Modules are named in the file (`lora_unet_down_blocks_0_..._to_q`) and keep that name. Each holds
LoRA (`lora_down`, `lora_up`), LoHa (`hada_*`) or LoKr (`lokr_*`), and an `alpha`: the scale is
`alpha / rank`, 1 without alpha, and 1 for a LoKr of two whole matrices (LyCORIS `LokrModule`).
What else LyCORIS writes is in `io.lycoris`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.biases import Bias
from deltalens.io.down_up import alpha_scaling, opened_pair
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.loha import loha_rank, opened_loha
from deltalens.io.lokr import lokr_rank, opened_lokr
from deltalens.io.lycoris import (
    VECTORS,
    BaseNames,
    opened_diff,
    opened_tucker,
    vectors_of,
    with_magnitudes,
)
from deltalens.io.lycoris_base import opened_glora, opened_ia3, opened_oft
from deltalens.io.parts import Opened, Parts, adapter_of, refuse_rest, sorted_parts
from deltalens.io.tensor_set import open_tensors

_NAMES = re.compile(
    r"^(?P<path>.+?)(?<!\.bm)(?<!\.[pq]_layer)\.(?P<role>lora_down\.weight|lora_up\.weight|lora_A\.weight|lora_B\.weight"
    r"|lora_mid\.weight|dora_scale|diff|diff_b|[wb]_norm|oft_blocks|rescale|[ab][12]\.weight|weight|on_input|alpha|hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?)\Z"
)
_ROLES = {
    "lora_down.weight": "down",
    "lora_A.weight": "down",
    "lora_up.weight": "up",
    "lora_B.weight": "up",
    "lora_mid.weight": "mid",
}
# Endings that only these tools write: one is enough to know a file by.
_MARKS = re.compile(
    r"\.(?:lora_(?:down|up|mid)\.weight|hada_w1_a|lokr_w1(?:_a)?|dora_scale|diff(?:_b)?|[wb]_norm|oft_blocks|[ab][12]\.weight|on_input)\Z"
)
_OTHERS = (
    (r"\.oft_diag\Z", "an OFT of one dimension (oft_diag)"),
    (r"\.bm\.weight\Z", "GLoRA with a third factor (bm)"),
    (r"\.lora_(down|up)\.bias\Z", "biases of LoRA factors"),
    (r"\.(lambda_layer|[pq]_layer\.weight)\Z", "T-LoRA"),
    (r"\.scalar\Z", "a trained scalar"),
)


# How a role starts -> the method.
_START = re.compile(r"_|[12]\.")
_KINDS = {
    "lora": "lora",
    "hada": "loha",
    "lokr": "lokr",
    "diff": "full",
    "oft": "oft",
    "a": "glora",
    "b": "glora",
    "on": "ia3",
    "weight": "ia3",
}


_OF_THE_BASE = {"oft": opened_oft, "glora": opened_glora, "ia3": opened_ia3}


def speaks(names: Iterable[str]) -> bool:
    """Whether these tensor names are those of sd-scripts or LyCORIS."""
    return any(_MARKS.search(name) for name in names)


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open a kohya or LyCORIS file: the header and the alphas are read, nothing else is.

    Args:
        path: the `.safetensors` file.
        name: how reports call it; the file's name by default.
        base: the base model; where its module names are the file's, it says how they are stored.
        limits: what an untrusted file may cost.

    Raises:
        AdapterError: naming the file, what was found and what is allowed.
        UnsupportedAdapterError: for a kind of module that is not read, by name.
    """
    where = shown(path)
    tensors = open_tensors(path, limits=limits)
    modules, rest = sorted_parts(tensors, _NAMES, str, where)
    refuse_rest(rest, _OTHERS, where, "lora_down and lora_up, hada_w1_a to hada_w2_b, or lokr_w1")
    if not modules:
        raise AdapterError(f"{where}: holds no tensors; lora_down and lora_up are needed")
    opened: dict[ModuleKey, Opened] = {}
    vectors: dict[str, Bias | None] = {}
    kinds: set[str] = set()
    names = BaseNames(base, where)
    for found in modules.values():
        parts = replace(found, at=names.find(found.path))
        vectors |= vectors_of(parts)
        kind = _kind(parts)
        if kind is not None:
            kinds.add(kind)
            opened[ModuleKey(parts.path)] = _opened(parts, kind, base, names, limits)
    if not opened:
        raise AdapterError(f"{where}: holds {len(vectors)} changes of vectors, and of no matrix")
    return adapter_of(
        opened,
        name=name or path.stem,
        tensors=tensors,
        format=f"kohya-{'-'.join(sorted(kinds))}",
        base_model=_base_model(tensors.metadata),
        biases=vectors,
    )


def _kind(parts: Parts) -> str | None:
    """The module's method; None where only a vector of it changes."""
    beside = ("alpha", "dora_scale", "rescale", *VECTORS)
    kinds = {_START.split(role)[0] for role in parts.names if role not in beside}
    vector = any(role in parts for role in VECTORS)
    if kinds == {"diff"} and len(parts.shape("diff")) == 1:
        kinds, vector = set(), True
    if "dora_scale" in parts and not kinds & {"lora", "hada", "lokr"}:
        raise AdapterError(f"{parts.where}: {shown(parts.path)} has a dora_scale and no factors")
    if "rescale" in parts and kinds != {"oft"}:
        raise AdapterError(f"{parts.where}: {shown(parts.path)} has a rescale and no oft_blocks")
    if not kinds:
        if vector:
            return None
        raise AdapterError(f"{parts.where}: {shown(parts.path)} has an alpha and nothing else")
    if kinds in ({"a", "b"}, {"weight", "on"}):
        kinds = {min(kinds)}
    if len(kinds) > 1:
        raise UnsupportedAdapterError(
            f"{parts.where}: {shown(parts.path)} mixes {', '.join(sorted(kinds))}; "
            "one method a module is read"
        )
    return _KINDS[kinds.pop()]


def _opened(
    parts: Parts, kind: str, base: BaseModel | None, names: BaseNames, limits: Limits
) -> Opened:
    if kind in _OF_THE_BASE:
        return _OF_THE_BASE[kind](parts, names, limits)
    plain = _plain(parts, kind, base, limits)
    return with_magnitudes(plain, parts, names) if "dora_scale" in parts else plain


def _plain(parts: Parts, kind: str, base: BaseModel | None, limits: Limits) -> Opened:
    if kind == "full":
        return opened_diff(parts, base, limits)
    if kind == "lora":
        factors = _renamed(parts)
        if "mid" not in factors:
            return opened_pair(factors, base, limits)
        factors.require(("down", "up"))
        scaling, warnings = alpha_scaling(parts, factors.shape("down")[0])
        opened = opened_tucker(factors, scaling, base, limits)
    elif kind == "loha":
        scaling, warnings = alpha_scaling(parts, loha_rank(parts))
        opened = opened_loha(parts, scaling, base, limits)
    else:
        rank = lokr_rank(parts)
        scaling, warnings = alpha_scaling(parts, rank) if rank is not None else (1.0, ())
        opened = opened_lokr(parts, scaling, base, limits)
    return Opened(opened.source, opened.scaling, warnings)


def _renamed(parts: Parts) -> Parts:
    names: dict[str, str] = {}
    for role, tensor in parts.names.items():
        other = names.setdefault(_ROLES.get(role, role), tensor)
        if other != tensor:
            raise AdapterError(
                f"{parts.where}: tensors {shown(other)} and {shown(tensor)} are the same factor of "
                f"{shown(parts.path)}"
            )
    return replace(parts, names=names)


def _base_model(metadata: Mapping[str, str]) -> str | None:
    """The base as sd-scripts notes it in the header; no file name of somebody's machine."""
    return metadata.get("ss_base_model_version") or None
