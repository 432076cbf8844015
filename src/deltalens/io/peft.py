"""PEFT LoRA adapters in safetensors.

`dW = scaling * B @ A` with `scaling = alpha / r`, or `alpha / sqrt(r)` under rsLoRA, rank and alpha
per module where patterns say so; what changes that (DoRA, PiSSA, modules saved whole, ...) lies in
files of its own. The truth that all of it is tested against is PEFT's own merge.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter, Provenance
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.biases import Bias, bias_updates
from deltalens.io.experts import Expert
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.peft_config import TAKEN, LoraSettings, lora_settings
from deltalens.io.peft_names import Names, parse_names
from deltalens.io.peft_pairs import GAUGE_NOTE, PairReader
from deltalens.io.peft_types import PeftFolder, method_of
from deltalens.io.sources import Factors, Source, Sources
from deltalens.io.strict_json import absolute, exists, read_object
from deltalens.io.tensor_set import TensorSet, open_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
__all__ = ["CONFIG", "GAUGE_NOTE", "INDEX", "WEIGHTS", "is_adapter", "load"]


def is_adapter(folder: Path) -> bool:
    """Whether a folder looks like a PEFT adapter, readable or not."""
    return exists(folder / CONFIG) or exists(folder / WEIGHTS)


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open a PEFT LoRA adapter: the config and the header are read, the tensors are not.

    Args:
        path: the adapter's folder, or its `.safetensors` file with the config beside it.
        name: how reports call it; the folder's name by default.
        base: the base model, for updates that are defined only with it.
        limits: what an untrusted file may cost.

    Raises:
        AdapterError: naming the file, what was found and what is allowed.
        UnsupportedAdapterError: for a method or format that is not read yet, by name.
    """
    weights = _weights_file(path)
    where = shown(weights.parent)
    config = read_object(weights.parent / CONFIG, limits.config_bytes)
    method = method_of(config, f"{where}/{CONFIG}")
    tensors = open_tensors(weights, limits=limits)
    if method is not None:
        folder = name or absolute(weights.parent).name
        return method(PeftFolder(folder, config, tensors, base, limits, where))
    settings = lora_settings(config, f"{where}/{CONFIG}")
    names = parse_names(tensors.entries, where)
    if base is not None and settings.layers:
        base = base.replicated(settings.layers)
    found = _read(_Opened(tensors, names, settings, base, where, limits))
    if not found.sources:
        raise AdapterError(
            f"{where}: holds no LoRA tensors; lora_A and lora_B are needed{found.hint}"
        )
    specs = {key: source.spec for key, source in found.sources.items()}
    details: dict[str, Any] = {"scaling": found.scalings, "init": settings.init}
    if settings.layers:
        details["layers"] = settings.layers
    provenance = Provenance(
        str(weights),
        "peft-lora",
        settings.revision,
        tuple(found.warnings),
        details,
        tensors.shards,
    )
    return Adapter(
        name or absolute(weights.parent).name,
        specs,
        lambda key: found.sources[key].read(),
        settings.base_model,
        provenance,
        lambda key, B, A: found.sources[key].fill(B, A),
        found.biases,
    )


@dataclass(frozen=True)
class _Opened:
    tensors: TensorSet
    names: Names
    settings: LoraSettings
    base: BaseModel | None
    where: str
    limits: Limits


@dataclass(frozen=True)
class _Found:
    sources: Sources
    biases: Mapping[str, Bias | None]
    scalings: list[float]
    warnings: list[str]
    hint: str = ""


def _read(o: _Opened) -> _Found:
    settings, where, others = o.settings, o.where, o.names.others
    warnings = [*settings.warnings]
    pairs = PairReader(o.tensors, settings, o.base, where, o.limits)
    plain = pairs.sources(o.names.factors, warnings)
    scalings = {str(key): s.scaling for key, s in plain.items() if isinstance(s, Factors)}
    sources = _changed(o, plain)
    whole = _whole(o, warnings)
    twice = sorted(sources.keys() & whole.keys())
    if twice:
        raise AdapterError(
            f"{where}: {shown(twice[0])} has LoRA factors and is saved whole; one is allowed"
        )
    trained, copies = _trained_biases(others.get("bias", {}), settings, o.names.copies)
    lora = {path: (name, scalings[path]) for path, name in _lora_biases(o, scalings).items()}
    biases = bias_updates(trained, lora, o.tensors, o.base, where)
    if copies:
        warnings.append(f"ignored copies of base weights (base_layer): {copies}")
    if any(bias is None for bias in biases.values()):
        warnings.append("trained biases: their change is not measured without the base (--base)")
    warnings += _tied({**sources, **whole}, o.base)
    warnings += _packed(sources, o.base)
    every = sorted({s.scaling for s in plain.values() if isinstance(s, Factors | Expert)})
    hint = "; modules saved whole need --base" if others and o.base is None else ""
    return _Found({**sources, **whole}, biases, every, warnings, hint)


