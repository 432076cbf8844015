"""What lies in --out: while a training runs, after it, and what may be replaced.

.training/                  while it runs, to go on from; gone afterwards
initial_lora_A.safetensors  before the first step
checkpoint-STEP/            plain PEFT adapters, if asked for
adapter_config.json, adapter_model.safetensors, provenance.json    at the end
geometry.json, geometry.parquet, training.svg, training.png        at the end, if asked for
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from deltalens.core.locks import lock
from deltalens.core.text import shown
from deltalens.errors import OptionError, OutputError
from deltalens.io.results import prepare_folder, write_document
from deltalens.organisms.files import PROVENANCE, is_whole, require_same
from deltalens.training.lora import CONFIG, INITIAL, WEIGHTS

WORK: Final = ".training"
RECORD: Final = "run.json"
GEOMETRY: Final = "geometry.json"
FIGURE: Final = "training"
_WHOLE: Final = "whole"
_FILES: Final = (
    *(CONFIG, WEIGHTS, INITIAL, PROVENANCE, GEOMETRY, "geometry.parquet"),
    *(f"{FIGURE}.svg", f"{FIGURE}.png"),
)
_KEPT: Final = re.compile(r"\.?checkpoint-[0-9]+(\.partial)?\Z")
_LEFT_BY_WRITING: Final = re.compile(r"\.deltalens-[0-9]+\.partial\Z")


def checkpoint_name(step: int) -> str:
    """Name of the folder of one step."""
    return f"checkpoint-{step}"


def mark_whole(checkpoint: Path) -> None:
    """Say that everything in a checkpoint is written."""
    (checkpoint / _WHOLE).touch()


def last_whole(work: Path) -> Path | None:
    """The latest checkpoint that was written to its end."""
    whole = [path.parent for path in work.glob(f"checkpoint-*/{_WHOLE}")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def require_ours(out: Path) -> None:
    """Refuse a folder with anything in it that training did not write.

    Raises:
        OutputError: naming what is in the way.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{shown(out)}: is a file; --out names a folder")
    foreign = sorted(child.name for child in out.iterdir() if not _is_ours(child.name))
    if foreign:
        raise OutputError(
            f"{shown(out)}: holds {shown(foreign[0], 80)}, which was not written by training; "
            "--out names a new folder"
        )
    if _held(out) is None and any(child.name != WORK for child in out.iterdir()):
        raise OutputError(
            f"{shown(out)}: is not empty and was not made by deltalens train; "
            "--out names a new folder"
        )


def is_finished(out: Path, digest: str) -> bool:
    """Whether `out` holds exactly this training, whole and unchanged."""
    return is_whole(out, digest) and not (out / WORK).exists()


def require_unclaimed(out: Path, told: Mapping[str, Any]) -> None:
    """Refuse a folder that holds something of another training.

    Raises:
        OutputError: naming the first setting that differs.
    """
    held = _held(out)
    if held is not None and _is_worth_something(out):
        require_same(out, held, told)


def claim(out: Path, told: Mapping[str, Any], *, fresh: bool) -> Path:
    """Make `out` this training's own; what an interrupted run of it left stays.

    Args:
        out: of this training, of another one, or new; `require_ours` has passed.
        told: what this training depends on, with its digest.
        fresh: drop what is there, whatever it was.

    Returns:
        The folder to work in.

    Raises:
        OutputError: if another training is there, and not `fresh`.
    """
    held = _held(out)
    if held is not None and not fresh:
        require_unclaimed(out, told)
        # Not whole, or a run was killed before there was anything to go on from.
        fresh = not (out / WORK).exists() or not _is_worth_something(out)
    if held is not None and fresh:
        clear(out)
    prepare_folder(out / WORK)
    write_document({"made_by": "deltalens.training", **told}, out / WORK / RECORD)
    return out / WORK


@contextmanager
def unclaimed_on_failure(out: Path) -> Generator[None]:
    """Take a claim back if the context fails before there is anything to go on from."""
    try:
        yield
    except BaseException:
        if not _is_worth_something(out):
            clear(out)
        raise


def clear(out: Path) -> None:
    """Delete what training wrote in a folder, and nothing else."""
    for child in out.iterdir():
        if _is_ours(child.name):
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            else:
                child.unlink()


@contextmanager
def alone(out: Path) -> Generator[None]:
    """Hold the kernel's lock on a training's folder while the context lasts.

    A folder that was made for it and is empty in the end is removed.

    Raises:
        OptionError: if another training holds it.
    """
    made = not out.exists()
    prepare_folder(out)
    handle = os.open(out, os.O_RDONLY)
    try:
        if not lock(handle):
            raise OptionError(
                f"{shown(out)}: another training is running in this folder; wait for it, or give "
                "another --out"
            )
        try:
            yield
        finally:
            if made:
                with suppress(OSError):  # it is not empty
                    out.rmdir()
    finally:
        os.close(handle)


def _is_ours(name: str) -> bool:
    return name in (*_FILES, WORK) or any(p.match(name) for p in (_KEPT, _LEFT_BY_WRITING))


def _is_worth_something(out: Path) -> bool:
    """Whether a folder holds a finished training, adapters of one, or what one can go on from."""
    kept = any(out.glob(f"checkpoint-*/{WEIGHTS}"))
    return (out / PROVENANCE).exists() or kept or last_whole(out / WORK) is not None


def _held(out: Path) -> dict[str, Any] | None:
    """Record of the training in a folder, finished or not; None if there is none."""
    for record in (out / WORK / RECORD, out / PROVENANCE):
        try:
            found: Any = json.loads(record.read_text(encoding="utf-8"))
            if str(found["made_by"]).startswith("deltalens.") and "digest" in found:
                return dict(found)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None
