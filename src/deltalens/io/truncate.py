"""The closest update of a lower rank, and what it leaves out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from deltalens.core.lowrank import LowRankUpdate

# Below this share of |B^T B| |A A^T| the traces of a Gram product have lost digits to cancellation.
_CANCELLED = 1e-6


@dataclass(frozen=True)
class ModuleCut:
    """One module: its rank as written, `|dW|_F`, and `|dW - kept|_F`."""

    module: str
    rank: int
    norm: float
    lost: float

    @property
    def discarded_energy(self) -> float:
        """`sum_(j > rank) S_j^2 / sum_j S_j^2`; 0 for a zero update."""
        return (self.lost / self.norm) ** 2 if self.norm > 0.0 else 0.0


@dataclass(frozen=True)
class Cuts:
    """What was kept of an adapter, module by module and over all."""

    modules: tuple[ModuleCut, ...]

    @property
    def norm(self) -> float:
        """`|dW|_F` over all modules, before anything was left out."""
        return math.hypot(*(cut.norm for cut in self.modules))

    @property
    def ranks(self) -> list[int]:
        """The ranks among the modules, ascending."""
        return sorted({cut.rank for cut in self.modules})

    @property
    def discarded_energy(self) -> float:
        """The share of `|dW|_F^2` over all modules that was left out."""
        return ModuleCut("", 0, self.norm, self._lost).discarded_energy

    @property
    def worst(self) -> ModuleCut | None:
        """The module that lost the largest share; None if nothing was left out."""
        worst = max(self.modules, key=lambda cut: cut.discarded_energy, default=None)
        return worst if worst is not None and worst.discarded_energy > 0.0 else None

    @property
    def _lost(self) -> float:
        return math.hypot(*(cut.lost for cut in self.modules))

    def document(self) -> dict[str, Any]:
        """The same as plain values."""
        return {
            "modules": len(self.modules),
            "ranks": self.ranks,
            "norm": self.norm,
            "discarded_energy": self.discarded_energy,
            "worst_module": self.worst.module if self.worst else None,
            "worst_discarded": self.worst.discarded_energy if self.worst else 0.0,
        }


def truncated(update: LowRankUpdate, rank: int) -> tuple[LowRankUpdate, float, float]:
    """Cut an update to `rank`, through its thin factors.

    `dW = sum_j S_j u_j v_j^T`, of which the first `rank` terms are the closest update of that rank
    (Eckart and Young, 1936). Each factor gets `sqrt(S_j)`: neither outgrows a narrow type. An
    update of that rank or less is kept as it is.

    Returns:
        The update, `|dW|_F`, and `|dW - kept|_F`, the root of the sum of the dropped `S_j^2`.
    """
    if update.rank <= rank:
        return update, _norm(update), 0.0
    if update.rank >= min(update.shape):
        from deltalens.io.truncate_dense import truncated_dense

        return truncated_dense(update.dense(), rank)
    U, S, V = update.svd()
    root = np.sqrt(S[:rank])
    kept = LowRankUpdate(U[:, :rank] * root, (V[:, :rank] * root).T)
    return kept, float(np.linalg.norm(S)), float(np.linalg.norm(S[rank:]))


def _norm(update: LowRankUpdate) -> float:
    """`|dW|_F`: by traces, a tenth of the cost of QR, unless the terms cancel."""
    with np.errstate(over="ignore", invalid="ignore"):  # squares overflow from 1e154 on
        GB, GA = update.B.T @ update.B, update.A @ update.A.T
        squared = float(np.sum(GB * GA))
        terms = float(np.linalg.norm(GB) * np.linalg.norm(GA))
        return math.sqrt(squared) if _CANCELLED * terms < squared < math.inf else update.norm()
