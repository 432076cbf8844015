"""LoRA files of diffusers: `pytorch_lora_weights.safetensors`, modules named by dotted path.

Four spellings are in use: `MODULE.lora.down.weight`, `MODULE_lora.down.weight` below `processor`,
`MODULE.lora_linear_layer.down.weight`, and PEFT's `MODULE.lora_A.weight`. The scale is
`alpha / rank` with the file's `MODULE.alpha`, or what the header's `lora_adapter_metadata` says,
and 1 where neither is there (`get_peft_kwargs`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.down_up import opened_pair
from deltalens.io.fields import flag, number, pattern, whole
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.parts import Opened, Parts, adapter_of, refuse_rest, sorted_parts
from deltalens.io.patterns import hits
from deltalens.io.strict_json import parse_object
from deltalens.io.tensor_set import open_tensors

WEIGHTS = "pytorch_lora_weights.safetensors"
METADATA = "lora_adapter_metadata"
_NAMES = re.compile(
    r"^(?P<path>.+?)(?:\.lora|_lora|\.lora_linear_layer)?"
    r"\.(?P<role>down\.weight|up\.weight|lora_A(?:\.default)?\.weight|lora_B(?:\.default)?\.weight"
    r"|lora_down\.weight|lora_up\.weight|alpha)\Z"
)
_PARTS = (
    "unet",
    "text_encoder",
    "text_encoder_2",
    "text_encoder_3",
    "transformer",
    "transformer_2",
)
_MARKS = re.compile(
    rf"(?:\.lora|_lora|\.lora_linear_layer)\.(?:down|up)\.weight\Z"
    rf"|^(?:{'|'.join(_PARTS)})\..+\.lora_[AB](?:\.default)?\.weight\Z"
)
_OTHERS = (
    (r"lora_magnitude_vector", "DoRA (lora_magnitude_vector)"),
    (r"\.lora_B.*\.bias\Z", "LoRA bias vectors"),
    (r"\.(weight|bias)\Z", "a fully saved module"),
)


def speaks(names: Iterable[str]) -> bool:
    """Whether these tensor names are those of diffusers."""
    return any(_MARKS.search(name) for name in names)


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open a diffusers LoRA file: the header and the alphas are read, nothing else is.

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
    refuse_rest(rest, _OTHERS, where, "MODULE.lora.down and MODULE.lora.up")
    if not modules:
        raise AdapterError(f"{where}: holds no LoRA tensors; a down and an up factor are needed")
    pairs = {path: _paired(parts) for path, parts in modules.items()}
    scalings = _told_scalings(tensors.metadata, pairs, where, limits)
    opened: dict[ModuleKey, Opened] = {
        ModuleKey(path): opened_pair(parts, base, limits, scalings.get(path))
        for path, parts in pairs.items()
    }
    return adapter_of(opened, name=name or path.stem, tensors=tensors, format="diffusers-lora")


def _paired(parts: Parts) -> Parts:
    names: dict[str, str] = {}
    for role, tensor in parts.names.items():
        short = "alpha" if role == "alpha" else "down" if "down" in role or "_A" in role else "up"
        other = names.setdefault(short, tensor)
        if other != tensor:
            raise AdapterError(
                f"{parts.where}: tensors {shown(other)} and {shown(tensor)} are the same factor of "
                f"{shown(parts.path)}"
            )
    return Parts(parts.tensors, parts.path, names, parts.where)


def _told_scalings(
    metadata: Mapping[str, str], pairs: Mapping[str, Parts], where: str, limits: Limits
) -> dict[str, float]:
    """Module -> its scaling by the configs in the header, which diffusers trusts over alphas."""
    if METADATA not in metadata:
        return {}
    data = metadata[METADATA].encode()
    told = parse_object(data, lambda why: AdapterError(f"{where}: {METADATA}: {why}"))
    found: dict[str, float] = {}
    for part in sorted({key.partition(".")[0] for key in told}):
        config = {k.partition(".")[2]: v for k, v in told.items() if k.startswith(f"{part}.")}
        inside = [path for path in pairs if path.startswith(f"{part}.")]
        found |= _scalings(config, inside, pairs, f"{where}: {METADATA}: {shown(part, 60)}", limits)
    return found


def _scalings(
    config: Mapping[str, Any],
    paths: list[str],
    pairs: Mapping[str, Parts],
    where: str,
    limits: Limits,
) -> dict[str, float]:
    if config.get("use_dora"):
        raise UnsupportedAdapterError(f"{where}: DoRA (use_dora) is not read here; LoRA is")
    if not paths:
        return {}
    r, alpha = (
        whole(config.get("r"), "r", where),
        number(config.get("lora_alpha"), "lora_alpha", where),
    )
    root = flag(config.get("use_rslora") or False, "use_rslora", where)
    ranks = pattern(config.get("rank_pattern"), whole, "rank_pattern", where)
    alphas = pattern(config.get("alpha_pattern"), number, "alpha_pattern", where)
    rank_hits = hits(list(ranks), paths, where, limits)
    alpha_hits = hits(list(alphas), paths, where, limits)
    found: dict[str, float] = {}
    for path in paths:
        rank = ranks[rank_hits[path][0]] if rank_hits[path] else r
        pairs[path].require(("down", "up"))
        pairs[path].require_equal(
            "the ranks", {"config": rank, "down": pairs[path].shape("down")[0]}
        )
        own = alphas[alpha_hits[path][0]] if alpha_hits[path] else alpha
        found[path] = own / (rank**0.5 if root else rank)
    return found
