"""Fields of a stranger's config, by type: a wrong one is an error, never a guess."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from deltalens.core.text import shown
from deltalens.errors import AdapterError

T = TypeVar("T")


def whole(value: object, name: str, where: str, least: int = 1) -> int:
    """A whole number from `least` up; true and false are none."""
    if type(value) is not int or value < least:
        raise AdapterError(
            f"{where}: {name} must be a whole number from {least} up; found {shown(value, 60)!r}"
        )
    return value


def number(value: object, name: str, where: str) -> float:
    """A finite number."""
    if type(value) in (int, float):
        try:
            found = float(cast("float", value))
        except OverflowError:
            found = math.inf
        if math.isfinite(found):
            return found
    raise AdapterError(f"{where}: {name} must be a finite number; found {shown(value, 60)!r}")


def flag(value: object, name: str, where: str) -> bool:
    """True or false, not text."""
    if isinstance(value, bool):
        return value
    raise AdapterError(f"{where}: {name} must be true or false; found {shown(value, 60)!r}")


def text(value: object, name: str, where: str) -> str | None:
    """Text, or None."""
    if value is None or isinstance(value, str):
        return value
    raise AdapterError(f"{where}: {name} must be text or null; found {shown(value, 60)!r}")


def mapping(value: object, name: str, where: str) -> Mapping[str, Any]:
    """An object; null is an empty one."""
    if value is None:
        return {}
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise AdapterError(f"{where}: {name} must be an object; found {shown(value, 60)!r}")


def pattern(
    value: object, check: Callable[[object, str, str], T], name: str, where: str
) -> dict[str, T]:
    """An object whose values pass `check`, in file order."""
    items = mapping(value, name, where)
    return {key: check(item, f"{name}[{shown(key, 60)!r}]", where) for key, item in items.items()}
