"""OFT: the weight's input side turned by a block-diagonal matrix, which needs the base.

`dW = W (R^T - I)`. A block of R comes from a skew-symmetric Q (the stored entries are its upper
triangle, by rows): the Cayley transform `(I - Q)(I + Q)^-1`, or what PEFT takes for its
series in n terms, `I + 2 Q + 2 Q^2 + ... + Q^(n-1)`, with the other sign
(`OFTRotationModule._cayley_batch`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import isqrt

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.layout import Layout
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.products import from_dense
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.fields import flag, number, whole
from deltalens.io.parts import Opened, Parts, spec_of
from deltalens.io.peft_parts import modules_of, peft_adapter
from deltalens.io.peft_types import PeftFolder
from deltalens.io.sources import Computed

_KNOWN = (
    *("r", "oft_block_size", "module_dropout", "fan_in_fan_out", "coft", "eps", "block_share"),
    *("use_cayley_neumann", "num_cayley_neumann_terms"),
)
GAUGE = "OFT's update is dense: its factors are none of training"
_TERMS = 100


@dataclass(frozen=True)
class OftSettings:
    """How Q becomes a rotation: terms of the series (None: exact), and COFT's bound on |Q|."""

    terms: int | None
    bound: float | None


def load_peft(folder: PeftFolder) -> Adapter:
    """Read an adapter of `peft_type` OFT.

    Raises:
        UnsupportedAdapterError: without the base, or for a convolution.
        AdapterError: naming the file, what was found and what is allowed.
    """
    base = folder.base
    if base is None:
        raise UnsupportedAdapterError(
            f"{folder.where}: OFT turns the base's own weights, so the base is needed; give --base"
        )
    modules, warnings = modules_of(folder, ("oft_R",), "OFT (PEFT 0.16 and later)", _KNOWN)
    settings = _settings(folder)
    opened: dict[ModuleKey, Opened] = {}
    for path, parts in modules.items():
        out, in_ = _shape(parts, base)
        spec = spec_of(parts, (out, in_), min(out, in_), limits=folder.limits, gauge=GAUGE)
        compute = partial(_update, parts, base, settings, in_)
        opened[ModuleKey(path)] = Opened(Computed(spec, compute))
    return peft_adapter(folder, opened, "oft", warnings)


def _settings(folder: PeftFolder) -> OftSettings:
    config, where = folder.config, folder.where
    series = flag(config.get("use_cayley_neumann", True), "use_cayley_neumann", where)
    terms = whole(config.get("num_cayley_neumann_terms", 5), "num_cayley_neumann_terms", where)
    if terms > _TERMS:
        raise AdapterError(
            f"{where}: num_cayley_neumann_terms is {terms}; at most {_TERMS} are allowed"
        )
    bounded = flag(config.get("coft", False), "coft", where)
    bound = number(config.get("eps", 6e-5), "eps", where)
    return OftSettings(terms if series else None, bound if bounded else None)


def _shape(parts: Parts, base: BaseModel) -> tuple[int, int]:
    parts.require_axes("oft_R", 2)
    stored = base.shape(parts.path)
    if len(stored) != 2:
        raise UnsupportedAdapterError(
            f"{parts.where}: {shown(parts.path)}: OFT is read on linear layers; the base has "
            f"{list(stored)}"
        )
    blocks, entries = parts.shape("oft_R")
    size = block_size(entries)
    if (
        size * (size - 1) // 2 != entries
        or stored[1] % size
        or blocks not in (1, stored[1] // size)
    ):
        raise AdapterError(
            f"{parts.where}: {shown(parts.path)}: oft_R is {[blocks, entries]}, which makes no "
            f"blocks of the {stored[1]} inputs that the base {shown(base.path)} has"
        )
    return stored[0], stored[1]


def block_size(entries: int) -> int:
    """The n whose upper triangle has `n (n - 1) / 2` entries."""
    return (1 + isqrt(1 + 8 * entries)) // 2


def rotations(
    upper: Float[Array, "blocks entries"], settings: OftSettings
) -> Float[Array, "blocks n n"]:
    """The blocks of R from the upper triangles of Q."""
    Q = _bounded(_skew(upper), settings.bound)
    eye = np.eye(Q.shape[1])
    if settings.terms is None:
        return (eye - Q) @ np.linalg.inv(eye + Q)
    return _series(Q, settings.terms)


def _skew(upper: Float[Array, "blocks entries"]) -> Float[Array, "blocks n n"]:
    n = block_size(upper.shape[1])
    whole = np.zeros((upper.shape[0], n, n))
    rows, columns = np.triu_indices(n, 1)
    whole[:, rows, columns] = upper
    return whole - whole.transpose(0, 2, 1)


def _bounded(Q: Float[Array, "blocks n n"], bound: float | None) -> Float[Array, "blocks n n"]:
    """COFT: each block's norm at most `eps / sqrt(blocks)`."""
    if bound is None:
        return Q
    most = bound / np.sqrt(len(Q))
    norms = np.linalg.norm(Q, axis=(1, 2), keepdims=True)
    return Q * np.where(norms <= most, 1.0, most / np.where(norms > 0.0, norms, 1.0))


def _series(Q: Float[Array, "blocks n n"], terms: int) -> Float[Array, "blocks n n"]:
    """PEFT's sum: `I + 2 Q + ... + 2 Q^(n-2) + Q^(n-1)`; `I + 2 Q` for 2 terms, I for 1."""
    total = np.broadcast_to(np.eye(Q.shape[1]), Q.shape).copy()
    if terms > 1:
        total += 2.0 * Q
    if terms > 2:
        power = Q @ Q
        total += 2.0 * power
        for _ in range(3, terms - 1):
            power = power @ Q
            total += 2.0 * power
        total += power @ Q
    return total


def _update(parts: Parts, base: BaseModel, settings: OftSettings, in_: int) -> LowRankUpdate:
    W = base.matrix(ModuleKey(parts.path), Layout())
    blocks = rotations(parts.read("oft_R"), settings)
    n = blocks.shape[1]
    change = np.broadcast_to(blocks, (in_ // n, n, n)) - np.eye(n)
    turned = np.einsum("obk,bck->obc", W.reshape(W.shape[0], -1, n), change)
    return from_dense(turned.reshape(W.shape))
