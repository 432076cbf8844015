"""Folders of weight files that stand each for itself, as people keep those of kohya's."""

from __future__ import annotations

import re
from pathlib import Path

from deltalens.core.text import shown
from deltalens.errors import AdapterError

_SUFFIX = ".safetensors"
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors\Z")
_CONFIGS = ("config.json", "adapter_config.json", "model_index.json")


def loose_files(folder: Path) -> list[Path]:
    """The weight files that stand each for itself in a folder, in order of name.

    None where a config or an index says that the files belong together, and no shards: those are
    parts of one model, which must not be taken for adapters.
    """
    try:
        names = {child.name for child in folder.iterdir()}
    except OSError as problem:
        raise AdapterError(f"{shown(folder)}: cannot be read: {problem.strerror}") from None
    if names & set(_CONFIGS) or any(name.endswith(f"{_SUFFIX}.index.json") for name in names):
        return []
    found = [n for n in names if n.endswith(_SUFFIX) and not n.startswith(".")]
    return [folder / n for n in sorted(found) if not _SHARD.search(n) and (folder / n).is_file()]
