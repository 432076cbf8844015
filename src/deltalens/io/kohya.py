"""Adapters of kohya's sd-scripts and of LyCORIS: one `.safetensors` file, no config.

Modules are named in the file (`lora_unet_down_blocks_0_..._to_q`) and keep that name. Each holds
LoRA (`lora_down`, `lora_up`), LoHa (`hada_*`) or LoKr (`lokr_*`), and an `alpha`: the scale is
`alpha / rank`, 1 without alpha, and 1 for a LoKr of two whole matrices (LyCORIS `LokrModule`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.down_up import alpha_scaling, opened_pair
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.loha import loha_rank, opened_loha
from deltalens.io.lokr import lokr_rank, opened_lokr
from deltalens.io.parts import Opened, Parts, adapter_of, refuse_rest, sorted_parts
from deltalens.io.tensor_set import open_tensors

_NAMES = re.compile(
    r"^(?P<path>.+?)\.(?P<role>lora_down\.weight|lora_up\.weight|lora_A\.weight|lora_B\.weight"
    r"|alpha|hada_[wt][12](?:_[ab])?|lokr_[wt][12](?:_[ab])?)\Z"
)
_ROLES = {
    "lora_down.weight": "down",
    "lora_A.weight": "down",
    "lora_up.weight": "up",
    "lora_B.weight": "up",
}
# Endings that only these tools write: one is enough to know a file by.
_MARKS = re.compile(
    r"\.(?:lora_(?:down|up|mid)\.weight|hada_w1_a|lokr_w1(?:_a)?|dora_scale|diff)\Z"
)
_OTHERS = (
    (r"\.lora_mid\.weight\Z", "a convolution's third factor (lora_mid)"),
    (r"\.dora_scale\Z", "DoRA's magnitudes (dora_scale)"),
    (r"\.diff(_b)?\Z", "a full difference (diff)"),
    (r"\.oft_(blocks|diag)\Z|\.rescale\Z", "OFT or BOFT (oft_blocks)"),
    (r"\.[wb]_norm\Z", "trained norms (w_norm, b_norm)"),
    (r"\.on_input\Z", "IA3 (on_input)"),
    (r"\.[ab][12]\.weight\Z|\.bm\.weight\Z", "GLoRA (a1, a2, b1, b2)"),
    (r"\.lora_(down|up)\.bias\Z", "biases of LoRA factors"),
    (r"\.(lambda_layer|[pq]_layer\.weight)\Z", "T-LoRA"),
    (r"\.scalar\Z", "a trained scalar"),
)


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
    kinds: set[str] = set()
    for parts in modules.values():
        kind = _kind(parts)
        kinds.add(kind)
        opened[ModuleKey(parts.path)] = _opened(parts, kind, base, limits)
    return adapter_of(
        opened,
        name=name or path.stem,
        tensors=tensors,
        format=f"kohya-{'-'.join(sorted(kinds))}",
        base_model=_base_model(tensors.metadata),
    )


def _kind(parts: Parts) -> str:
    kinds = {role.partition("_")[0] for role in parts.names if role != "alpha"}
    if not kinds:
        raise AdapterError(f"{parts.where}: {shown(parts.path)} has an alpha and nothing else")
    if len(kinds) > 1:
        raise UnsupportedAdapterError(
            f"{parts.where}: {shown(parts.path)} mixes {', '.join(sorted(kinds))}; "
            "one method a module is read"
        )
    return {"lora": "lora", "hada": "loha", "lokr": "lokr"}[kinds.pop()]


def _opened(parts: Parts, kind: str, base: BaseModel | None, limits: Limits) -> Opened:
    if kind == "lora":
        return opened_pair(_renamed(parts), base, limits)
    if kind == "loha":
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
    return Parts(parts.tensors, parts.path, names, parts.where)


def _base_model(metadata: Mapping[str, str]) -> str | None:
    """The base as sd-scripts notes it in the header; no file name of somebody's machine."""
    return metadata.get("ss_base_model_version") or None
