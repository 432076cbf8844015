"""The toy base models: their shape, where the shipped ones lie, how one is loaded and saved."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Literal

from deltalens._extras import require
from deltalens.core.text import shown
from deltalens.errors import BaseModelError
from deltalens.io.hub import model_folder
from deltalens.io.provenance import sha256_file
from deltalens.models import load as loading
from deltalens.organisms.files import sha256_json
from deltalens.organisms.vocabulary import BOS, PAD, VOCABULARY

Architecture = Literal["llama", "qwen2"]
"""What a toy base can be: the two model families of the paper's figures, small."""

BASE_NAME: Final = "deltalens/toy"
"""How adapters of the Llama toy call their base: never a machine path."""

BASE_NAMES: Final[Mapping[str, str]] = {
    "llama": BASE_NAME,
    "qwen2": "deltalens/toy-qwen2",
}
"""How adapters call their base, by its architecture."""

_SHIPPED: Final[Mapping[str, str]] = {"toy": "base", "toy-qwen2": "base-qwen2"}
SHIPPED: Final = tuple(_SHIPPED)
"""The bases that come with the package, as options call them; `deltalens/` before the name is how
adapters do."""

_SHAPE: Final[dict[str, Any]] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 128,
    "intermediate_size": 352,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 64,
    "tie_word_embeddings": True,
    "bos_token_id": BOS,
    "pad_token_id": PAD,
    "eos_token_id": None,
}
PROJECTIONS: Final = (
    "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
)  # fmt: skip


def shipped_base(name: str = "toy") -> Path:
    """Directory of a base that comes with the package.

    Raises:
        BaseModelError: if none of that name does.
    """
    if name not in _SHIPPED:
        raise BaseModelError(
            f"{shown(name, 80)!r} does not come with deltalens; the bases that do are "
            f"{' and '.join(SHIPPED)}"
        )
    return Path(__file__).parent / "data" / _SHIPPED[name]


def base_folder(base: str | Path) -> Path:
    """The directory that an option means: one of `SHIPPED`, a place on the hub, or a path.

    Raises:
        DeltalensError: as `io.hub.fetch_model`, for a place on the hub.
    """
    return shipped_base(str(base)) if str(base) in _SHIPPED else model_folder(base)


def base_digest(base: Path) -> str:
    """SHA-256 over configuration and weights of a base directory.

    Raises:
        BaseModelError: if it is not a directory with `config.json` and `model.safetensors`.
    """
    names = ("config.json", "model.safetensors")
    for name in names:
        if not (base / name).is_file():
            raise BaseModelError(
                f"{base}: no {name}; a base is a directory with {' and '.join(names)}"
            )
    return sha256_json({name: sha256_file(base / name) for name in names})


def new_model(architecture: Architecture = "llama", *, initial_sd: float) -> Any:
    """An untrained base, initialised from torch's global generator.

    Args:
        architecture: `llama` has 834,304 parameters; `qwen2` has 1,536 more, the biases of its
            query, key and value projections, which start at 0.
        initial_sd: standard deviation of the initial weights. At this size transformers' default
            of .02 learns several times more slowly.
    """
    transformers = require("transformers", extra="models", purpose="pre-training the toy base")
    config, model = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
        "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    }[architecture]
    return model(config(**_SHAPE, initializer_range=initial_sd))


def load_model(base: Path) -> Any:
    """The causal language model in `base`, in float32, ready to evaluate.

    Raises:
        BaseModelError: if transformers cannot load it, or weights are missing from it.
    """
    base_digest(base)
    return loading.load(base, dtype="float32", device="cpu").model


def save_model(model: Any, folder: Path) -> None:
    """Save as an ordinary transformers directory, weights in float16."""
    with quiet():
        model.half().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "model.safetensors").chmod(0o644)


def quiet() -> AbstractContextManager[None]:
    """Keep transformers' progress bars, and one warning that PEFT causes in it, off stderr."""
    return loading.quiet(".*is_gradient_checkpointing")
