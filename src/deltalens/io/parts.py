"""The tensors of one module, by role, checked before they are read.

Methods differ in what they store for a module; what they share is here: names are sorted into
modules and roles, nothing is left over, shapes are known from the header, and an adapter is what
reads one module when it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.adapter import Adapter, Provenance, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import PLAIN, Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.biases import Bias
from deltalens.io.limits import Limits
from deltalens.io.peft_pairs import GAUGE_NOTE
from deltalens.io.sources import Source
from deltalens.io.tensor_set import TensorSet
from deltalens.io.tensors import TensorEntry


@dataclass(frozen=True)
class Parts:
    """One module's tensors.

    Attributes:
        tensors: the opened file or files.
        path: the module's name in the file.
        names: role -> the tensor that plays it.
        where: the file, for messages.
        at: the module's path in the base, where that is not its name in the file.
    """

    tensors: TensorSet
    path: str
    names: Mapping[str, str]
    where: str
    at: str | None = None

    @property
    def module(self) -> str:
        """The module's path in the base."""
        return self.at or self.path

    def __contains__(self, role: str) -> bool:
        return role in self.names

    def entry(self, role: str) -> TensorEntry:
        """The header's entry of a role."""
        return self.tensors.entries[self.names[role]]

    def shape(self, role: str) -> tuple[int, ...]:
        """Shape of a role's tensor, from the header."""
        return self.entry(role).shape

    def read(self, role: str) -> Array:
        """A role's tensor in float64.

        Raises:
            AdapterError: if it holds NaN or infinity.
        """
        return self.tensors.read(self.names[role])

    def read_slice(self, role: str, index: int) -> Array:
        """`tensor[index]` of a role's tensor in float64, without reading the rest."""
        return self.tensors.read_slice(self.names[role], index)

    def read_number(self, role: str) -> float:
        """A role's tensor of one element, which may be an integer."""
        return self.tensors.read_number(self.names[role])

    @property
    def roundoff(self) -> float:
        """The coarsest rounding among the tensors."""
        return max(self.tensors.entries[name].roundoff for name in self.names.values())

    def require(self, roles: Iterable[str]) -> None:
        """Refuse a module that lacks one of these tensors."""
        for role in roles:
            if role not in self.names:
                present = next(iter(self.names.values()))
                raise AdapterError(
                    f"{self.where}: {shown(self.path)} has {shown(present)} but no {role}"
                )

    def require_axes(self, role: str, *axes: int) -> None:
        """Refuse a tensor with another number of axes, without elements, or of no float type."""
        entry = self.entry(role)
        if len(entry.shape) not in axes:
            raise AdapterError(
                f"{self.where}: tensor {shown(entry.name)} has shape {list(entry.shape)}; "
                f"{' or '.join(map(str, axes))} axes are allowed"
            )
        if 0 in entry.shape:
            raise AdapterError(
                f"{self.where}: tensor {shown(entry.name)} is empty {list(entry.shape)}: "
                "saved from a sharded (ZeRO-3) run without gathering"
            )
        if not entry.readable:
            raise AdapterError(
                f"{self.where}: tensor {shown(entry.name)} is {entry.dtype}; "
                "F64, F32, F16 and BF16 are read"
            )

    def require_equal(self, what: str, sizes: Mapping[str, int]) -> int:
        """The one size that several roles must agree on."""
        if len(set(sizes.values())) != 1:
            found = ", ".join(f"{role} {size}" for role, size in sizes.items())
            raise AdapterError(
                f"{self.where}: {shown(self.path)}: {what} must agree; found {found}"
            )
        return next(iter(sizes.values()))

    def require_rank(self, rank: int, limits: Limits) -> None:
        """Refuse a rank beyond the limit."""
        if rank > limits.rank:
            raise AdapterError(
                f"{self.where}: {shown(self.path)} has rank {rank}; "
                f"at most {limits.rank} (rank) is allowed"
            )


@dataclass(frozen=True)
class Opened:
    """One module, ready to be read; its scaling and warnings are for the provenance."""

    source: Source
    scaling: float | None = None
    warnings: tuple[str, ...] = ()


