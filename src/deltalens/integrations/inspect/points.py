"""A point that is evaluated: from the arguments of `-M` to a position on a path."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

from deltalens.connectivity.paths import BASE, AdapterPath
from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.studies.walk.inputs import Source, Target, open_path, require_base
from deltalens.studies.walk.settings import adapter_digest


@dataclass(frozen=True)
class Point:
    """A position on a path.

    Attributes:
        path: from t to an adapter; None for the base as it is.
        t: the position.
    """

    path: AdapterPath | None
    t: float

    def warnings(self, target: Target) -> list[str]:
        """What does not quite fit between the adapters and the model.

        Raises:
            OptionError: if an adapter is for another base.
        """
        return [] if self.path is None else require_base(self.path, target)

    def identity(self) -> str:
        """SHA-256 of the ends' files, the path and t: points with another one are other models."""
        if self.path is None:
            return BASE
        ends = [adapter_digest(end) if end.specs else BASE for end in self.path.ends]
        text = f"{self.path.kind} {self.t!r} {' '.join(ends)}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def open_point(a: Any = BASE, b: Any = None, t: Any = None, path: Any = "linear") -> Point:
    """The point that the options `a`, `b`, `t` and `path` name.

    Two ends need no t only where it is 1; one adapter, in either place, is the path from the base.

    Raises:
        OptionError: if an option is of the wrong kind, or t stands without an end.
        AdapterError: if an end cannot be read.
        GeometryError: if the ends do not fit each other.
    """
    start, end = _source("a", a), None if b is None else _source("b", b)
    if end is None and _is_base(start):
        if t is not None:
            raise OptionError(f"t = {shown(t, 40)} without b: a position needs an adapter to go to")
        return Point(None, 0.0)
    if end is None:
        if t is not None:
            raise OptionError(f"t = {shown(t, 40)} without b: give a=base and the adapter as b")
        start, end = BASE, start
    return Point(open_path(start, end, str(path)), position(1.0 if t is None else t))


def position(t: Any) -> float:
    """A finite number.

    Raises:
        OptionError: if it is none.
    """
    right = isinstance(t, int | float) and not isinstance(t, bool)
    if not right or not math.isfinite(t):
        raise OptionError(f"t is {shown(t, 40)!r}, where a finite number is needed")
    return float(t)


def _source(option: str, given: Any) -> Source:
    if isinstance(given, Adapter):
        return given
    if isinstance(given, list | tuple | dict | bool) or given is None or not str(given):
        raise OptionError(
            f"{option} is {shown(given, 60)!r}, where one adapter's path, or {BASE!r}, is needed"
        )
    return str(given)


def _is_base(source: Source) -> bool:
    return not isinstance(source, Adapter) and str(source) == BASE
