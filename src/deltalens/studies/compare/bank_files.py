"""The bank's files: opened, held to the shapes of the adapters, sorted by kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.text import shown
from deltalens.errors import AdapterError, OptionError
from deltalens.io.read import load_all
from deltalens.studies.compare.inputs import Inputs

Kind = tuple[str, frozenset[tuple[ModuleKey, int, float]]]


@dataclass(frozen=True)
class Members:
    """The bank before anything is measured.

    Attributes:
        usable: members of the same kind as some adapter.
        kinds: equal numbers for equal ranks, modules and storage; adapters first, then members.
        left_out: name -> why a member can stand for none of the adapters.
    """

    usable: tuple[Adapter, ...]
    kinds: tuple[int, ...]
    left_out: Mapping[str, str]


def open_bank(bank: Sequence[Adapter | str | Path], inputs: Inputs) -> Members:
    """Open the members and keep those that could stand for one of the adapters.

    Raises:
        OptionError: if there is no pair to rank.
        AdapterError: a member that cannot be read, of another base or of other shapes, by name.
    """
    if len(inputs.adapters) < 2:
        raise OptionError("--bank ranks pairs of adapters; found 1 adapter, at least 2 are needed")
    opened = _distinct(_open(bank))
    for member in opened:
        _require_same_base(member, inputs.adapters)
        _require_equal_shapes(member, inputs.adapters)
    kinds = [kind(adapter) for adapter in inputs.adapters]
    usable = tuple(member for member in opened if kind(member) in kinds)
    number: dict[Kind, int] = {}
    for each in (*kinds, *map(kind, usable)):
        number.setdefault(each, len(number))
    left_out = {
        member.name: difference(member, inputs.adapters[0])
        for member in opened
        if kind(member) not in kinds
    }
    return Members(usable, tuple(number[k] for k in (*kinds, *map(kind, usable))), left_out)


def kind(adapter: Adapter) -> Kind:
    """What must be equal for two adapters to be exchangeable: format, modules, ranks, precision."""
    held = ((key, spec.rank, spec.roundoff) for key, spec in adapter.specs.items())
    return adapter.provenance.format, frozenset(held)


def difference(member: Adapter, adapter: Adapter) -> str:
    """In which respect a member is of another kind than an adapter."""
    lacks = adapter.specs.keys() - member.specs.keys()
    extra = member.specs.keys() - adapter.specs.keys()
    if lacks or extra:
        example = shown(min(lacks or extra))
        return (
            f"other target modules than {shown(adapter.name)} ({len(lacks)} missing, {len(extra)} "
            f"more; {example})"
        )
    found, needed = (sorted({s.rank for s in x.specs.values()}) for x in (member, adapter))
    if found != needed:
        return f"rank {_list(found)}, where {shown(adapter.name)} has {_list(needed)}"
    if any(member.specs[key].rank != spec.rank for key, spec in adapter.specs.items()):
        return f"other ranks by module than {shown(adapter.name)}"
    return f"stored in another format or precision than {shown(adapter.name)}"


def _list(ranks: Sequence[int]) -> str:
    return ", ".join(map(str, ranks))


def _open(bank: Sequence[Adapter | str | Path]) -> list[Adapter]:
    loaded = iter(load_all([member for member in bank if not isinstance(member, Adapter)]))
    return [member if isinstance(member, Adapter) else next(loaded) for member in bank]


def _distinct(opened: Sequence[Adapter]) -> list[Adapter]:
    names = [a.name.encode("utf-8", "backslashreplace").decode() for a in opened]
    name, times = Counter(names).most_common(1)[0] if names else ("", 0)
    if times > 1:
        raise AdapterError(f"{times} members of the bank are called {shown(name)!r}; names differ")
    return [a.renamed(name) for a, name in zip(opened, names, strict=True)]


def _require_same_base(member: Adapter, adapters: Sequence[Adapter]) -> None:
    known = {a.base_model for a in adapters if a.base_model is not None}
    if member.base_model is not None and known and member.base_model not in known:
        raise AdapterError(
            f"bank: {shown(member.name)} names the base model {shown(member.base_model)}; "
            f"the adapters name {', '.join(sorted(map(shown, known)))}"
        )


def _require_equal_shapes(member: Adapter, adapters: Sequence[Adapter]) -> None:
    for adapter in adapters:
        for key, spec in member.specs.items():
            if key in adapter.specs and adapter.specs[key].shape != spec.shape:
                raise AdapterError(
                    f"bank: {shown(key)} is {list(spec.shape)} in {shown(member.name)} and "
                    f"{list(adapter.specs[key].shape)} in {shown(adapter.name)}; adapters of one "
                    "base have equal shapes"
                )
