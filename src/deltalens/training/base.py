"""The model that is fine-tuned: where it lies, what adapters call it, what it is made of."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from deltalens._extras import require
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, OptionError
from deltalens.io import hub, hub_names
from deltalens.io.provenance import sha256_file
from deltalens.io.strict_json import absolute
from deltalens.models.load import quiet
from deltalens.organisms.base import base_folder
from deltalens.organisms.files import sha256_json
from deltalens.organisms.toys import toy_name
from deltalens.training.settings import ALL_LINEAR

_PURPOSE: Final = "training"
# A hub cache's own folders: models--owner--name/snapshots/commit.
_SNAPSHOT: Final = re.compile(r"models--([^/]+?)--([^/]+)/snapshots/[^/]+\Z")


@dataclass(frozen=True, slots=True)
class Base:
    """A model on this machine.

    Attributes:
        folder: where it lies; read only.
        name: what adapters call it: never a path of this machine.
    """

    folder: Path
    name: str

    def digest(self) -> str:
        """SHA-256 over its configuration and weights."""
        return sha256_json({name: sha256_file(self.folder / name) for name in self._files()})

    def _files(self) -> list[str]:
        weights = sorted(path.name for path in self.folder.glob("*.safetensors"))
        if not weights:
            raise BaseModelError(f"{shown(self.folder)}: no .safetensors; weights are read from it")
        return ["config.json", *weights]


def base_of(model: str) -> Base:
    """The model that an option means: a toy by name, a folder, or `hf:owner/name[@revision]`.

    Raises:
        BaseModelError: if there is no model.
        OptionError: for a place on the hub, where models are not fetched.
    """
    if model.startswith(hub_names.PREFIX):
        # The door that fetches a model with its tokenizer; adapters have one of their own.
        fetch = getattr(hub, "model_folder", None)
        if fetch is None:
            raise OptionError(
                f"--model {shown(model, 80)!r}: models are not fetched from the hub here; "
                "give the folder that it was downloaded to"
            )
        return Base(Path(fetch(model)), hub_names.parse(model).repo)
    folder = base_folder(model)
    if not (folder / "config.json").is_file():
        raise BaseModelError(
            f"{shown(folder)}: no config.json; a model is a directory that has one"
        )
    return Base(folder, _name(folder))


def _name(folder: Path) -> str:
    where = absolute(folder, BaseModelError)
    cached = _SNAPSHOT.search(where.as_posix())
    if cached is not None:
        return "/".join(cached.groups())
    return toy_name(folder) or where.name


@dataclass(frozen=True, slots=True)
class Outline:
    """A model's modules and sizes, known without its weights.

    Attributes:
        parameters: numbers in its weights, tied ones once.
        linear: path -> `(out, in)` of every linear module but the head.
        vocabulary: token ids.
    """

    parameters: int
    linear: Mapping[str, tuple[int, int]]
    vocabulary: int

    def targets(self, names: tuple[str, ...]) -> dict[str, tuple[int, int]]:
        """The modules that get an adapter.

        Raises:
            OptionError: for a name that is no linear module's, with the names that are.
        """
        if names == (ALL_LINEAR,):
            return dict(self.linear)
        found: dict[str, tuple[int, int]] = {}
        for name in names:
            matched = {p: s for p, s in self.linear.items() if p == name or p.endswith(f".{name}")}
            if not matched:
                known = dict.fromkeys(path.rpartition(".")[2] for path in self.linear)
                raise OptionError(
                    f"--targets: {shown(name, 60)!r} is no linear module of the model; it has "
                    f"{shown(', '.join(known))}, and {ALL_LINEAR} means all of them"
                )
            found |= matched
        return found


def outline(base: Base) -> Outline:
    """Build the model without memory for its weights and look at it.

    Raises:
        BaseModelError: if transformers does not know it.
    """
    torch = require("torch", extra="models", purpose=_PURPOSE)
    transformers = require("transformers", extra="models", purpose=_PURPOSE)
    from transformers.pytorch_utils import Conv1D

    try:
        with quiet(), torch.device("meta"):
            config = transformers.AutoConfig.from_pretrained(
                base.folder, local_files_only=True, trust_remote_code=False
            )
            model = transformers.AutoModelForCausalLM.from_config(config)
    except Exception as error:  # whatever transformers raises for a configuration it cannot build
        raise BaseModelError(
            f"{shown(base.folder)}: no causal language model that transformers knows: "
            f"{shown(error)}"
        ) from error
    head = model.get_output_embeddings()
    linear: dict[str, tuple[int, int]] = {}
    for path, module in model.named_modules():
        if module is not head and isinstance(module, torch.nn.Linear):
            linear[path] = (module.out_features, module.in_features)
        elif isinstance(module, Conv1D):
            linear[path] = (module.weight.shape[1], module.weight.shape[0])
    total = sum(parameter.numel() for parameter in model.parameters())
    return Outline(total, linear, _vocabulary(model))


def _vocabulary(model: Any) -> int:
    return int(model.get_input_embeddings().num_embeddings)
