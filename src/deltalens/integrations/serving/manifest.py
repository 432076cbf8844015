"""`serve.json`: which model of a server is which point of a path, and what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io import fields
from deltalens.io.limits import DEFAULT_LIMITS
from deltalens.io.provenance import sha256_file
from deltalens.io.strict_json import read_object
from deltalens.io.write import MADE_BY

SERVE = "serve.json"


@dataclass(frozen=True)
class ServedPoint:
    """One position and the model that stands there.

    Attributes:
        t: the position.
        name: how requests name the model.
        folder: its adapter, beside `serve.json`.
        rank: the largest rank in it.
        sha256: its files by name.
    """

    t: float
    name: str
    folder: str
    rank: int
    sha256: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """What a server was given.

    Attributes:
        server: which kind, a name of `export.SERVERS`.
        base: the base model, as the server calls it.
        path: the kind of path.
        ends: name, base and file hashes of both ends.
        points: the positions, rising.
        command: what starts the server in the folder of `serve.json`.
    """

    server: str
    base: str
    path: str
    ends: tuple[Mapping[str, Any], ...]
    points: tuple[ServedPoint, ...]
    command: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        """What the file holds."""
        return {"made_by": MADE_BY, **asdict(self)}


def hashes_of(folder: Path) -> dict[str, str]:
    """SHA-256 of an adapter's files by name."""
    names = ("adapter_config.json", "adapter_model.safetensors")
    return {name: sha256_file(folder / name) for name in names}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a folder (or of the file itself), whose adapters are as it says.

    Adapters that are not there (they may be on the server's machine only) are taken on its word.

    Raises:
        OptionError: if it is no such file, or an adapter beside it has changed since.
    """
    path = folder / SERVE if folder.is_dir() else folder
    if not path.is_file():
        raise OptionError(
            f"--served {shown(folder)}: no {SERVE}; a folder of deltalens export --serve, or a "
            "pattern with {t}, is needed"
        )
    held, where = read_object(path, DEFAULT_LIMITS.config_bytes), shown(path)
    if held.get("made_by") != MADE_BY:
        raise OptionError(f"{where}: was not written by {MADE_BY} --serve")
    points = tuple(_point(item, where) for item in _list(held.get("points"), "points", where))
    if not points or len({p.t for p in points}) < len(points):
        raise OptionError(f"{where}: points must be one or more, each position once")
    if len({p.name for p in points}) < len(points):
        raise OptionError(f"{where}: two points have one name; a server tells them by it")
    for point in points:
        _require_unchanged(path.parent, point, where)
    return Manifest(
        server=_text(held.get("server"), "server", where),
        base=_text(held.get("base"), "base", where),
        path=_text(held.get("path"), "path", where),
        ends=tuple(
            fields.mapping(end, "an end", where) for end in _list(held.get("ends"), "ends", where)
        ),
        points=tuple(sorted(points, key=lambda point: point.t)),
        command=tuple(
            _text(word, "command", where) for word in _list(held.get("command"), "command", where)
        ),
    )


def _point(value: object, where: str) -> ServedPoint:
    held = fields.mapping(value, "a point", where)
    return ServedPoint(
        t=fields.number(held.get("t"), "t", where),
        name=_text(held.get("name"), "name", where),
        folder=_inside(_text(held.get("folder"), "folder", where), where),
        rank=fields.whole(held.get("rank"), "rank", where),
        sha256={
            _inside(name, where): _text(item, "sha256", where)
            for name, item in fields.mapping(held.get("sha256"), "sha256", where).items()
        },
    )


def _require_unchanged(parent: Path, point: ServedPoint, where: str) -> None:
    for name, wanted in point.sha256.items():
        file = parent / point.folder / name
        if file.is_file() and sha256_file(file) != wanted:
            raise OptionError(
                f"{where}: {shown(file)} has changed since it was exported; export it again"
            )


def _inside(name: str, where: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\\" in name:
        raise OptionError(f"{where}: {shown(name, 80)!r} is no name of a file beside it")
    return name


def _text(value: object, name: str, where: str) -> str:
    found = fields.text(value, name, where)
    if not found:
        raise OptionError(f"{where}: {name} is missing; {SERVE} of deltalens export has one")
    return found


def _list(value: object, name: str, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise OptionError(f"{where}: {name} must be a list; found {shown(value, 60)!r}")
    return value  # pyright: ignore[reportUnknownVariableType]
