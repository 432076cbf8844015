"""Which of a server's models stands at which position, and what is known of how it was made."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.integrations.serving.manifest import Manifest, read_manifest
from deltalens.studies.export import input_of

SLOT = "{t}"
_NUMBER = r"(-?[0-9]+(?:\.[0-9]+)?(?:e[-+]?[0-9]+)?)"
_FEW = 12


@dataclass(frozen=True)
class Points:
    """Models by position.

    Attributes:
        name: how reports call them.
        names: position -> the server's name.
        base: the server's name of the base, or None.
        made: the export that they come from, or None where only names are known.
    """

    name: str
    names: Mapping[float, str]
    base: str | None = None
    made: Manifest | None = field(default=None, compare=False)

    @property
    def unlisted(self) -> bool:
        """Whether the server finds these models without listing them."""
        return self.made is not None and self.made.server == "transformers"

    def digest(self) -> str:
        """SHA-256 over names and, where they are known, the adapters' files."""
        adapters = [] if self.made is None else [[p.t, dict(p.sha256)] for p in self.made.points]
        held: dict[str, Any] = {
            "base": self.base,
            "names": sorted(self.names.items()),
            "adapters": adapters,
        }
        return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()

    def require(self, kind: str, ends: Sequence[Adapter]) -> None:
        """Refuse another path than the one that was exported.

        Raises:
            OptionError: naming what differs.
        """
        if self.made is None:
            return
        if kind != self.made.path:
            raise OptionError(
                f"--path {kind}: the served points lie on the {shown(self.made.path, 40)} path"
            )
        for t, end, exported in zip("01", ends, self.made.ends, strict=False):
            given = input_of(end)
            if given["sha256"] != exported.get("sha256"):
                raise OptionError(
                    f"t = {t} is {shown(end.name)}, and the served points were exported from "
                    f"another adapter there ({shown(exported.get('name'), 80)}); the same two ends "
                    "are needed, in the same order"
                )


def exported_points(folder: Path) -> Points:
    """Points of a folder that `deltalens export --serve` wrote.

    Raises:
        OptionError: if it is none, or has changed since.
    """
    made = read_manifest(folder)
    return Points(made.base, {p.t: p.name for p in made.points}, made.base, made)


def named_points(pattern: str, listed: Sequence[str]) -> Points:
    """The server's models whose names fit a pattern, `walk-{t}` for example.

    Raises:
        OptionError: if none fits, or two stand at one position.
    """
    before, _, after = pattern.partition(SLOT)
    shape = re.compile(f"{re.escape(before)}{_NUMBER}{re.escape(after)}")
    names: dict[float, str] = {}
    for model in listed:
        fits = shape.fullmatch(model)
        if fits is None:
            continue
        t = float(fits[1])
        if t in names:
            raise OptionError(
                f"--served {shown(pattern, 80)!r}: {shown(names[t], 80)} and {shown(model, 80)} "
                f"are both t = {t:g}; one model a position is needed"
            )
        names[t] = model
    if not names:
        raise OptionError(
            f"--served {shown(pattern, 80)!r}: the server has no such model; it has "
            f"{several(listed)}"
        )
    return Points(pattern, dict(sorted(names.items())))


def several(names: Sequence[str]) -> str:
    """Names for a message; of many, the first."""
    if not names:
        return "none"
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(shown(name, 80) for name in names[:_FEW]) + more
