"""LoKr: the Kronecker product of a small matrix and a larger one, each whole or factored.

`dW = scaling w1 (x) w2` with `w1 = w1_a w1_b` and `w2 = w2_a w2_b` where they are factored. A
convolution's w2 is `(out, in, height, width)`, whole or with a core `t2` as in LoHa; flattening it
first and flattening the product are the same.
"""

from __future__ import annotations

from functools import partial
from math import prod

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense, kronecker, narrowed
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.base import BaseModel
from deltalens.io.limits import Limits
from deltalens.io.loha import with_core
from deltalens.io.parts import Opened, Parts, fitted, scaled, spec_of
from deltalens.io.sources import Computed

WHOLE = ("lokr_w1", "lokr_w2")
CORE = "lokr_t2"
GAUGE = "LoKr's update is a product of matrices: its factors are none of training"


def lokr_rank(parts: Parts) -> int | None:
    """The rank of the factored matrices, from the tensors; None where both are whole."""
    ranks: dict[str, int] = {}
    for whole in WHOLE:
        if f"{whole}_b" in parts:
            parts.require_axes(f"{whole}_b", 2)
            ranks[f"{whole}_b"] = parts.shape(f"{whole}_b")[0]
    return parts.require_equal("the ranks", ranks) if ranks else None


def opened_lokr(parts: Parts, scaling: float, base: BaseModel | None, limits: Limits) -> Opened:
    """A module with LoKr's tensors.

    Raises:
        AdapterError: if one is missing or their shapes do not fit each other.
    """
    (a, b), small, _ = _sizes(parts, "lokr_w1", limits)
    (c, d), large, kernel = _sizes(parts, "lokr_w2", limits)
    shape = (a * c, b * d)
    layout = fitted(parts, shape, base, kernel=kernel)
    spec = spec_of(parts, shape, small * large, limits=limits, layout=layout, gauge=GAUGE)
    return Opened(Computed(spec, partial(_read, parts, scaling)), scaling)


def _sizes(
    parts: Parts, whole: str, limits: Limits
) -> tuple[tuple[int, int], int, tuple[int, ...]]:
    """`(out, in)` of one of the two matrices, the rank it is carried at, and its window."""
    second = whole == WHOLE[1]
    a, b = f"{whole}_a", f"{whole}_b"
    if whole in parts:
        for role in (a, b, *((CORE,) if second else ())):
            if role in parts:
                raise AdapterError(
                    f"{parts.where}: {shown(parts.path)} has both {whole} and {role}; "
                    "it is whole or factored"
                )
        parts.require_axes(whole, *((2, 3, 4) if second else (2,)))
        out, in_, *window = parts.shape(whole)
        in_ *= prod(window)
        return (out, in_), min(out, in_), tuple(window)
    parts.require((a, b))
    parts.require_axes(a, 2)
    parts.require_axes(b, 2)
    core = second and CORE in parts
    window = _window(parts) if core else ()
    inner = parts.shape(a)[0 if core else 1]
    rank = parts.require_equal("the inner ranks", {a: inner, b: parts.shape(b)[0]})
    parts.require_rank(rank, limits)
    out, in_ = parts.shape(a)[1 if core else 0], parts.shape(b)[1] * prod(window)
    return (out, in_), min(rank, out, in_), window


def _window(parts: Parts) -> tuple[int, ...]:
    parts.require_axes(CORE, 3, 4)
    first, second, *window = parts.shape(CORE)
    ranks = {f"{CORE} (first)": first, f"{CORE} (second)": second}
    parts.require_equal("the ranks", {**ranks, "lokr_w2_b": parts.shape("lokr_w2_b")[0]})
    return tuple(window)


def _read(parts: Parts, scaling: float) -> LowRankUpdate:
    product = kronecker(_matrix(parts, "lokr_w1"), _matrix(parts, "lokr_w2"))
    return scaled(product, scaling, parts)


def _matrix(parts: Parts, whole: str) -> LowRankUpdate:
    if whole in parts:
        W = parts.read(whole)
        return from_dense(W.reshape(W.shape[0], -1))
    w_a, w_b = parts.read(f"{whole}_a"), parts.read(f"{whole}_b")
    core = whole == WHOLE[1] and CORE in parts
    factored = with_core(parts.read(CORE), w_a, w_b) if core else LowRankUpdate(w_a, w_b)
    return narrowed(factored)
