"""The adapter: put on a model from a seed, read off it, written as plain PEFT files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from deltalens._extras import require
from deltalens.core.files import write_whole
from deltalens.models.load import quiet
from deltalens.training.settings import ALL_LINEAR, TrainSettings

CONFIG: Final = "adapter_config.json"
WEIGHTS: Final = "adapter_model.safetensors"
INITIAL: Final = "initial_lora_A.safetensors"
_PURPOSE: Final = "training"


def with_adapter(model: Any, settings: TrainSettings) -> Any:
    """Wrap a model with a fresh adapter; its `lora_A` comes from `settings.init_seed` alone.

    PEFT draws every `lora_A` on the CPU in float32, module by module, from torch's global
    generator: for equal shapes and targets the device does not matter. Under a bfloat16 base it
    rounds what it drew to bfloat16, and trains that in float32.
    """
    torch = require("torch", extra="models", purpose=_PURPOSE)
    peft = require("peft", extra="models", purpose=_PURPOSE)
    every = settings.targets == (ALL_LINEAR,)
    config = peft.LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        use_rslora=True,
        lora_dropout=0.0,
        target_modules=ALL_LINEAR if every else list(settings.targets),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(settings.init_seed)
    with quiet():
        return peft.get_peft_model(model, config)


def adapter_state(model: Any) -> dict[str, Any]:
    """The adapter's tensors on the CPU, under the names that PEFT gives them in files."""
    peft = require("peft", extra="models", purpose=_PURPOSE)
    with quiet():
        state: dict[str, Any] = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    return {key: tensor.detach().cpu().contiguous().clone() for key, tensor in state.items()}


def set_adapter_state(model: Any, path: Path) -> None:
    """Give an adapter on a model the tensors of a file."""
    peft = require("peft", extra="models", purpose=_PURPOSE)
    from safetensors.torch import load_file

    with quiet():
        peft.set_peft_model_state_dict(model, load_file(path))


def initial_factors(state: Mapping[str, Any]) -> dict[str, Any]:
    """Every `lora_A` of a state."""
    return {key: tensor for key, tensor in state.items() if ".lora_A." in key}


def write_tensors(tensors: Mapping[str, Any], path: Path) -> None:
    """A safetensors file, whole or not at all."""
    from safetensors.torch import save

    write_whole(path, save(dict(tensors), {"format": "pt"}))


def write_adapter(model: Any, base: str, folder: Path) -> None:
    """Write the PEFT files, without the model card and without a path of this machine."""
    write_tensors(adapter_state(model), folder / WEIGHTS)
    config: dict[str, Any] = model.peft_config["default"].to_dict()
    config |= {
        "base_model_name_or_path": base,
        "inference_mode": True,
        "target_modules": sorted(config["target_modules"]),
    }
    text = json.dumps({k: _plain(v) for k, v in config.items()}, indent=2, sort_keys=True)
    write_whole(folder / CONFIG, text.encode() + b"\n")


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value
