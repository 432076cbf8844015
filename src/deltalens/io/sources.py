"""Where one module's update comes from, whatever the format: known before it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from deltalens.core.adapter import UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import PLAIN, Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.tensor_set import TensorSet


@runtime_checkable
class Source(Protocol):
    """One module's update, read when it is asked for."""

    @property
    def spec(self) -> UpdateSpec:
        """Shape, rank, precision and layout, without reading tensors."""
        ...

    def read(self) -> LowRankUpdate:
        """The update; all numbers finite."""
        ...

    def fill(self, B: Array, A: Array) -> float:
        """Write the factors into these arrays and return the scaling that B still lacks."""
        ...


Sources = Mapping[ModuleKey, Source]


@dataclass(frozen=True)
class Factors:
    """`scaling * B @ A` of two stored tensors; a convolution's are flattened to matrices."""

    tensors: TensorSet
    A: str
    B: str
    scaling: float
    layout: Layout = PLAIN
    gauge: str = "training"

    @property
    def spec(self) -> UpdateSpec:
        """Shape, rank, precision and layout, without reading tensors."""
        A, B = self.tensors.entries[self.A], self.tensors.entries[self.B]
        rank = A.shape[0]
        return UpdateSpec(
            shape=(B.shape[0], int(np.prod(A.shape[1:]))),
            rank=rank,
            roundoff=B.roundoff,
            spacing=B.spacing * abs(self.scaling),
            gauge=self.gauge,
            layout=self.layout,
        )

    def read(self) -> LowRankUpdate:
        """The update; all numbers finite."""
        with np.errstate(over="ignore"):
            B = self.tensors.read(self.B) * self.scaling
        if not np.isfinite(B).all():
            raise AdapterError(
                f"{shown(self.tensors.path)}: tensor {shown(self.B)} times its scaling "
                f"{self.scaling:g} exceeds the range of float64"
            )
        A = self.tensors.read(self.A)
        return LowRankUpdate(B.reshape(B.shape[0], -1), A.reshape(A.shape[0], -1))

    def fill(self, B: Array, A: Array) -> float:
        """Write the factors into these arrays and return the scaling that B still lacks."""
        for name, out in ((self.A, A), (self.B, B)):
            shape = self.tensors.entries[name].shape
            if len(shape) == 2:
                self.tensors.read_into(name, out)
            else:
                whole = np.empty(shape)
                self.tensors.read_into(name, whole)
                out[...] = whole.reshape(out.shape)
        return self.scaling


@dataclass(frozen=True)
class Computed:
    """An update that is computed when it is asked for, of known shape and rank."""

    spec: UpdateSpec
    compute: Callable[[], LowRankUpdate]

    def read(self) -> LowRankUpdate:
        """The update; all numbers finite."""
        return self.compute()

    def fill(self, B: Array, A: Array) -> float:
        """Write the factors into these arrays; nothing is left to scale."""
        update = self.compute()
        B[...], A[...] = update.B, update.A
        return 1.0
