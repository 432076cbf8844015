"""Patterns that we expand ourselves, so that they may stand quoted behind an option."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from deltalens.cli.screen import adapters_inside, expand
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.loose import loose_files
from deltalens.io.read import is_adapter


def matching(option: str, pattern: str) -> list[Path]:
    """The adapters that a pattern matches, in order of name; `**` goes into every folder.

    A folder of adapters stands for those inside it, folders and loose weight files; anything else
    that matches is passed over.

    Raises:
        OptionError: if nothing matches, or nothing that matches is an adapter.
    """
    plain = Path(pattern)
    if pattern.startswith("hf:"):
        return [plain]
    if pattern and (plain.exists() or not glob.has_magic(pattern)):
        if not plain.exists():
            raise OptionError(f"{option} {shown(pattern)}: matches nothing")
        return expand([plain])
    # Path.glob refuses patterns from the root.
    matched = [Path(path) for path in sorted(glob.glob(pattern, recursive=True))]  # noqa: PTH207
    found = [adapter for path in matched for adapter in _adapters(path)]
    if not found:
        seen = f"{len(matched)} paths, none of them an adapter" if matched else "nothing"
        raise OptionError(f"{option} {shown(pattern)}: matches {seen}")
    whole = set(found)  # a folder with one weight file is that adapter already
    return [path for path in dict.fromkeys(found) if path.parent not in whole]


def parse_groups(values: Sequence[str]) -> dict[str, list[Path]]:
    """`LABEL=GLOB` options as label -> adapters.

    Raises:
        OptionError: for a form that is not LABEL=GLOB, a label that stands twice, or a pattern that
            matches no adapter.
    """
    groups: dict[str, list[Path]] = {}
    for value in values:
        label, equals, pattern = value.partition("=")
        if not (label and equals and pattern):
            raise OptionError(f"--group {shown(value)!r}: LABEL=GLOB is needed")
        if label in groups:
            raise OptionError(f"--group {shown(label, 60)}: this label stands twice")
        groups[label] = matching(f"--group {shown(label, 60)}", pattern)
    return groups


def _adapters(path: Path) -> list[Path]:
    if path.is_dir() and is_adapter(path):
        return [path]
    if path.is_file():
        return [path] if path in loose_files(path.parent) else []
    return adapters_inside(path)
