"""A fine-tune as a lazy mapping from modules to updates: a task vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from deltalens.core.keys import ModuleKey
from deltalens.core.layout import PLAIN, Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.errors import GeometryError


@dataclass(frozen=True)
class UpdateSpec:
    """What a header says of one update, before its tensors are read.

    Attributes:
        shape: `(out, in)`.
        rank: width of the factors.
        roundoff: relative rounding error of B as stored (bf16: `2**-9`), 0 if computed.
        spacing: absolute rounding error of B as stored, scaling included (fp16 underflow).
        gauge: `"training"` if the factors are as training left them, else why they are not.
        layout: how the base stores the matrix.
    """

    shape: tuple[int, int]
    rank: int
    roundoff: float = 0.0
    spacing: float = 0.0
    gauge: str = "training"
    layout: Layout = PLAIN

    @property
    def dense(self) -> bool:
        """Whether a factor spans a whole side, as an identity does: it tells no start."""
        return self.gauge != "training" and self.rank == min(self.shape)

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape of the matrix as the base stores it."""
        return self.layout.stored(self.shape)


@dataclass(frozen=True)
class Provenance:
    """Where an adapter comes from and what was noticed while it was read.

    Attributes:
        path: the weight file, or the index or first of several.
        format: the kind of file.
        revision: of the base, as the adapter names it.
        warnings: what was noticed.
        details: what only some formats tell.
        files: every file that holds weights and their index, where there are several.
    """

    path: str = ""
    format: str = "memory"
    revision: str | None = None
    warnings: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])
    files: tuple[str, ...] = ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Every file whose content the numbers depend on; empty for what was made in memory."""
        return self.files or ((self.path,) if self.path else ())


@dataclass(frozen=True, eq=False)
class Adapter(Mapping[ModuleKey, LowRankUpdate]):
    """A fine-tune of one base model: every module's update, read when it is asked for.

    Indexing reads that module's tensors and caches nothing, so memory does not grow with depth.
    In algebra (`a + b`, `0.5 * a`) a module that one adapter lacks is a zero update.

    Attributes:
        name: how reports call it.
        specs: shape, rank and precision of each module, known without reading tensors.
        read: gives one module's update.
        fill: writes one module's factors into `(B, A)` arrays of the caller and returns what
            scaling `B` still lacks, where a file can.
        biases: module path -> what gives the change of its bias, or None where only the base
            could tell; no part of the algebra.
        base_model: the base that the file names, or None; compared as a string, never followed.
        provenance: path, format, warnings.
    """

    name: str
    specs: Mapping[ModuleKey, UpdateSpec]
    read: Callable[[ModuleKey], LowRankUpdate]
    base_model: str | None = None
    provenance: Provenance = field(default_factory=Provenance)
    fill: Callable[[ModuleKey, Array, Array], float] | None = None
    biases: Mapping[str, Callable[[], Array] | None] = field(
        default_factory=dict[str, "Callable[[], Array] | None"]
    )

    @classmethod
    def from_updates(
        cls, name: str, updates: Mapping[ModuleKey, LowRankUpdate], base_model: str | None = None
    ) -> Adapter:
        """An adapter whose updates are already in memory."""
        held = dict(updates)
        specs = {key: UpdateSpec(u.shape, u.rank) for key, u in held.items()}
        return cls(name, specs, held.__getitem__, base_model)

    def __getitem__(self, key: ModuleKey) -> LowRankUpdate:
        if key not in self.specs:
            raise KeyError(key)
        return self.read(key)

    def __iter__(self) -> Iterator[ModuleKey]:
        return iter(sorted(self.specs))

    def __len__(self) -> int:
        return len(self.specs)

    def __contains__(self, key: object) -> bool:
        return key in self.specs

    # A mapping compares its items, which would read every tensor; an adapter is equal to itself.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        ranks = sorted({spec.rank for spec in self.specs.values()})
        return f"Adapter({self.name!r}, {len(self)} modules, rank {ranks}, base {self.base_model})"

    def read_into(self, key: ModuleKey, B: Array, A: Array) -> float:
        """Write one module's factors into arrays of the right shapes, without a copy if possible.

        Unlike indexing, this does not look for NaN: the caller's products show it at no cost.

        Returns:
            The scaling that is still to be folded into `B`: on a Gram matrix that costs nothing.
        """
        if self.fill is not None:
            return self.fill(key, B, A)
        update = self[key]
        B[...], A[...] = update.B, update.A
        return 1.0

    def renamed(self, name: str) -> Adapter:
        """The same adapter under another name."""
        return replace(self, name=name)

    def __mul__(self, factor: float) -> Adapter:
        def read(key: ModuleKey) -> LowRankUpdate:
            return self[key] * factor

        specs = {
            key: replace(spec, spacing=spec.spacing * abs(factor))
            for key, spec in self.specs.items()
        }
        return Adapter(f"{factor:g}*{self.name}", specs, read, self.base_model)

    __rmul__ = __mul__

    def __neg__(self) -> Adapter:
        return self * -1.0

    def __sub__(self, other: Adapter) -> Adapter:
        return self + (-other)

    def __add__(self, other: Adapter) -> Adapter:
        specs = _summed_specs(self, other)

        def read(key: ModuleKey) -> LowRankUpdate:
            terms = [adapter[key] for adapter in (self, other) if key in adapter]
            return terms[0] if len(terms) == 1 else terms[0] + terms[1]

        base = self.base_model if self.base_model == other.base_model else None
        return Adapter(f"{self.name} + {other.name}", specs, read, base)


def _summed_specs(a: Adapter, b: Adapter) -> dict[ModuleKey, UpdateSpec]:
    specs = {**a.specs, **b.specs}
    for key in a.specs.keys() & b.specs.keys():
        one, two = a.specs[key], b.specs[key]
        if one.shape != two.shape or one.layout != two.layout:
            raise GeometryError(
                f"{key} is {one.shape} in {a.name!r} and {two.shape} in {b.name!r}: "
                "adapters of one base model have equal shapes"
            )
        specs[key] = UpdateSpec(
            one.shape,
            one.rank + two.rank,
            roundoff=max(one.roundoff, two.roundoff),
            spacing=max(one.spacing, two.spacing),
            gauge="a sum of adapters",
            layout=one.layout,
        )
    return specs