def sorted_parts(
    tensors: TensorSet, names: re.Pattern[str], stripped: Callable[[str], str], where: str
) -> tuple[dict[str, Parts], list[str]]:
    """The tensors of a file by module and role, and the names that the pattern does not match.

    Args:
        tensors: the opened file or files.
        names: a pattern with the groups `path`, `role` and, if it can occur, `adapter`.
        stripped: takes wrappers off a name before it is matched.
        where: the file or folder, for messages.

    Raises:
        AdapterError: for two tensors of one role, or two adapters in one file.
    """
    found: dict[str, dict[str, str]] = {}
    adapters: set[str] = set()
    rest: list[str] = []
    for name in tensors.entries:
        match = names.match(stripped(name))
        if match is None:
            rest.append(name)
            continue
        groups = match.groupdict()
        adapters.add(groups.get("adapter") or "(unnamed)")
        role = groups["role"]
        other = found.setdefault(groups["path"], {}).setdefault(role, name)
        if other != name and len(adapters) == 1:
            raise AdapterError(
                f"{where}: tensors {shown(other)} and {shown(name)} are both {role} of "
                f"{shown(groups['path'])}"
            )
    if len(adapters) > 1:
        listed = shown(", ".join(sorted(shown(a, 60) for a in adapters)))
        raise AdapterError(f"{where}: holds {len(adapters)} adapters ({listed}); one is allowed")
    return {path: Parts(tensors, path, of, where) for path, of in found.items()}, rest


def refuse_rest(
    rest: Sequence[str], known: Sequence[tuple[str, str]], where: str, reads: str
) -> None:
    """Refuse tensors that nothing reads, by the name of their method where that is known."""
    for name in rest:
        method = next((what for mark, what in known if re.search(mark, name)), None)
        if method is not None:
            raise UnsupportedAdapterError(
                f"{where}: tensor {shown(name)} belongs to {method}, which is not read here; "
                f"{reads} is"
            )
    for name in rest:
        raise AdapterError(f"{where}: tensor {shown(name)} is not understood; {reads} is read")


def spec_of(
    parts: Parts,
    shape: tuple[int, int],
    rank: int,
    *,
    limits: Limits,
    layout: Layout = PLAIN,
    gauge: str | None = None,
) -> UpdateSpec:
    """What is known of a module before it is read; by default its gauge is the file's.

    Raises:
        AdapterError: if its factors would be larger than a machine should hold.
    """
    elements = (shape[0] + shape[1]) * rank
    if elements > limits.elements:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} is {list(shape)} of rank {rank}: "
            f"{elements} numbers; at most {limits.elements} (elements) are allowed"
        )
    told = shown(parts.tensors.metadata.get(GAUGE_NOTE) or "training", 80)
    return UpdateSpec(shape, rank, roundoff=parts.roundoff, gauge=gauge or told, layout=layout)


def fitted(
    parts: Parts,
    shape: tuple[int, int],
    base: BaseModel | None,
    *,
    transposed: bool = False,
    kernel: tuple[int, ...] = (),
) -> Layout:
    """How the base stores an update `(out, in)`: by the base where it is given, else as told.

    Raises:
        AdapterError: if the base's tensor is of another size.
    """
    told = Layout(transposed=transposed and not kernel, kernel=kernel)
    if base is None or parts.module not in base:
        return told
    stored = base.shape(parts.module)
    other = Layout(transposed=not transposed) if len(stored) == 2 else Layout(kernel=stored[2:])
    for layout in (told, other):
        if layout.stored(shape) == stored:
            return layout
    raise AdapterError(
        f"{parts.where}: {shown(parts.path)} is {list(told.stored(shape))}; "
        f"the base {shown(base.path)} has {list(stored)}"
    )


def scaled(update: LowRankUpdate, factor: float, parts: Parts) -> LowRankUpdate:
    """`factor * dW`, refused where it leaves the range of float64."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = update * factor
    if not (np.isfinite(found.B).all() and np.isfinite(found.A).all()):
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} times its scaling {factor:g} "
            "exceeds the range of float64"
        )
    return found


def adapter_of(
    opened: Mapping[ModuleKey, Opened],
    *,
    name: str,
    tensors: TensorSet,
    format: str,
    base_model: str | None = None,
    revision: str | None = None,
    warnings: Sequence[str] = (),
    biases: Mapping[str, Bias | None] | None = None,
) -> Adapter:
    """The adapter whose modules are these, each read when it is indexed."""
    scalings = sorted({m.scaling for m in opened.values() if m.scaling is not None})
    told = dict.fromkeys([*warnings, *(w for module in opened.values() for w in module.warnings)])
    details = {"scaling": scalings}
    provenance = Provenance(
        str(tensors.path), format, revision, tuple(told), details, tensors.shards
    )
    sources = {key: module.source for key, module in opened.items()}

    def read(key: ModuleKey) -> LowRankUpdate:
        return sources[key].read()

    def fill(key: ModuleKey, B: Array, A: Array) -> float:
        return sources[key].fill(B, A)

    specs = {key: source.spec for key, source in sources.items()}
    return Adapter(name, specs, read, base_model, provenance, fill, biases or {})
