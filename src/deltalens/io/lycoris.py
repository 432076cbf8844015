"""What LyCORIS adds to kohya's files: three-factor convolutions, magnitudes, whole differences.

`lora_mid (r, r, height, width)` makes a convolution of `sum_pq mid[p,q] up[:,p] down[q,:]`
(LyCORIS `rebuild_tucker`). `dora_scale` gives the changed weight's rows (or, with `wd_on_output`
off, its input channels) their lengths: `m / (|W + dW| + eps) (W + dW) - W`, for LoRA, LoHa and
LoKr alike. `diff`, `diff_b`, `w_norm` and `b_norm` are changes as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from math import prod
from typing import NamedTuple

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.biases import Bias
from deltalens.io.limits import Limits
from deltalens.io.loha import with_core
from deltalens.io.parts import Opened, Parts, fitted, scaled, spec_of
from deltalens.io.sources import Computed

VECTORS = ("diff_b", "w_norm", "b_norm")
TUCKER = "a convolution of three factors: no two of them are of training"
GAUGE = "LyCORIS's weight decomposition is dense: its factors are none of training"
WHOLE = "a full difference has no factors of training"
_PREFIXES = ("lora_unet_", "lora_te_", "lora_te1_", "lora_te2_", "lora_te3_", "lycoris_")


def opened_tucker(parts: Parts, scaling: float, base: BaseModel | None, limits: Limits) -> Opened:
    """A module with the roles `down`, `up` and `mid`.

    Raises:
        AdapterError: if a factor is missing, or their shapes do not fit each other.
    """
    parts.require(("down", "up", "mid"))
    parts.require_axes("mid", 3, 4)
    for role in ("down", "up"):
        parts.require_axes(role, 2, 3, 4)
        if prod(parts.shape(role)[2:]) != 1:
            raise AdapterError(
                f"{parts.where}: tensor {shown(parts.names[role])} has shape "
                f"{list(parts.shape(role))}; beside lora_mid it has a window of 1"
            )
    down, up, mid = (parts.shape(role) for role in ("down", "up", "mid"))
    rank = parts.require_equal(
        "the inner ranks",
        {"down": down[0], "up": up[1], "mid (first)": mid[0], "mid (second)": mid[1]},
    )
    parts.require_rank(rank, limits)
    shape, kernel = (up[0], down[1] * prod(mid[2:])), mid[2:]
    layout = fitted(parts, shape, base, kernel=kernel)
    spec = spec_of(parts, shape, rank, limits=limits, layout=layout, gauge=TUCKER)

    def read() -> LowRankUpdate:
        w_up, w_down = (parts.read(role).reshape(parts.shape(role)[:2]) for role in ("up", "down"))
        return scaled(with_core(parts.read("mid"), w_up.T, w_down), scaling, parts)

    return Opened(Computed(spec, read), scaling)


def opened_diff(parts: Parts, base: BaseModel | None, limits: Limits) -> Opened:
    """A module whose whole change is stored.

    Raises:
        AdapterError: if the base's weight is of another shape.
    """
    parts.require_axes("diff", 2, 3, 4)
    out, *in_ = parts.shape("diff")
    shape = (out, prod(in_))
    layout = fitted(parts, shape, base, kernel=tuple(in_[1:]))
    spec = spec_of(parts, shape, min(shape), limits=limits, layout=layout, gauge=WHOLE)
    warning = ("alpha beside a full difference (diff) is not used",) if "alpha" in parts else ()

    def read() -> LowRankUpdate:
        return from_dense(layout.matrix(parts.read("diff").reshape(layout.stored(shape))))

    return Opened(Computed(spec, read), None, warning)


def vectors_of(parts: Parts) -> dict[str, Bias | None]:
    """Changes of biases by module, and of other vectors (a norm's weight) by their tensor."""
    named = {"diff_b": parts.path, "b_norm": parts.path, "w_norm": f"{parts.path}.weight"}
    if "diff" in parts and len(parts.shape("diff")) == 1:
        named["diff"] = f"{parts.path}.weight"
    found: dict[str, Bias | None] = {}
    for role, name in named.items():
        if role in parts:
            parts.require_axes(role, 1)
            found[name] = partial(parts.read, role)
    return found


class Weight(NamedTuple):
    """A module's weight in the base: its shape, and what reads it."""

    shape: tuple[int, ...]
    read: Callable[[], Array]


@dataclass(frozen=True)
class BaseNames:
    """Finds a base's weights by the names of these tools, whose dots became underscores."""

    base: BaseModel | None
    where: str

    @cached_property
    def _flat(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for tensor in self.base.files if self.base is not None else ():
            if tensor.endswith(".weight"):
                path = tensor.removesuffix(".weight")
                found.setdefault(path.replace(".", "_"), []).append(path)
        return found

    def find(self, path: str) -> str | None:
        """The one module of the base that a name of the file can be; None if there is no one."""
        if self.base is None or path in self.base:
            return None if self.base is None else path
        bare = next((path.removeprefix(p) for p in _PREFIXES if path.startswith(p)), path)
        found = self._flat.get(bare.replace(".", "_"), [])
        return found[0] if len(found) == 1 else None

    def weight(self, parts: Parts, why: str) -> Weight:
        """The weight that a module of the file changes.

        Raises:
            UnsupportedAdapterError: without a base.
            AdapterError: if the base has no such module, or several.
        """
        if self.base is None:
            raise UnsupportedAdapterError(
                f"{self.where}: {why}, so the base is needed; give --base"
            )
        if parts.at is None:
            raise AdapterError(
                f"{self.where}: {shown(parts.path)} is no module of the base "
                f"{shown(self.base.path)}, or several; {why}"
            )
        return Weight(self.base.shape(parts.at), partial(self.base.tensor, parts.at))


def with_magnitudes(opened: Opened, parts: Parts, names: BaseNames) -> Opened:
    """A module's update with the lengths of `dora_scale`.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if the lengths fit neither side of the base's weight.
    """
    spec = opened.source.spec
    weight = names.weight(parts, "dora_scale sets the changed weight's own lengths")
    ones = (1,) * (len(weight.shape) - 2)
    sides = ((weight.shape[0], 1, *ones), (1, *weight.shape[1:2], *ones))
    parts.require_axes("dora_scale", 2, 3, 4)
    if spec.stored != weight.shape or parts.shape("dora_scale") not in sides:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)} is {list(spec.stored)} with a dora_scale "
            f"{list(parts.shape('dora_scale'))}; the base has {list(weight.shape)}, which takes "
            f"{list(sides[0])} or {list(sides[1])}"
        )
    side = sides.index(parts.shape("dora_scale"))
    eps = float(np.finfo(np.float64 if parts.entry("dora_scale").dtype == "F64" else "f4").eps)

    def compute() -> LowRankUpdate:
        W = weight.read()
        new = W + opened.source.read().dense().reshape(W.shape)
        axes = tuple(axis for axis in range(W.ndim) if axis != side)
        norms = np.sqrt(np.sum(new**2, axis=axes, keepdims=True)) + eps
        return from_dense(spec.layout.matrix(parts.read("dora_scale") / norms * new - W))

    dense = replace(spec, rank=min(spec.shape), gauge=GAUGE)
    return Opened(Computed(dense, compute), opened.scaling, opened.warnings)
