"""Which adapters a group holds, and every way in which a set of groups can be wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.text import shown
from deltalens.errors import OptionError
from deltalens.io.strict_json import absolute

Source = Adapter | str | Path
_LABEL = re.compile(r"[\w+-]+")


def place(
    adapters: Sequence[Source], wanted: Sequence[Source]
) -> tuple[list[Source], tuple[int, ...]]:
    """`adapters` and those of `wanted` that are not among them, and where each wanted one stands.

    One folder is one adapter, however its path is written.
    """
    every = list(adapters)
    at = {_identity(source): i for i, source in reversed(list(enumerate(every)))}
    places: list[int] = []
    for source in wanted:
        known = at.setdefault(_identity(source), len(every))
        if known == len(every):
            every.append(source)
        places.append(known)
    return every, tuple(dict.fromkeys(places))


def gather(
    adapters: Sequence[Source], groups: Mapping[str, Sequence[Source]]
) -> tuple[list[Source], dict[str, tuple[int, ...]]]:
    """All adapters, and the places of each group's members among them.

    Raises:
        OptionError: for a group without members or an impossible label, and where two groups hold
            one adapter.
    """
    every = list(adapters)
    members: dict[str, tuple[int, ...]] = {}
    owner: dict[int, str] = {}
    for label, wanted in groups.items():
        check_label(label)
        if not wanted:
            raise OptionError(f"group {label!r} holds no adapter; at least one is needed")
        every, members[label] = place(every, wanted)
        for i in members[label]:
            if owner.setdefault(i, label) != label:
                raise OptionError(
                    f"groups {owner[i]!r} and {label!r} both hold {_named(every[i])}; "
                    "an adapter may be in one group"
                )
    return every, members


def check_label(label: str) -> None:
    """Refuse a label that could not be printed, or not be told from the rest of an expression.

    Raises:
        OptionError: naming the label and what is allowed.
    """
    if not _LABEL.fullmatch(label) or label == "base":
        raise OptionError(
            f"group label {shown(label, 60)!r}: letters, digits, _, + and - are allowed, "
            "and 'base' names the base model"
        )


def _identity(source: Source) -> object:
    if isinstance(source, Adapter):
        return id(source)
    path = Path(source)
    return absolute(path.parent if path.suffix == ".safetensors" else path)


def _named(source: Source) -> str:
    return shown(source.name if isinstance(source, Adapter) else source)
