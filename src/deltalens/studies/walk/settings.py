"""What a walk's points depend on, and the refusal to mix points of two settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.peft import CONFIG
from deltalens.io.provenance import sha256_file

Settings = Mapping[str, str | int | float | bool | None]
"""Setting -> value; flat, so that a changed one can be named."""

_WEIGHTS = ("config.json", "*.safetensors", "*.safetensors.index.json")
# What decides which tokens a text becomes, and where an answer ends.
_READING = (
    *("tokenizer*", "chat_template*", "vocab*", "merges.txt", "special_tokens_map.json"),
    *("added_tokens.json", "generation_config.json"),
)


def digest(settings: Settings) -> str:
    """SHA-256 of all settings, hexadecimal."""
    return hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode()).hexdigest()


def require_equal(old: Settings, new: Settings, folder: Path) -> None:
    """Refuse a folder whose points were measured under other settings.

    Raises:
        OptionError: naming the first setting that differs, its old and its new value.
    """
    changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    if changed:
        name = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        raise OptionError(
            f"{shown(folder)}: its points were measured with {name} = {_value(old.get(name))}, "
            f"now {name} = {_value(new.get(name))}{more}; --fresh starts over"
        )


def adapter_digest(adapter: Adapter) -> str:
    """SHA-256 of an adapter's files, or of its factors where it has none."""
    if adapter.provenance.path:
        files = [Path(file) for file in adapter.provenance.inputs]
        files.append(files[0].parent / CONFIG)
        return _joined({file.name: sha256_file(file) for file in files if file.is_file()})
    found = hashlib.sha256()
    for key, update in adapter.items():
        for factor in (update.B, update.A):
            found.update(f"{key} {factor.dtype} {factor.shape}".encode())
            found.update(np.ascontiguousarray(factor).tobytes())
    return found.hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 over configuration, weights and tokenizer of a model folder."""
    return _digest_of(folder, (*_WEIGHTS, *_READING))


def weights_digest(folder: Path) -> str:
    """SHA-256 over configuration and weights: what a base is to geometry."""
    return _digest_of(folder, _WEIGHTS)


def _digest_of(folder: Path, names: Sequence[str]) -> str:
    files = sorted({file for name in names for file in folder.glob(name) if file.is_file()})
    return _joined({file.name: sha256_file(file) for file in files})


def object_digest(model: Any) -> str:
    """SHA-256 of a model's weights where it holds some that can be read, else of its name."""
    found = hashlib.sha256(str(model.name).encode())
    held = getattr(model, "model", None)
    for name, parameter in getattr(held, "named_parameters", dict[str, Any]().items)():
        found.update(f"{name} {parameter.dtype} {tuple(parameter.shape)}".encode())
        if parameter.device.type != "meta":  # offloaded: its place in the model must do
            found.update(_bytes(parameter))
    return found.hexdigest()


def _bytes(parameter: Any) -> bytes:
    import torch

    flat = parameter.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().tobytes()


def _joined(hashes: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(dict(hashes), sort_keys=True).encode()).hexdigest()


def _value(value: object) -> str:
    return "nothing" if value is None else shown(value, 80)
