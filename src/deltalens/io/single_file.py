"""A lone `.safetensors` file, or a folder that holds one: its tensor names say whose it is."""

from __future__ import annotations

from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io import diffusers, kohya
from deltalens.io.base import BaseModel
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.strict_json import absolute
from deltalens.io.tensors import TensorFile

_SUFFIX = ".safetensors"


def weights_file(path: Path) -> Path | None:
    """The file itself, diffusers' file in a folder, or the one weight file of a folder."""
    if path.suffix == _SUFFIX:
        return path
    if not path.is_dir():
        return None
    found = sorted(child for child in path.iterdir() if child.suffix == _SUFFIX)
    named = [child for child in found if child.name == diffusers.WEIGHTS]
    return (named or found)[0] if len(named or found) == 1 else None


def recognises(path: Path) -> bool:
    """Whether there is one weight file that one of these tools wrote, or that cannot be read."""
    file = weights_file(path)
    if file is None:
        return False
    try:
        names = TensorFile.open(file).entries
    except AdapterError:
        return True
    return any(tool.speaks(names) for tool in (kohya, diffusers))


def load(
    path: Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open a file of kohya, LyCORIS or diffusers.

    Raises:
        AdapterError: if the tensor names are nobody's that we know.
    """
    file = weights_file(path)
    if file is None:
        raise AdapterError(
            f"{shown(path)}: holds no adapter that is known, nor exactly one {_SUFFIX} file"
        )
    name = name or (absolute(path).name if path != file else file.stem)
    names = TensorFile.open(file, limits=limits).entries
    for tool in (kohya, diffusers):
        if tool.speaks(names):
            return tool.load(file, name=name, base=base, limits=limits)
    found = shown(next(iter(names), "no tensor"))
    raise AdapterError(
        f"{shown(file)}: has no adapter_config.json beside it, and {found} is no name of kohya, "
        "LyCORIS or diffusers; those and PEFT and mlx-lm folders are read"
    )
