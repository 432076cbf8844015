"""Folders that appear whole or not at all, and the provenance that lets them be trusted again."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from deltalens.core.text import shown
from deltalens.errors import OutputError
from deltalens.io.provenance import sha256_file

PROVENANCE: Final = "provenance.json"
_NOTHING: Final = "nothing"
# What training and pre-training write; a folder that holds anything else is somebody's.
_OURS: Final = frozenset(
    {
        "adapter_config.json",
        "adapter_model.safetensors",
        "config.json",
        "initial_lora_A.safetensors",
        "model.safetensors",
        PROVENANCE,
    }
)


def sha256_json(value: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON object with sorted keys, hexadecimal."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object, indented, with a final newline."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def file_records(folder: Path, names: Iterable[str]) -> dict[str, dict[str, int | str]]:
    """Size in bytes and SHA-256 of each named file."""
    return {
        name: {"bytes": (folder / name).stat().st_size, "sha256": sha256_file(folder / name)}
        for name in names
    }


def is_whole(folder: Path, digest: str) -> bool:
    """Whether `folder` was made from exactly the inputs behind `digest` and is unchanged since."""
    try:
        record = json.loads((folder / PROVENANCE).read_text(encoding="utf-8"))
        files: dict[str, Any] = record["files"]
        return record["digest"] == digest and files == file_records(folder, files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def told(record: Mapping[str, Any]) -> dict[str, str]:
    """What a training's record says that it depends on: setting -> value, flat, as text."""
    found: dict[str, str] = {}
    for part, label in (("base", "model"), ("data", "data")):
        entry = _mapping(record.get(part))
        for key, said in (("name", label), ("sha256", f"SHA-256 of {label}")):
            if key in entry:
                found[said] = _text(entry[key])
    for part in ("settings", "spec", "watch"):
        found |= {name: _text(value) for name, value in _mapping(record.get(part)).items()}
    if found.get("steps", _NOTHING) != _NOTHING and "epochs" in found:
        found["epochs"] = _NOTHING  # the steps stand in their place
    return found


def require_same(out: Path, held: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a folder that another training made.

    Args:
        out: the folder.
        held: its record.
        now: the record of the training that is asked for.

    Raises:
        OutputError: naming the first setting that differs, its old and its new value.
    """
    if held.get("digest") == now["digest"]:
        return
    old, new = told(held), told(now)
    changed = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    why = ", which its record does not tell"
    if changed:
        name = changed[0]
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        before, after = (shown(x.get(name, _NOTHING), 80) for x in (old, new))
        name = shown(name, 40)
        why = f": {name} = {before}, now {name} = {after}{more}"
    raise OutputError(
        f"{shown(out)}: holds what other settings made{why}; give another --out, or --fresh to "
        "replace it"
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    if value is None:
        return _NOTHING
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def partial_name(name: str) -> str:
    """Prefix of the temporary folders in which `name` is prepared."""
    return f".{name}.partial-"


@contextmanager
def appears_whole(out: Path) -> Generator[Path]:
    """A temporary sibling of `out`, renamed to `out` on success and removed on failure.

    An existing `out` is replaced only at the end, and only if it holds nothing but such files.

    Raises:
        OutputError: naming what else `out` holds.
    """
    _require_ours(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.parent / f"{partial_name(out.name)}{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _require_ours(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{shown(out)}: is a file; a new folder is needed")
    foreign = sorted(child.name for child in out.iterdir() if child.name not in _OURS)
    if foreign:
        raise OutputError(
            f"{shown(out)}: holds {shown(foreign[0], 80)}, which was not written by training; "
            "a new folder is needed"
        )
