"""`hf:owner/name[@revision][/subfolder]`, and which of a repository's files may be fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deltalens.core.text import shown
from deltalens.errors import AdapterError, OptionError

PREFIX = "hf:"
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\Z")
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9_-])?\Z")
_FOLDER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,98}\Z")
ADAPTER_CONFIG = "adapter_config.json"
_CONFIGS = (ADAPTER_CONFIG, "config.json")
_WEIGHTS = (".safetensors", ".safetensors.index.json")
TOKENS = (
    "tokenizer.json", "vocab.json", "vocab.txt", "tokenizer.model", "spiece.model",
    "sentencepiece.bpe.model",
)  # fmt: skip
"""Files that hold a tokenizer's tokens: one of them is what makes a tokenizer."""

TOKENIZER_DATA = (
    *TOKENS, "merges.txt", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.jinja", "chat_template.json", "generation_config.json",
)  # fmt: skip
"""What a model needs in order to speak: data, each of a form that runs no code when it is read."""


@dataclass(frozen=True)
class HubPath:
    """A place in a repository of the hub.

    Attributes:
        repo: `owner/name`.
        revision: branch, tag or commit; `"main"` by default.
        subfolder: inside the repository, `""` for its root.
    """

    repo: str
    revision: str = "main"
    subfolder: str = ""

    @property
    def name(self) -> str:
        """How reports call it: the last part that a person wrote."""
        return (self.subfolder or self.repo).rpartition("/")[2]


def parse(text: str) -> HubPath:
    """Take a hub path apart; a revision may not hold `/`, since a subfolder follows.

    Raises:
        OptionError: naming the text and the allowed form.
    """
    rest = text.removeprefix(PREFIX)
    owner, _, after = rest.partition("/")
    second, _, subfolder = after.partition("/")
    name, at, revision = second.partition("@")
    good = _PART.match(owner) and _PART.match(name) and (not at or _REVISION.match(revision))
    parts = subfolder.split("/") if subfolder else []
    if not good or not all(_FOLDER.match(part) for part in parts) or ".." in rest:
        raise OptionError(f"{shown(text)!r}: hf:owner/name[@revision][/subfolder] is the form")
    return HubPath(f"{owner}/{name}", revision or "main", subfolder)


def wanted(sizes: Mapping[str, int | None], place: HubPath, *, speaking: bool = False) -> list[str]:
    """The files of an adapter or model folder: config, safetensors and index; nothing else.

    Args:
        sizes: every file of the repository, by its path there.
        place: repository and subfolder.
        speaking: only a whole model will do, and its tokenizer's data files are taken, too.

    Raises:
        AdapterError: for a file name that leaves the folder, or if there is nothing to read.
    """
    prefix = f"{place.subfolder}/" if place.subfolder else ""
    inside = [name.removeprefix(prefix) for name in sizes if name.startswith(prefix)]
    for name in inside:
        _require_harmless(name, place)
    here = [name for name in inside if "/" not in name]
    weights = [name for name in here if name.endswith(_WEIGHTS)]
    adapter = [name for name in weights if name.startswith("adapter")]
    if speaking:
        chosen = _of_a_model(here, place, inside)
    elif ADAPTER_CONFIG in here and adapter:
        chosen = [ADAPTER_CONFIG, *adapter]
    elif weights:
        model = [name for name in weights if name.startswith("model")]
        configs = [name for name in _CONFIGS if name in here]
        chosen = [*configs, *(_unconsolidated(model) or weights)]
    else:
        raise AdapterError(_nothing(inside, place))
    for name in chosen:
        if shown(name, 4096) != name:
            raise _evil(name, place)
    return [prefix + name for name in chosen]


def _of_a_model(here: Sequence[str], place: HubPath, inside: Sequence[str]) -> list[str]:
    model = [name for name in here if name.startswith("model") and name.endswith(_WEIGHTS)]
    where = f"hf:{place.repo}@{shown(place.revision)}"
    if ADAPTER_CONFIG in here:
        raise AdapterError(f"{where}: holds an adapter; a whole model is needed")
    if not model:
        raise AdapterError(_nothing(inside, place))
    if "config.json" not in here:
        raise AdapterError(f"{where}: has no config.json; a whole model is needed")
    return ["config.json", *_unconsolidated(model), *(n for n in here if n in TOKENIZER_DATA)]


def _unconsolidated(model: Sequence[str]) -> list[str]:
    """One file where there is one, else shards and their index."""
    return ["model.safetensors"] if "model.safetensors" in model else list(model)


def _require_harmless(name: str, place: HubPath) -> None:
    parts = name.split("/")
    if "\\" in name or "\0" in name or any(part in ("", ".", "..") for part in parts):
        raise _evil(name, place)


def _evil(name: str, place: HubPath) -> AdapterError:
    return AdapterError(
        f"hf:{place.repo}: lists a file {shown(name, 120)!r}; "
        "plain names inside the repository are allowed"
    )


def _nothing(inside: Sequence[str], place: HubPath) -> str:
    below = sorted({n.rpartition("/")[0] for n in inside if "/" in n and n.endswith(_WEIGHTS)})
    where = f"hf:{place.repo}@{shown(place.revision)}"
    where += f"/{place.subfolder}" if place.subfolder else ""
    if below:
        listed = ", ".join(shown(folder, 60) for folder in below[:5])
        return f"{where}: holds safetensors only in subfolders; name one of them: {listed}"
    if any(n.endswith((".bin", ".pt", ".pth", ".ckpt")) for n in inside):
        return f"{where}: holds only pickles, which can run code and are never fetched"
    return f"{where}: holds no safetensors file"
