"""`adapter_config.json`: which fields matter for dW, read strictly."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.fields import flag, number, pattern, text, whole

# Initialisations after which dW is still `scaling * B @ A`.
_PLAIN_INITS = ("true", "false", "gaussian", "eva", "orthogonal", "mica")
# Fields of PEFT 0.21 that change nothing about dW, or whose effect is read from the tensors.
_HARMLESS = frozenset(
    [
        "task_type",
        "peft_type",
        "auto_mapping",
        "peft_version",
        "base_model_name_or_path",
        "revision",
        "inference_mode",
        "r",
        "target_modules",
        "exclude_modules",
        "lora_alpha",
        "lora_dropout",
        "fan_in_fan_out",
        "bias",
        "use_rslora",
        "modules_to_save",
        "init_lora_weights",
        "layers_to_transform",
        "layers_pattern",
        "rank_pattern",
        "alpha_pattern",
        "megatron_config",
        "megatron_core",
        "trainable_token_indices",
        "loftq_config",
        "eva_config",
        "corda_config",
        "lora_ga_config",
        "use_dora",
        "velora_config",
        "alora_invocation_tokens",
        "use_qalora",
        "qalora_group_size",
        "monteclora_config",
        "layer_replication",
        "runtime_config",
        "lora_bias",
        "target_parameters",
        "use_bdlora",
        "arrow_config",
        "kasa_config",
        "ensure_weight_tying",
    ]
)
# Field -> what it means, refused when it is set: the update is not `scaling * B @ A`.
_UNREAD: Mapping[str, str] = {
    "use_qalora": "QALoRA",
    "use_bdlora": "BD-LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
}
_FLAGS = ("use_dora", "use_qalora", "use_rslora", "lora_bias", "fan_in_fan_out")
_BIASES = ("none", "all", "lora_only")
# Initialisations that take a part out of the base, which is rebuilt from the base.
TAKEN = ("pissa", "olora")
# Layers of a model, replicated ones included.
_LAYERS = 10_000
_QUANTISED = re.compile(r"(?i)4bit|8bit|bnb|gptq|awq|int4|int8|fp8|gguf")


@dataclass(frozen=True)
class LoraSettings:
    """What of a PEFT LoRA config determines dW.

    Attributes:
        r: default rank.
        alpha: default `lora_alpha`; may be 0 or negative.
        rslora: scaling is `alpha / sqrt(r)` instead of `alpha / r`.
        rank_pattern: pattern -> rank, in file order.
        alpha_pattern: pattern -> alpha, in file order.
        init: the initialisation as a word, `"true"` being PEFT's default.
        dora: whether magnitudes rescale the rows of the changed weight.
        fan_in_fan_out: whether the config says that weights are stored as `(in, out)`.
        bias: `"none"`, `"all"` or `"lora_only"`: which of the base's biases were trained.
        lora_bias: whether B has a bias of its own.
        parameters: names of the parameters that LoRA changes directly (experts).
        tokens: module -> the rows that were trained; the path `""` stands for the embedding.
        layers: the base's layer of each layer, where layers were replicated; else empty.
        base_model: the base as the file names it; never followed.
        revision: the base's revision as the file names it.
        warnings: what a reader should know.
    """

    r: int
    alpha: float
    rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    init: str
    base_model: str | None
    revision: str | None
    warnings: tuple[str, ...]
    dora: bool = False
    fan_in_fan_out: bool = False
    bias: str = "none"
    lora_bias: bool = False
    parameters: tuple[str, ...] = ()
    tokens: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, "tuple[int, ...]"])
    layers: tuple[int, ...] = ()

    def scaling(self, rank: int, alpha: float) -> float:
        """`alpha / r`, or `alpha / sqrt(r)` under rsLoRA (PEFT `LoraLayer.update_layer`)."""
        return alpha / math.sqrt(rank) if self.rslora else alpha / rank


def lora_settings(config: Mapping[str, Any], where: str) -> LoraSettings:
    """Check a config and keep what matters.

    Raises:
        UnsupportedAdapterError: for a method that is not read yet, by name.
        AdapterError: for a field of the wrong type or value.
    """
    _require_lora(config, where)
    warnings = _warnings(config)
    rank, alpha = config.get("r", 8), config.get("lora_alpha", 8)
    if "r" not in config:
        warnings.append("r is missing from the config; PEFT's default 8 is assumed")
    if "lora_alpha" not in config:
        warnings.append("lora_alpha is missing from the config; PEFT's default 8 is assumed")
    base, revision = config.get("base_model_name_or_path"), config.get("revision")
    return LoraSettings(
        r=whole(rank, "r", where),
        alpha=number(alpha, "lora_alpha", where),
        rslora=bool(config.get("use_rslora", False)),
        rank_pattern=pattern(config.get("rank_pattern"), whole, "rank_pattern", where),
        alpha_pattern=pattern(config.get("alpha_pattern"), number, "alpha_pattern", where),
        init=_init(config, where),
        base_model=text(base, "base_model_name_or_path", where),
        revision=text(revision, "revision", where),
        warnings=tuple(warnings),
        dora=bool(config.get("use_dora")),
        fan_in_fan_out=bool(config.get("fan_in_fan_out")),
        bias=config.get("bias", "none"),
        lora_bias=bool(config.get("lora_bias")),
        parameters=_texts(config.get("target_parameters"), "target_parameters", where),
        tokens=_tokens(config.get("trainable_token_indices"), where),
        layers=_replicated(config.get("layer_replication"), where),
    )


def _require_lora(config: Mapping[str, Any], where: str) -> None:
    method = config.get("peft_type", "LORA")
    if method != "LORA":
        raise UnsupportedAdapterError(
            f"{where}: peft_type {shown(method, 60)!r} is not read yet; LORA is"
        )
    for name in _FLAGS:
        if config.get(name) is not None:
            flag(config[name], name, where)
    for name, meaning in _UNREAD.items():
        if config.get(name):
            raise UnsupportedAdapterError(f"{where}: {meaning} ({name}) is not read; LoRA is")
    bias = config.get("bias", "none")
    if bias not in _BIASES:
        raise AdapterError(
            f"{where}: bias must be one of {', '.join(_BIASES)}; found {shown(bias, 40)!r}"
        )


def _init(config: Mapping[str, Any], where: str) -> str:
    value = config.get("init_lora_weights", True)
    word = str(value).lower() if isinstance(value, bool | str) else ""
    if word in (*_PLAIN_INITS, *TAKEN):
        return word
    raise UnsupportedAdapterError(
        f"{where}: init_lora_weights {shown(value, 60)!r} is not read: what it takes out of the "
        f"base cannot be rebuilt; read are {', '.join((*_PLAIN_INITS, *TAKEN))}"
    )


def _texts(value: object, name: str, where: str) -> tuple[str, ...]:
    items = [] if value is None else value
    if not isinstance(items, list) or not all(
        isinstance(item, str) for item in cast("list[object]", items)
    ):
        raise AdapterError(f"{where}: {name} must be a list of text; found {shown(value, 60)!r}")
    return tuple(cast("list[str]", items))


def _tokens(value: object, where: str) -> dict[str, tuple[int, ...]]:
    named = {"": value} if isinstance(value, list) else value
    if named is None:
        return {}
    if isinstance(named, dict):
        items = cast("dict[str, object]", named)
        if all(_are_rows(rows) for rows in items.values()):
            return {name: tuple(cast("list[int]", rows)) for name, rows in items.items() if rows}
    raise AdapterError(
        f"{where}: trainable_token_indices must be distinct row numbers, or map modules to them; "
        f"found {shown(value, 60)!r}"
    )


def _replicated(value: object, where: str) -> tuple[int, ...]:
    """`[[0, 4], [2, 5]]` is layers 0, 1, 2, 3, 2, 3, 4 of the base (PEFT `replicate_layers`)."""
    spans: list[Any] = [] if value is None else [value]
    if isinstance(value, list):
        spans = cast("list[Any]", value)
    found: list[int] = []
    for span in spans:
        if not _is_span(span) or len(found) > _LAYERS:
            raise AdapterError(
                f"{where}: layer_replication must be pairs [start, end] of at most {_LAYERS} "
                f"layers; found {shown(value, 60)!r}"
            )
        found += range(*span)
    return tuple(found)


def _is_span(value: object) -> bool:
    if not isinstance(value, list) or len(cast("list[object]", value)) != 2:
        return False
    start, end = cast("list[object]", value)
    if type(start) is not int or type(end) is not int:
        return False
    return 0 <= start <= end <= _LAYERS


def _are_rows(value: object) -> bool:
    if not isinstance(value, list):
        return False
    rows = cast("list[object]", value)
    whole = all(type(row) is int and 0 <= row < 2**48 for row in rows)
    return whole and len(set(rows)) == len(rows)


def _warnings(config: Mapping[str, Any]) -> list[str]:
    warnings: list[str] = []
    if config.get("alora_invocation_tokens"):
        warnings.append("aLoRA: the update acts only after its invocation tokens")
    if config.get("layer_replication"):
        warnings.append("layer_replication: layer numbers are those of the replicated model")
    if _QUANTISED.search(str(config.get("base_model_name_or_path"))):
        warnings.append("the base is quantised: the update adds to its dequantised weights")
    if config.get("megatron_config"):
        warnings.append("megatron_config is set; the tensors are read as they are")
    unknown = sorted(shown(key, 60) for key in config.keys() - _HARMLESS)
    if unknown:
        warnings.append(f"config fields not known here and ignored: {shown(', '.join(unknown))}")
    return warnings
