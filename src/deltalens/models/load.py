"""A model from a local directory: nothing is fetched, no foreign code runs, no pickle opens."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deltalens._extras import require
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, OptionError

_PURPOSE = "loading a model"
_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json", "spiece.model",
)  # fmt: skip


class Loaded(NamedTuple):
    """A causal language model in evaluation mode, and its tokenizer or None."""

    model: Any
    tokenizer: Any


def load(
    folder: Path,
    *,
    dtype: str | None = None,
    device: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
) -> Loaded:
    """Load a causal language model with transformers.

    Args:
        folder: a directory with `config.json` and safetensors.
        dtype: name of a torch dtype, `"auto"` for the stored one; by default float32 on a CPU,
            where half precision is slow, and the stored one elsewhere.
        device: one device for everything; by default CUDA where there is one.
        device_map: as accelerate understands it; then no `device`.

    Raises:
        BaseModelError: if transformers cannot load it, or weights are missing from it.
        OptionError: if both `device` and `device_map` are given, or the dtype is unknown.
    """
    torch = require("torch", extra="models", purpose=_PURPOSE)
    if device is not None and device_map is not None:
        raise OptionError("device and device_map are both given, where one is allowed")
    if not (folder / "config.json").is_file():
        raise BaseModelError(f"{folder}: no config.json; a model is a directory that has one")
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    on_cpu = device_map is None and torch.device(place).type == "cpu"
    wanted = dtype or ("float32" if on_cpu else "auto")
    if wanted != "auto" and not isinstance(getattr(torch, wanted, None), torch.dtype):
        raise OptionError(f"dtype is {wanted!r}: a torch dtype such as 'bfloat16' is needed")
    model = _model(folder, dtype=wanted, device_map=device_map)
    if device_map is None:
        model = model.to(place)
    return Loaded(model.eval(), load_tokenizer(folder))


def _model(folder: Path, **options: Any) -> Any:
    transformers = require("transformers", extra="models", purpose=_PURPOSE)
    try:
        with quiet():
            model, info = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # whatever transformers and safetensors raise for a broken file
        raise BaseModelError(f"{folder}: not a loadable model: {shown(error)}") from error
    missing = sorted(info["missing_keys"])
    if missing:
        raise BaseModelError(
            f"{folder}: {len(missing)} weights are missing, the first {shown(missing[0])}: "
            "a model with random parts cannot be measured"
        )
    return model


def has_tokenizer(folder: Path) -> bool:
    """Whether a model's directory has the files of a tokenizer."""
    return any((folder / name).is_file() for name in _TOKENIZER_FILES)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a model's directory, or None where there is none.

    Raises:
        BaseModelError: if there is one that transformers cannot read.
    """
    if not has_tokenizer(folder):
        return None
    transformers = require("transformers", extra="models", purpose=_PURPOSE)
    try:
        with quiet():
            return transformers.AutoTokenizer.from_pretrained(
                folder, local_files_only=True, trust_remote_code=False
            )
    except Exception as error:
        raise BaseModelError(f"{folder}: its tokenizer cannot be read: {shown(error)}") from error


@contextmanager
def quiet(hushed: str = "") -> Generator[None]:
    """Keep transformers' progress bars, reports and warnings off stderr while it loads.

    Args:
        hushed: which warnings, a pattern that their text begins with; all by default.
    """
    log = require("transformers", extra="models", purpose=_PURPOSE).utils.logging
    shown_bars, level = log.is_progress_bar_enabled(), log.get_verbosity()
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", hushed)
            yield
    finally:
        log.set_verbosity(level)
        if shown_bars:
            log.enable_progress_bar()
