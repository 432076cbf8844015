"""Which toy a base is, and which toy an adapter is of: their shapes alone do not say."""

from __future__ import annotations

import json
from pathlib import Path

from deltalens.core.text import shown
from deltalens.errors import BaseModelError
from deltalens.organisms.base import BASE_NAMES
from deltalens.organisms.vocabulary import VOCABULARY


def toy_name(base: Path) -> str | None:
    """How adapters of a toy base call it, by its architecture; None for any other folder."""
    try:
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        kind, size = config["model_type"], config["vocab_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    known = isinstance(kind, str) and size == len(VOCABULARY)
    return BASE_NAMES.get(kind) if known else None


def require_toy(base: Path) -> str:
    """The `toy_name` of a base.

    Raises:
        BaseModelError: if it is no toy.
    """
    name = toy_name(base)
    if name is None:
        raise BaseModelError(
            f"{shown(base)}: is no toy base; one has a vocabulary of {len(VOCABULARY)} and a "
            f"model_type of {' or '.join(BASE_NAMES)}"
        )
    return name


def other_toy(named: str | None, base: str | None) -> bool:
    """Whether an adapter that names the base `named` is of another toy than `base`."""
    toys = set(BASE_NAMES.values())
    return named in toys and base in toys and named != base


def require_its_toy(adapter: str, named: str | None, base: Path) -> None:
    """Refuse an adapter of one toy on the other: all shapes are equal, so nothing else would.

    Args:
        adapter: name of the adapter.
        named: the base that it names.
        base: folder of the base that it meets.

    Raises:
        BaseModelError: naming all three.
    """
    met = toy_name(base)
    if other_toy(named, met):
        raise BaseModelError(
            f"adapter {shown(adapter)!r} is for the base {named!r}, and {shown(base)} is {met!r}; "
            "one base is needed"
        )
