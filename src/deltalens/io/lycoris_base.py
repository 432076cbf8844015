"""LyCORIS's methods that multiply the base's own weights: OFT in blocks, GLoRA and IA3.

OFT turns the output side: block k of rows becomes `R_k^T W_k` with `R = (I + Q)(I - Q)^-1`,
`Q = blocks - blocks^T`, as far as a bound `alpha * out` on `|Q|` lets it, and `rescale` then
multiplies rows. GLoRA is `alpha / rank (W a1 a2 + b1 b2)`, over the input channels of a
convolution. IA3 is `W` times a vector along its inputs or outputs (no `l - 1`, as in PEFT).
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import AdapterError
from deltalens.io.down_up import alpha_scaling
from deltalens.io.limits import Limits
from deltalens.io.lycoris import BaseNames, Weight
from deltalens.io.parts import Opened, Parts, spec_of
from deltalens.io.sources import Computed

GLORA = ("a1.weight", "a2.weight", "b1.weight", "b2.weight")
GAUGE = "the update is made of the base's own weights: its factors are none of training"
UNBOUNDED = "alpha 0 of OFT read as no bound on the turn, as LyCORIS writes it"


def opened_oft(parts: Parts, names: BaseNames, limits: Limits) -> Opened:
    """A module with `oft_blocks (blocks, n, n)`, and perhaps `rescale` and `alpha`.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if the blocks do not make up the base's outputs.
    """
    weight = names.weight(parts, "OFT turns the base's own weights")
    parts.require_axes("oft_blocks", 3)
    (blocks, n, m), out = parts.shape("oft_blocks"), weight.shape[0]
    if n != m or blocks * n != out:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)}: oft_blocks is {[blocks, n, m]}, which makes no "
            f"square blocks of the {out} outputs that the base has"
        )
    if "rescale" in parts and prod(parts.shape("rescale")) != out:
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)}: rescale is {list(parts.shape('rescale'))}; the "
            f"base has {out} outputs"
        )
    alpha, _ = alpha_scaling(parts, 1)
    bound = alpha * out if "alpha" in parts else 0.0

    def compute(W: Float[Array, "out in"]) -> Float[Array, "out in"]:
        R = rotations(parts.read("oft_blocks"), bound)
        turned = np.einsum("knm,kni->kmi", R, W.reshape(blocks, n, -1)).reshape(W.shape)
        if "rescale" in parts:
            turned *= parts.read("rescale").reshape(out, 1)
        return turned - W

    warnings = (UNBOUNDED,) if "alpha" in parts and alpha == 0.0 else ()
    return _opened(parts, weight, compute, None, warnings, limits)


def rotations(blocks: Float[Array, "k n n"], bound: float) -> Float[Array, "k n n"]:
    """The blocks of R; a bound of 0 or less is none."""
    skew = blocks - blocks.transpose(0, 2, 1)
    norm = float(np.linalg.norm(skew)) + 1e-8
    Q = skew * (bound / norm) if 0.0 < bound < norm else skew
    eye = np.eye(Q.shape[1])
    return (eye + Q) @ np.linalg.inv(eye - Q)


def opened_glora(parts: Parts, names: BaseNames, limits: Limits) -> Opened:
    """A module with `a1 (in, r)`, `a2 (r, in)`, `b1 (out, r)`, `b2 (r, in)`, and perhaps `alpha`.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if a factor is missing, or the shapes do not fit the base's weight.
    """
    parts.require(GLORA)
    weight = names.weight(parts, "GLoRA multiplies the base's own weights")
    for role in GLORA:
        parts.require_axes(role, 2, 3, 4)
    a1, a2, b1, b2 = (parts.shape(role) for role in GLORA)
    out, in_, *window = weight.shape
    rank = parts.require_equal("the ranks", {"a1": a1[1], "a2": a2[0], "b1": b1[1], "b2": b2[0]})
    parts.require_rank(rank, limits)
    parts.require_equal("the inputs", {"a1": a1[0], "a2": a2[1], "b2": b2[1], "base": in_})
    parts.require_equal("the outputs", {"b1": b1[0], "base": out})
    parts.require_equal("the windows", {"b2": prod(b2[2:]), "base": prod(window)})
    ones = {"a1": prod(a1[2:]), "a2": prod(a2[2:]), "b1": prod(b1[2:]), "of one": 1}
    parts.require_equal("the windows", ones)
    scaling, warnings = alpha_scaling(parts, rank)

    def compute(W: Float[Array, "out in"]) -> Float[Array, "out in"]:
        A1, A2, B1, B2 = (parts.read(role).reshape(parts.shape(role)[0], -1) for role in GLORA)
        mixed = np.einsum("oik,ir,rj->ojk", W.reshape(out, in_, -1), A1, A2, optimize=True)
        return scaling * (mixed.reshape(W.shape) + B1 @ B2)

    return _opened(parts, weight, compute, scaling, warnings, limits)


def opened_ia3(parts: Parts, names: BaseNames, limits: Limits) -> Opened:
    """A module with a `weight` for each input or output, and `on_input` that says which.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: if one is missing, or the vector does not fit the base's weight.
    """
    parts.require(("weight", "on_input"))
    weight = names.weight(parts, "IA3 scales the base's own weights")
    on_input = parts.read_number("on_input")
    if on_input not in (0.0, 1.0):
        raise AdapterError(
            f"{parts.where}: tensor {shown(parts.names['on_input'])} is {on_input:g}; 0 or 1 is "
            "allowed"
        )
    side = int(on_input)
    size = prod(parts.shape("weight"))
    parts.require_equal("the sizes", {"weight": size, "base": weight.shape[side]})

    def compute(W: Float[Array, "out in"]) -> Float[Array, "out in"]:
        shape = (1, size, 1) if side else (size, 1, 1)
        cube = W.reshape(*weight.shape[:2], -1)
        return (cube * parts.read("weight").reshape(shape)).reshape(W.shape)

    return _opened(parts, weight, compute, None, (), limits)


def _opened(
    parts: Parts,
    weight: Weight,
    compute: Callable[[Float[Array, "out in"]], Float[Array, "out in"]],
    scaling: float | None,
    warnings: tuple[str, ...],
    limits: Limits,
) -> Opened:
    layout = Layout(kernel=weight.shape[2:])
    shape = (weight.shape[0], prod(weight.shape[1:]))
    spec = spec_of(parts, shape, min(shape), limits=limits, layout=layout, gauge=GAUGE)

    def read() -> LowRankUpdate:
        change = compute(layout.matrix(weight.read()))
        if not np.isfinite(change).all():
            raise AdapterError(
                f"{parts.where}: {shown(parts.path)}: the update exceeds the range of float64"
            )
        return from_dense(change)

    return Opened(Computed(spec, read), scaling, warnings)
