"""One door for every format: a path in, an adapter out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.io import peft
from deltalens.io.base import BaseModel
from deltalens.io.limits import DEFAULT_LIMITS, Limits
from deltalens.io.strict_json import absolute, exists

_SUFFIX = ".safetensors"
_MLX = ("adapters.safetensors", "adapters.npz")


@dataclass(frozen=True)
class Reader:
    """A kind of file: whether a path looks like it, and the module whose `load` opens it.

    Looking is cheap and never fails on what it finds; the module is imported when it is needed.
    """

    name: str
    recognises: Callable[[Path], bool]
    module: str


def _is_peft(path: Path) -> bool:
    if path.suffix == _SUFFIX:
        return path.name == peft.WEIGHTS or exists(path.parent / peft.CONFIG)
    return peft.is_adapter(path) or exists(path / peft.INDEX)


def _is_mlx(path: Path) -> bool:
    if path.name in _MLX:
        return True
    return any(exists(path / name) for name in _MLX) and not exists(path / peft.WEIGHTS)


def _is_checkpoint(path: Path) -> bool:
    return exists(path / "model.safetensors") or exists(path / "model.safetensors.index.json")


def _is_on_the_hub(path: Path) -> bool:
    return str(path).startswith("hf:")


def _is_single_file(path: Path) -> bool:
    if path.suffix == _SUFFIX:
        return True
    if not path.is_dir() or exists(path / "config.json") or not any(path.glob(f"*{_SUFFIX}")):
        return False
    from deltalens.io.single_file import recognises

    return recognises(path)


# The first that recognises a path opens it; PEFT's errors are for what nobody recognises.
READERS = (
    Reader("a place on the hub", _is_on_the_hub, "deltalens.io.hub"),
    Reader("mlx-lm", _is_mlx, "deltalens.io.mlx"),
    Reader("PEFT", _is_peft, "deltalens.io.peft"),
    Reader("a full checkpoint", _is_checkpoint, "deltalens.io.checkpoint"),
    Reader("kohya, LyCORIS or diffusers", _is_single_file, "deltalens.io.single_file"),
)


def is_adapter(path: Path) -> bool:
    """Whether a folder or file looks like an adapter of any format, readable or not."""
    return any(reader.recognises(path) for reader in READERS)


def load(
    path: str | Path,
    *,
    name: str | None = None,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Adapter:
    """Open an adapter lazily: config and header are checked, tensors are read when indexed.

    Args:
        path: an adapter's folder or weight file, of any format in `READERS`; a full checkpoint's
            folder; or `hf:owner/name[@revision][/subfolder]`.
        name: how reports call it; the folder's name by default.
        base: the base model, for updates that are defined only with it (`io.base.open_base`).
        limits: what an untrusted file may cost.

    Raises:
        AdapterError: one line naming the file, what was found and what is allowed.
    """
    path = Path(path)
    reader = next((reader for reader in READERS if reader.recognises(path)), None)
    opened = peft if reader is None else import_module(reader.module)
    return opened.load(path, name=name, base=base, limits=limits)


def load_all(
    paths: Sequence[str | Path],
    *,
    base: BaseModel | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> list[Adapter]:
    """Open several adapters; parents are added to a name only to tell equal names apart."""
    return [
        load(path, name=name, base=base, limits=limits)
        for path, name in zip(paths, distinct_names([Path(p) for p in paths]), strict=True)
    ]


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """The shortest distinct tails of the folders' paths, at least the folder's own name.

    A file without a config beside it stands for itself. The same path given twice keeps a running
    number.
    """
    folders = [_named_by(path) for path in paths]
    names = [_shortest_tail(folder, folders) for folder in folders]
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[i] = f"{name}#{seen[name]}"
    return names


def _named_by(path: Path) -> Path:
    if path.suffix != _SUFFIX:
        return absolute(path)
    lone = not exists(path.parent / peft.CONFIG) and path.name != peft.WEIGHTS
    return absolute(path).with_suffix("") if lone else absolute(path.parent)


def _shortest_tail(folder: Path, folders: Sequence[Path]) -> str:
    parts = [p for p in folder.parts if p != folder.anchor] or [str(folder)]
    others = {other for other in folders if other != folder}
    for length in range(1, len(parts) + 1):
        tail = parts[-length:]
        if not any(list(other.parts[-length:]) == tail for other in others):
            return "/".join(tail)
    return "/".join(parts)
