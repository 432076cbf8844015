"""What a kind of server is to an export: what it takes, and how it is started."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.integrations.serving.manifest import ServedPoint
from deltalens.io.export_format import Format


@dataclass(frozen=True)
class Planned:
    """What is to be served, before anything is written.

    Attributes:
        ends: of the path.
        points: on the path.
        rank: the largest rank of a module, or None.
        base: the base as the server is to load it.
    """

    ends: Sequence[Adapter]
    points: Sequence[Adapter]
    rank: int | None
    base: str


@dataclass(frozen=True)
class Server:
    """A kind of server.

    Attributes:
        layout: how its adapters are written.
        place: where it is started, inside the export's folder.
        require: refuses what it cannot serve.
        command: the words that start it there.
        prepare: writes what it needs beside the adapters, given the export's folder.
    """

    layout: Format
    place: str
    require: Callable[[Planned], None]
    command: Callable[[str, Sequence[ServedPoint]], tuple[str, ...]]
    prepare: Callable[[Path, str, Sequence[ServedPoint]], None]


def shell(words: Sequence[str]) -> str:
    """The words as a shell reads them."""
    return shlex.join(words)