def _changed(o: _Opened, plain: dict[ModuleKey, Source]) -> dict[ModuleKey, Source]:
    """The plain updates, as DoRA or an initialisation out of the base changes them."""
    magnitudes, settings = o.names.others.get("magnitude", {}), o.settings
    if settings.init in TAKEN:
        from deltalens.io.initialised import without_taken_part

        if settings.dora or magnitudes:
            raise UnsupportedAdapterError(
                f"{o.where}: DoRA on {settings.init} is not read; convert it to plain DoRA"
            )
        return without_taken_part(plain, settings.init, o.base, o.where)
    if settings.dora or magnitudes:
        from deltalens.io.dora import with_magnitudes

        return with_magnitudes(plain, magnitudes, o.tensors, o.base, settings.dora, o.where)
    return plain


def _whole(o: _Opened, warnings: list[str]) -> dict[ModuleKey, Source]:
    """Modules and token rows that the file holds as they became, not as they changed."""
    others, found = o.names.others, dict[ModuleKey, Source]()
    if "saved" in others:
        from deltalens.io.saved_modules import saved_modules

        saved = saved_modules(others["saved"], o.tensors, o.base, o.where)
        warnings += saved.warnings
        found |= saved.sources
    if "tokens" in others or o.settings.tokens:
        from deltalens.io.trainable_tokens import trained_tokens

        tokens = trained_tokens(
            others.get("tokens", {}), o.settings.tokens, o.tensors, o.base, o.where, o.limits
        )
        warnings += tokens.warnings
        if found.keys() & tokens.sources.keys():
            raise AdapterError(f"{o.where}: token rows of a module that is saved whole")
        found |= tokens.sources
    return found


def _trained_biases(
    found: Mapping[str, str], settings: LoraSettings, copies: tuple[str, ...]
) -> tuple[dict[str, str], int]:
    """Biases that were trained, and how many tensors are copies of the base's."""
    if settings.bias != "none":
        return dict(found), len(copies)
    trained = {path: name for path, name in found.items() if ".base_layer." not in name}
    return trained, len(copies) + len(found) - len(trained)


def _lora_biases(o: _Opened, scalings: Mapping[str, float]) -> Mapping[str, str]:
    found = o.names.others.get("lora_bias", {})
    if o.settings.lora_bias != bool(found):
        raise AdapterError(
            f"{o.where}: lora_bias is {str(o.settings.lora_bias).lower()} in the config, with "
            f"{len(found)} biases of lora_B in the file"
        )
    lone = [path for path in found if path not in scalings]
    if lone:
        raise AdapterError(f"{o.where}: {shown(found[lone[0]])} is the bias of no LoRA module")
    return found


def _tied(sources: Sources, base: BaseModel | None) -> list[str]:
    """A warning where the base uses one weight twice: an update of one acts at both."""
    if base is None or (tied := base.tied_to("lm_head")) is None:
        return []
    at = sorted(str(key) for key in sources if base.find(key.path) == tied)
    return [f"{shown(path)}: the base ties embedding and head: it acts at both" for path in at]


def _packed(sources: Sources, base: BaseModel | None) -> list[str]:
    """A warning where a quantiser packed the base's weights: nothing can be compared with them."""
    if base is None:
        return []
    at = [key.path for key in sources if key.path in base and not base.readable(key.path)]
    if not at:
        return []
    more = f" and {len(at) - 1} more" if len(at) > 1 else ""
    return [f"{shown(at[0])}{more}: the base holds packed (quantised) weights: shapes not checked"]


def _weights_file(path: Path) -> Path:
    if path.suffix == ".safetensors":
        return path
    if path.suffix in (".bin", ".pt", ".pth", ".ckpt"):
        raise UnsupportedAdapterError(
            f"{shown(path)}: a pickle can run code and is never opened; safetensors is read"
        )
    if not exists(path):
        raise AdapterError(f"{shown(path)}: no such file or folder; a PEFT adapter is needed")
    if not path.is_dir():
        raise AdapterError(f"{shown(path)}: not a folder and not a .safetensors file")
    if exists(path / WEIGHTS):
        return path / WEIGHTS
    if exists(path / INDEX):
        return path / INDEX
    if exists(path / "adapter_model.bin"):
        raise UnsupportedAdapterError(
            f"{shown(path)}: holds adapter_model.bin; a pickle can run code and is never opened; "
            f"{WEIGHTS} is read"
        )
    raise AdapterError(f"{shown(path)}: holds no {WEIGHTS}")
