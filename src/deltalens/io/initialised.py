"""PiSSA and OLoRA: initialisations that take a part out of the base and train it.

At the start `s B0 A0` is taken out of W, so an unconverted file means `dW = s B A - s B0 A0`. The
part is rebuilt from the base: for PiSSA (arXiv 2404.02948) the best approximation of rank r, for
OLoRA (arXiv 2406.01775) `s Q_r R_r` of `W = Q R` (PEFT `LoraLayer.pissa_init`, `olora_init`).
A converted file, of twice the rank, holds both parts already and is plain LoRA.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import AdapterError, UnsupportedAdapterError
from deltalens.io.base import BaseModel
from deltalens.io.sources import Computed, Factors, Source, Sources

# Where neighbours are closer than this, which of them training took out is rounding's choice.
_GAP = 1e-5


def leading_part(W: Float[Array, "out in"], rank: int) -> LowRankUpdate:
    """The best approximation of W of a rank, through the smaller of `W W^T` and `W^T W`.

    Raises:
        AdapterError: if singular values `rank` and `rank + 1` are too close to tell apart.
    """
    from scipy.linalg import eigh  # 0.1 s that no plain adapter needs

    if W.shape[0] > W.shape[1]:
        turned = leading_part(W.T, rank)
        return LowRankUpdate(turned.A.T, turned.B.T)
    n = W.shape[0]
    low = max(0, n - rank - 1)
    values, vectors = eigh(W @ W.T, subset_by_index=(low, n - 1))
    S = np.sqrt(np.maximum(values, 0.0))
    if rank < n and S[1] - S[0] <= _GAP * S[-1]:
        raise AdapterError(
            f"singular values {rank} and {rank + 1} of the base's weight are equal to "
            f"{_GAP:g}: the part that PiSSA took out is not determined"
        )
    U = vectors[:, -min(rank, n) :]
    return LowRankUpdate(U, U.T @ W)


def leading_columns(W: Float[Array, "out in"], rank: int, scaling: float) -> LowRankUpdate:
    """`s Q_r R_r` of the QR decomposition; signs cancel in the product."""
    Q, R = np.linalg.qr(W)
    return LowRankUpdate(scaling * Q[:, :rank], R[:rank])


def without_taken_part(
    sources: Sources, method: str, base: BaseModel | None, where: str
) -> dict[ModuleKey, Source]:
    """Every source less what its initialisation took out of the base.

    Raises:
        UnsupportedAdapterError: without a base.
        AdapterError: for a module that the initialisation does not apply to.
    """
    if base is None:
        raise UnsupportedAdapterError(
            f"{where}: init_lora_weights {method!r} took a part out of the base's weights, so the "
            "base is needed; give --base, or convert the adapter to plain LoRA when saving "
            "(path_initial_model_for_weight_conversion)"
        )
    return {key: _source(key, source, method, base, where) for key, source in sources.items()}


def _source(key: ModuleKey, source: Source, method: str, base: BaseModel, where: str) -> Source:
    spec = source.spec
    scaling = source.scaling if isinstance(source, Factors) and not spec.layout.kernel else 0.0
    if scaling <= 0 or (method == "olora" and spec.layout.transposed):
        raise AdapterError(
            f"{where}: {shown(key)}: {method} is defined for linear layers with a positive scaling"
        )
    if base.shape(key.path) != spec.stored:
        raise AdapterError(
            f"{where}: {shown(key)} is {list(spec.stored)}; the base {shown(base.path)} has "
            f"{list(base.shape(key.path))}"
        )
    rank = min(spec.rank, *spec.shape)

    def compute() -> LowRankUpdate:
        W = base.matrix(key, spec.layout)
        try:
            taken = (
                leading_part(W, rank) if method == "pissa" else leading_columns(W, rank, scaling)
            )
        except AdapterError as error:
            raise AdapterError(f"{where}: {shown(key)}: {error}") from None
        return source.read() - taken

    gauge = f"{method} starts from the base's own directions, not at random"
    return Computed(replace(spec, rank=spec.rank + rank, gauge=gauge), compute)
