"""Input overlap of each pair once the true initial rows are projected out of both updates."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import DeltalensError, GeometryError
from deltalens.geometry.initial_rows import (
    HALF_PRECISION,
    LEAST_DRIFT,
    drift,
    initial_basis,
    residual_frame,
    space_left,
)
from deltalens.geometry.layers import mean, weights
from deltalens.geometry.nulls.haar import overlap_moments
from deltalens.geometry.survey import Survey
from deltalens.io.initial import InitialFactors
from deltalens.studies.compare.activation import NO_RESIDUAL, Ends, Start

_LEAST_COSINE = 0.5


def residual_fields(
    adapters: Sequence[Adapter], starts: Sequence[Start], s: Survey, ends: Sequence[Ends]
) -> dict[Ends, dict[str, Any]]:
    """`residual_overlap` of each pair, both starts known, with Haar in the space that is left.

    It describes: of unrelated tasks of one seed most exceed the null (docs/covariances.md).
    """
    values = {pair: np.full((len(s.keys), 3), np.nan) for pair in ends}
    reasons: dict[Ends, str] = {}
    for row, key in enumerate(s.keys):
        module = _Module(adapters, starts, key, s.k)
        for i, j in ends:
            if key in adapters[i].specs and key in adapters[j].specs:
                try:
                    values[i, j][row] = module.overlap(i, j)
                except DeltalensError as why:
                    reasons.setdefault((i, j), str(why))
    return {pair: _fields(values[pair], s.layers, reasons.get(pair)) for pair in ends}


def _fields(found: Float[Array, "m 3"], layers: Array, reason: str | None) -> dict[str, Any]:
    defined = ~np.isnan(found[:, 0])
    if not defined.any():
        return {**NO_RESIDUAL, "residual_overlap_reason": reason or "no module has both updates"}
    w = weights(found[:, 0], layers)
    return {
        "residual_overlap": float(mean(found[:, 0], layers)),
        "residual_overlap_null": {
            "mean": float(np.nansum(w * found[:, 1])),
            "sd": math.sqrt(float(np.nansum((w * found[:, 2]) ** 2))),
            "draws": 0,
        },
        "residual_overlap_modules": int(defined.sum()),
        "residual_overlap_reason": reason,
    }


class _Module:
    """One module of every adapter: bases by their starts, frames by adapter and basis."""

    def __init__(
        self, adapters: Sequence[Adapter], starts: Sequence[Start], key: ModuleKey, k: int
    ) -> None:
        self._adapters, self._key, self._k = adapters, key, k
        self._starts = starts
        self._known: dict[int, tuple[Array, str]] = {}
        self._updates: dict[int, LowRankUpdate] = {}
        self._bases: dict[frozenset[str], Array] = {}
        self._frames: dict[tuple[int, frozenset[str]], Array | GeometryError] = {}

    def overlap(self, i: int, j: int) -> tuple[float, float, float]:
        """Overlap, and its mean and deviation under Haar in the space that is left.

        Raises:
            DeltalensError: why it is undefined here.
        """
        (A_i, one), (A_j, two) = self._start(i), self._start(j)
        starts = frozenset({one, two})
        if starts not in self._bases:
            self._bases[starts] = initial_basis([A_i] if one == two else [A_i, A_j])
        basis = self._bases[starts]
        left = space_left(A_i.shape[1], basis, self._k)
        X, Y = self._frame(i, starts), self._frame(j, starts)
        return float(np.sum((X.T @ Y) ** 2)) / self._k, *overlap_moments(left, self._k)

    def _start(self, i: int) -> tuple[Array, str]:
        if i not in self._known:
            start = self._starts[i]
            assert isinstance(start, InitialFactors)  # pairs without one are left out before
            A0 = start.A(self._key)
            self._known[i] = A0, hashlib.sha256(np.ascontiguousarray(A0).tobytes()).hexdigest()
        return self._known[i]

    def _update(self, i: int) -> LowRankUpdate:
        if i not in self._updates:
            self._updates[i] = self._adapters[i][self._key]
        return self._updates[i]

    def _frame(self, i: int, starts: frozenset[str]) -> Array:
        if (i, starts) not in self._frames:
            try:
                self._frames[i, starts] = self._made(i, self._bases[starts])
            except GeometryError as why:
                self._frames[i, starts] = why
        found = self._frames[i, starts]
        if isinstance(found, GeometryError):
            raise found
        return found

    def _made(self, i: int, basis: Array) -> Array:
        adapter, (A0, _), update = self._adapters[i], self._start(i), self._update(i)
        roundoff = adapter.specs[self._key].roundoff
        alike = float(np.sum(update.A * A0))
        if not alike > _LEAST_COSINE * float(np.linalg.norm(update.A) * np.linalg.norm(A0)):
            raise self._undefined(i, "the initial file is not the start of its lora_A")
        moved = drift(update.A, A0, roundoff)
        if roundoff > HALF_PRECISION and moved < LEAST_DRIFT:
            raise self._undefined(
                i,
                f"lora_A drifted by {moved:.2%} of its norm, under {LEAST_DRIFT:.0%}: in "
                "a 16-bit file that is rounding, which the pair shares",
            )
        frame = residual_frame(update, basis, self._k, roundoff)
        if frame is None:
            raise self._undefined(
                i,
                f"fewer than k = {self._k} directions outside the initial rows stand "
                "above rounding",
            )
        return frame

    def _undefined(self, i: int, why: str) -> GeometryError:
        return GeometryError(f"{shown(self._adapters[i].name)}, {shown(self._key)}: {why}")
