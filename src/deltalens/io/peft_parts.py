"""What PEFT's methods other than LoRA have in common: names, and the fields of every config."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.biases import Bias
from deltalens.io.parts import Opened, Parts, adapter_of, refuse_rest, sorted_parts
from deltalens.io.peft_names import strip_prefixes
from deltalens.io.peft_types import PeftFolder

# Fields of every PEFT config that say nothing about dW, or whose effect is read from the tensors.
_COMMON = frozenset(
    [
        *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path"),
        *("revision", "inference_mode", "target_modules", "exclude_modules", "modules_to_save"),
        *("layers_to_transform", "layers_pattern", "init_weights", "bias"),
    ]
)
_OTHERS = (
    (r"base_layer\.", "a copy of the base (base_layer)"),
    (
        r"modules_to_save|\.(weight|bias)\Z",
        "a fully saved module or a bias (modules_to_save, bias)",
    ),
)


def modules_of(
    folder: PeftFolder, roles: Sequence[str], reads: str, known: Iterable[str] = ()
) -> tuple[dict[str, Parts], list[str]]:
    """The modules of a folder whose tensors have these roles, and what is worth a warning.

    Args:
        folder: the opened adapter.
        roles: the ends of tensor names, before an adapter's name and `.weight`.
        reads: the method, for messages.
        known: fields of the config that the method understands.

    Raises:
        UnsupportedAdapterError: for modules that are saved whole beside the method's tensors.
        AdapterError: for tensors that nothing understands, or none at all.
    """
    alternatives = "|".join(roles)
    names = re.compile(
        rf"^(?P<path>.+)\.(?P<role>{alternatives})(?:\.(?P<adapter>(?!weight\Z)[^.]+))?(?:\.weight)?\Z"
    )
    modules, rest = sorted_parts(folder.tensors, names, strip_prefixes, folder.where)
    refuse_rest(rest, _OTHERS, folder.where, reads)
    if not modules:
        raise AdapterError(f"{folder.where}: holds no tensors of {reads}")
    bias = folder.config.get("bias", "none")
    if bias != "none":
        raise UnsupportedAdapterError(
            f"{folder.where}: bias updates (bias = {shown(bias, 40)!r}) are read for LoRA only"
        )
    unknown = sorted(shown(key, 60) for key in folder.config.keys() - _COMMON - set(known))
    listed = shown(", ".join(unknown))
    return modules, [f"config fields not known here and ignored: {listed}"] if unknown else []


def peft_adapter(
    folder: PeftFolder,
    opened: dict[ModuleKey, Opened],
    method: str,
    warnings: Sequence[str],
    biases: dict[str, Bias | None] | None = None,
) -> Adapter:
    """The adapter of a folder, named and described."""
    return adapter_of(
        opened,
        name=folder.name,
        tensors=folder.tensors,
        format=f"peft-{method}",
        base_model=folder.base_model,
        revision=folder.revision,
        warnings=warnings,
        biases=biases,
    )
