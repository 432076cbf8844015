"""LoHa: the elementwise product of two low-rank matrices.

`dW = scaling (w1_a w1_b) o (w2_a w2_b)` (FedPara, arXiv 2108.06098). Convolutions may keep a core
`t (r, r, height, width)`: then each matrix is `sum t[i,j] w_a[i] (x) w_b[j]`, with
`w_a (r, out)` and `w_b (r, in)`.
"""

from __future__ import annotations

from functools import partial
from math import prod

import numpy as np

from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import hadamard, hadamard_rank
from deltalens.core.shapes import Array, Float
from deltalens.io.base import BaseModel
from deltalens.io.limits import Limits
from deltalens.io.parts import Opened, Parts, fitted, scaled, spec_of
from deltalens.io.sources import Computed

ROLES = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
CORES = ("hada_t1", "hada_t2")
GAUGE = "LoHa's update is a product of matrices: its factors are none of training"


def loha_rank(parts: Parts) -> int:
    """The rank of both matrices, from the tensors."""
    parts.require(ROLES)
    parts.require_axes("hada_w1_b", 2)
    return parts.shape("hada_w1_b")[0]


def opened_loha(parts: Parts, scaling: float, base: BaseModel | None, limits: Limits) -> Opened:
    """A module with LoHa's tensors.

    Raises:
        AdapterError: if one is missing or their shapes do not fit each other.
    """
    parts.require(ROLES)
    core = any(role in parts for role in CORES)
    if core:
        parts.require(CORES)
    for role in ROLES:
        parts.require_axes(role, 2)
    kernel = _kernel(parts) if core else ()
    first = 1 if core else 0  # cores are kept with w_a transposed
    ranks = {role: parts.shape(role)[1 - first] for role in ("hada_w1_a", "hada_w2_a")}
    ranks |= {role: parts.shape(role)[0] for role in ("hada_w1_b", "hada_w2_b")}
    rank = parts.require_equal("the ranks", ranks)
    parts.require_rank(rank, limits)
    sides = {role: parts.shape(role)[first] for role in ("hada_w1_a", "hada_w2_a")}
    out = parts.require_equal("the numbers of outputs", sides)
    sides = {role: parts.shape(role)[1] for role in ("hada_w1_b", "hada_w2_b")}
    in_ = parts.require_equal("the numbers of inputs", sides) * prod(kernel)
    layout = fitted(parts, (out, in_), base, kernel=kernel)
    spec = spec_of(
        parts,
        (out, in_),
        hadamard_rank((out, in_), rank, rank),
        limits=limits,
        layout=layout,
        gauge=GAUGE,
    )
    return Opened(Computed(spec, partial(_read, parts, scaling)), scaling)


def _kernel(parts: Parts) -> tuple[int, ...]:
    for role in CORES:
        parts.require_axes(role, 3, 4)
    rank = parts.shape("hada_w1_b")[0]
    sizes: dict[str, int] = {"w1_b": rank}
    for role in CORES:
        sizes |= {f"{role} (first)": parts.shape(role)[0], f"{role} (second)": parts.shape(role)[1]}
    parts.require_equal("the ranks", sizes)
    windows = {role: prod(parts.shape(role)[2:]) for role in CORES}
    parts.require_equal("the windows", windows)
    return parts.shape("hada_t1")[2:]


def with_core(
    core: Array, w_a: Float[Array, "rank out"], w_b: Float[Array, "rank in"]
) -> LowRankUpdate:
    """`sum_ij t[i, j, ...] w_a[i, out] w_b[j, in]` as `(out, in window)`."""
    inner = np.einsum("ij...,jd->id...", core, w_b)
    return LowRankUpdate(w_a.T, inner.reshape(w_a.shape[0], -1))


def _read(parts: Parts, scaling: float) -> LowRankUpdate:
    return scaled(hadamard(_matrix(parts, 1), _matrix(parts, 2)), scaling, parts)


def _matrix(parts: Parts, which: int) -> LowRankUpdate:
    w_a, w_b = parts.read(f"hada_w{which}_a"), parts.read(f"hada_w{which}_b")
    if f"hada_t{which}" in parts:
        return with_core(parts.read(f"hada_t{which}"), w_a, w_b)
    return LowRankUpdate(w_a, w_b)
