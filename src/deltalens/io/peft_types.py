"""PEFT's methods other than LoRA: which file reads which `peft_type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol, cast, runtime_checkable

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.fields import text
from deltalens.io.limits import Limits
from deltalens.io.tensor_set import TensorSet

# peft_type -> the module whose `load_peft` reads it; imported when it is needed.
METHODS: Mapping[str, str] = {
    "LOHA": "deltalens.io.peft_lycoris",
    "LOKR": "deltalens.io.peft_lycoris",
    "ADALORA": "deltalens.io.adalora",
    "VERA": "deltalens.io.vera",
    "IA3": "deltalens.io.ia3",
    "OFT": "deltalens.io.oft",
}
_PROMPTS = (
    *("PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING"),
    *("ADAPTION_PROMPT", "CPT", "CARTRIDGE"),
)


@dataclass(frozen=True)
class PeftFolder:
    """A PEFT adapter whose config and header are read, and whose tensors are not."""

    name: str
    config: Mapping[str, Any]
    tensors: TensorSet
    base: BaseModel | None
    limits: Limits
    where: str

    @property
    def base_model(self) -> str | None:
        """The base as the config names it; never followed."""
        return text(
            self.config.get("base_model_name_or_path"), "base_model_name_or_path", self.where
        )

    @property
    def revision(self) -> str | None:
        """The base's revision as the config names it."""
        return text(self.config.get("revision"), "revision", self.where)


@runtime_checkable
class _Loader(Protocol):
    def __call__(self, folder: PeftFolder) -> Adapter: ...


def method_of(config: Mapping[str, Any], where: str) -> _Loader | None:
    """What reads an adapter of this config; None for LoRA.

    Raises:
        UnsupportedAdapterError: for a method that is not read, by name.
    """
    method = config.get("peft_type", "LORA")
    if method == "LORA":
        return None
    if isinstance(method, str) and method in METHODS:
        return cast("_Loader", import_module(METHODS[method]).load_peft)
    if method in _PROMPTS:
        raise UnsupportedAdapterError(
            f"{where}: peft_type {shown(method, 60)!r} adds to the prompt and changes no weight; "
            "there is no update to read"
        )
    raise UnsupportedAdapterError(
        f"{where}: peft_type {shown(method, 60)!r} is not read; LORA, {', '.join(METHODS)} are"
    )
