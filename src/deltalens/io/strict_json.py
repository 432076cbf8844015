"""JSON from strangers: bounded size and depth, UTF-8, no duplicate keys, no NaN."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from deltalens.core.text import shown
from deltalens.errors import AdapterError, DeltalensError

_MAX_DEPTH = 64
_MAX_DIGITS = 30


def require_regular_file(path: Path, error: type[DeltalensError] = AdapterError) -> int:
    """Size of a regular file (links are followed); anything else is refused before it is opened."""
    try:
        status = os.stat(path)  # noqa: PTH116 - one system call tells size and kind
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise error(f"{shown(path)}: cannot be read: {reason}") from None
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{shown(path)}: not a regular file; only regular files are read")
    return status.st_size


def exists(path: Path, error: type[DeltalensError] = AdapterError) -> bool:
    """Whether there is something at `path`; an error if that cannot be told."""
    try:
        return path.exists()
    except OSError as problem:
        raise error(f"{shown(path)}: cannot be read: {problem.strerror}") from None


def absolute(path: Path, error: type[DeltalensError] = AdapterError) -> Path:
    """The path with links followed; an error where they form a loop."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):
        raise error(f"{shown(path)}: not a path that can be followed") from None


def read_object(
    path: Path, max_bytes: int, error: type[DeltalensError] = AdapterError
) -> dict[str, Any]:
    """The one JSON object in a file.

    Raises:
        DeltalensError: of the given type, if the file is too large, no UTF-8, no JSON object,
            or has duplicate keys, NaN, or numbers or nesting beyond reason.
    """
    size = require_regular_file(path, error)
    if size > max_bytes:
        raise error(f"{shown(path)}: {size} bytes; at most {max_bytes} are allowed")
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
    except OSError as problem:
        raise error(f"{shown(path)}: cannot be read: {problem.strerror}") from None
    if len(data) > max_bytes:
        raise error(f"{shown(path)}: more than {max_bytes} bytes; the file grew while it was read")
    return parse_object(data, lambda why: error(f"{shown(path)}: {why}"))


def parse_object(
    data: bytes, fail: Callable[[str], Exception], *, of_a_line: bool = False
) -> dict[str, Any]:
    """Parse bytes as one JSON object; `fail` makes the exception from a reason.

    A caller that names the line itself says `of_a_line`: the reason then has the column alone.
    """
    try:
        text = data.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_int=_whole
        )
    except UnicodeDecodeError:
        raise fail("not UTF-8 text") from None
    except RecursionError:
        raise fail(f"JSON nested too deeply; at most {_MAX_DEPTH} levels are allowed") from None
    except ValueError as problem:
        why = _column(problem) if of_a_line else str(problem)
        raise fail(f"not valid JSON: {shown(why)}") from None
    if _deeper_than(_MAX_DEPTH, value):
        raise fail(f"JSON nested too deeply; at most {_MAX_DEPTH} levels are allowed")
    if not isinstance(value, dict):
        raise fail(f"a JSON object is needed; found {type(value).__name__}")
    if "\\u" in text and not _is_encodable(value):
        raise fail("holds half of a surrogate pair (\\ud800 to \\udfff), which is no text")
    return value  # pyright: ignore[reportUnknownVariableType]


def _column(problem: ValueError) -> str:
    if not isinstance(problem, json.JSONDecodeError):
        return str(problem)
    return f"{problem.msg.removesuffix(' at')} at column {problem.colno}"


def _is_encodable(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} stands twice")
    return made


def _whole(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} digits; at most {_MAX_DIGITS}")
    return int(digits)


def _deeper_than(limit: int, value: Any) -> bool:
    level = [value]
    for _ in range(limit):
        level = [
            child
            for item in level
            if isinstance(item, dict | list)
            for child in (item.values() if isinstance(item, dict) else item)
        ]
    return bool(level)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
