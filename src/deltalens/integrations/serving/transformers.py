"""`transformers serve`: small, on any machine, one answer at a time.

It serves folders by their path, and knows no adapters by name; but a folder that holds a whole
model and an adapter beside it is loaded as both. So every point gets a folder under `models/` with
links to the base's files and to the adapter's: no weight is copied. Read in transformers 5.23:
`cli/serving/model_manager.py`, `integrations/peft.py`.

It samples only where the model's own `generation_config.json` says so, and only from the 50
likeliest tokens unless that is said, too: the folder's copy says both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltalens.core.files import write_whole
from deltalens.core.text import shown
from deltalens.errors import BaseModelError, OutputError
from deltalens.integrations.serving.manifest import ServedPoint
from deltalens.integrations.serving.server import Planned, Server
from deltalens.io.limits import DEFAULT_LIMITS
from deltalens.io.strict_json import read_object
from deltalens.io.write import FORMAT

MODELS = "models"
_GENERATION = "generation_config.json"
_PATTERNS = ("config.json", "*.safetensors", "*.safetensors.index.json", "token*", "*.jinja")
_MORE = ("vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json")
_PLAIN_SAMPLING: dict[str, Any] = {
    "do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0,
}  # fmt: skip


def _require(planned: Planned) -> None:
    """What the export writes, PEFT loads; the base must be a folder to link to."""
    base_files(Path(planned.base))


def _command(_base: str, _points: Sequence[ServedPoint]) -> tuple[str, ...]:
    return ("transformers", "serve", "--host", "127.0.0.1", "--port", "8000")


def _link_models(out: Path, base: str, points: Sequence[ServedPoint]) -> None:
    """A folder of links for every point.

    Raises:
        BaseModelError: if the base is no folder with a model.
        OutputError: if a link cannot be made.
    """
    files = base_files(Path(base))
    settings = _generation(Path(base))
    for point in points:
        folder = out / MODELS / point.folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for file in files:
                _link(folder / file.name, file)
            for name in point.sha256:
                _link(folder / name, Path("..", "..", point.folder, name))
        except OSError as error:
            raise OutputError(f"{shown(folder)}: cannot be written: {error.strerror}") from None
        write_whole(folder / _GENERATION, json.dumps(settings, indent=1).encode() + b"\n")


def base_files(base: Path) -> list[Path]:
    """Configuration, weights and tokenizer of a model's folder, absolute.

    Raises:
        BaseModelError: if there is no model.
    """
    if not (base / "config.json").is_file():
        raise BaseModelError(
            f"{shown(base)}: no config.json; --serve transformers needs --base-name to be the "
            "folder of the base model"
        )
    found = {file for pattern in (*_PATTERNS, *_MORE) for file in base.glob(pattern)}
    return sorted(file.resolve() for file in found if file.is_file())


def _generation(base: Path) -> dict[str, Any]:
    file = base / _GENERATION
    held = read_object(file, DEFAULT_LIMITS.config_bytes) if file.is_file() else {}
    held.pop("_from_model_config", None)  # it says that the rest may be thrown away
    return {**held, **_PLAIN_SAMPLING}


def _link(at: Path, to: Path) -> None:
    """A link of ours may be made again; anything else in its place is an error."""
    if at.is_symlink():
        if os.readlink(at) == str(to):  # noqa: PTH115 - the text of the link, whatever it names
            return
        at.unlink()
    at.symlink_to(to)


SERVER = Server(FORMAT, MODELS, _require, _command, _link_models)
