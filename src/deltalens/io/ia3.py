"""IA3: one trained factor for every output, or every input, of a module.

`dW = W o (l - 1)`, with `l (out, 1)`, or `l (1, in)` at feed-forward modules; where outputs are
scaled, so is the bias (PEFT `ia3.Linear.merge`). Of full rank, and it needs the base.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.biases import Bias
from deltalens.io.fields import flag
from deltalens.io.parts import Opened, Parts, spec_of
from deltalens.io.peft_parts import modules_of, peft_adapter
from deltalens.io.peft_types import PeftFolder
from deltalens.io.sources import Computed

_KNOWN = ("feedforward_modules", "fan_in_fan_out", "init_ia3_weights")
GAUGE = "IA3's update is dense: its factors are none of training"
_Side = Literal["out", "in"]


def load_peft(folder: PeftFolder) -> Adapter:
    """Read an adapter of `peft_type` IA3.

    Raises:
        UnsupportedAdapterError: without the base.
        AdapterError: naming the file, what was found and what is allowed.
    """
    base = folder.base
    if base is None:
        raise UnsupportedAdapterError(
            f"{folder.where}: IA3 changes each weight by its own size, so the base is needed; "
            "give --base"
        )
    modules, warnings = modules_of(folder, ("ia3_l",), "IA3", _KNOWN)
    transposed = flag(folder.config.get("fan_in_fan_out") or False, "fan_in_fan_out", folder.where)
    opened: dict[ModuleKey, Opened] = {}
    biases: dict[str, Bias | None] = {}
    for path, parts in modules.items():
        side, shape, layout = _place(parts, base, transposed)
        spec = spec_of(parts, shape, min(shape), limits=folder.limits, layout=layout, gauge=GAUGE)
        compute = partial(_update, parts, base, layout, side)
        opened[ModuleKey(path)] = Opened(Computed(spec, compute))
        if side == "out" and f"{path}.bias" in base:
            biases[path] = partial(_bias, parts, base)
    return peft_adapter(folder, opened, "ia3", warnings, biases)


def _place(
    parts: Parts, base: BaseModel, transposed: bool
) -> tuple[_Side, tuple[int, int], Layout]:
    """Which side is scaled, `(out, in)` and how the base stores it; a square one as the flag says.

    A convolution's l has as many axes as its weight and stands along the second.
    """
    parts.require_axes("ia3_l", 2)
    l_shape, stored = parts.shape("ia3_l"), base.shape(parts.path)
    side: _Side = "in" if l_shape[0] == 1 and l_shape[1] != 1 else "out"
    if len(stored) == 2 and 1 in l_shape:
        n = max(l_shape)
        for is_transposed in (transposed, not transposed):
            out, in_ = (stored[1], stored[0]) if is_transposed else stored
            if n == (out if side == "out" else in_):
                return side, (out, in_), Layout(transposed=is_transposed)
    raise AdapterError(
        f"{parts.where}: {shown(parts.path)}: ia3_l is {list(l_shape)}; "
        f"the base {shown(base.path)} has {list(stored)}"
    )


def _update(parts: Parts, base: BaseModel, layout: Layout, side: _Side) -> LowRankUpdate:
    W = base.matrix(ModuleKey(parts.path), layout)
    change = parts.read("ia3_l").ravel() - 1.0
    return from_dense(W * (change[:, None] if side == "out" else change[None, :]))


def _bias(parts: Parts, base: BaseModel) -> Array:
    return base.tensor(f"{parts.path}.bias") * (parts.read("ia3_l").ravel() - 1.0)
