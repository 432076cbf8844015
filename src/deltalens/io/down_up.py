"""LoRA as image tools store it: a down and an up factor a module, and perhaps an alpha.

`dW = (alpha / rank) up @ down`; without an alpha the scale is 1. A convolution's down is
`(rank, in, height, width)` and its up `(out, rank, 1, 1)`.
"""

from __future__ import annotations

from functools import partial
from math import prod

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel
from deltalens.io.limits import Limits
from deltalens.io.parts import Opened, Parts, fitted, scaled, spec_of
from deltalens.io.sources import Computed

ZERO_ALPHA = "alpha 0 read as a scale of 0; sd-scripts and LyCORIS take 0 to mean the rank, scale 1"


def alpha_scaling(parts: Parts, rank: int) -> tuple[float, tuple[str, ...]]:
    """`alpha / rank`, 1 without alpha; and what to warn of."""
    if "alpha" not in parts:
        return 1.0, ()
    shape = parts.shape("alpha")
    if shape not in ((), (1,)):
        raise AdapterError(
            f"{parts.where}: tensor {shown(parts.names['alpha'])} has shape {list(shape)}; "
            "alpha is one number"
        )
    alpha = parts.read_number("alpha")
    return alpha / rank, () if alpha != 0.0 else (ZERO_ALPHA,)


def opened_pair(
    parts: Parts,
    base: BaseModel | None,
    limits: Limits,
    scaling: float | None = None,
) -> Opened:
    """A module with the roles `down`, `up` and, where the file has it, `alpha`.

    Args:
        parts: the module's tensors.
        base: the base, where it is at hand.
        limits: what an untrusted file may cost.
        scaling: where the file says it elsewhere than in alpha.

    Raises:
        AdapterError: if a factor is missing, or their shapes are not those of a pair.
    """
    parts.require(("down", "up"))
    parts.require_axes("down", 2, 3, 4)
    parts.require_axes("up", 2, 3, 4)
    down, up = parts.shape("down"), parts.shape("up")
    if any(n != 1 for n in up[2:]):
        raise AdapterError(
            f"{parts.where}: tensor {shown(parts.names['up'])} has shape {list(up)}; "
            "the second factor of a convolution has a window of 1"
        )
    rank = parts.require_equal("the inner ranks", {"down": down[0], "up": up[1]})
    parts.require_rank(rank, limits)
    found, warnings = (scaling, ()) if scaling is not None else alpha_scaling(parts, rank)
    shape = (up[0], prod(down[1:]))
    layout = fitted(parts, shape, base, kernel=down[2:])
    spec = spec_of(parts, shape, rank, limits=limits, layout=layout)
    return Opened(Computed(spec, partial(_read, parts, found)), found, warnings)


def _read(parts: Parts, scaling: float) -> LowRankUpdate:
    up, down = parts.read("up"), parts.read("down")
    plain = LowRankUpdate(up.reshape(up.shape[0], -1), down.reshape(down.shape[0], -1))
    return scaled(plain, scaling, parts)
