"""The geometry of an adapter while it is trained, by the library's own exact engine.

An adapter's live factors are an `Adapter` like any other: one `survey` compares them with where
they started, with where they were, and with an adapter from elsewhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array
from deltalens.geometry import layers
from deltalens.geometry.nulls.haar import overlap_moments
from deltalens.geometry.survey import Survey, survey
from deltalens.training.factors import Factors, as_adapter, common_k, untrained

_NOW: Final = 0  # its place among the adapters that are compared


@dataclass(frozen=True, slots=True)
class Measured:
    """What is measured at one step; None is undefined (an update of zero turns nowhere).

    Attributes:
        step: optimiser steps done.
        module: the module's path; None for the whole adapter.
        norm: `|dW|_F`.
        stable_rank: `|dW|_F^2 / sigma_1^2`; of the whole, the mean over layers.
        turn_previous: degrees between dW and what it was at the measure before.
        turn_first: degrees between dW and what it was when it first was not zero.
        cosine_A_initial: cosine of lora_A with where it started; of the whole, as above.
        cosine_against: update cosine with the other adapter.
        overlap_input: of the k leading input directions with the other adapter's, likewise.
        overlap_output: of the output directions.
        chance_input: what two random subspaces give, `k / in`.
        chance_output: `k / out`.
    """

    step: int
    module: str | None
    norm: float
    stable_rank: float | None
    turn_previous: float | None
    turn_first: float | None
    cosine_A_initial: float | None
    cosine_against: float | None
    overlap_input: float | None
    overlap_output: float | None
    chance_input: float | None
    chance_output: float | None


def measure(
    step: int,
    now: Factors,
    *,
    start: Factors | None = None,
    previous: Factors | None = None,
    first: Factors | None = None,
    against: Adapter | None = None,
) -> tuple[Measured, list[Measured]]:
    """Everything that is measured at one step: the whole, and every module.

    Args:
        step: optimiser steps done.
        now: the factors.
        start: where they started; None if that is not known.
        previous: at the measure before.
        first: when they first were not zero.
        against: an adapter of the same base.
    """
    keys, k = sorted(now), common_k(now, against)
    others = {
        "start": None if start is None else as_adapter("start", untrained(start)),
        "previous": None if previous is None else as_adapter("previous", previous),
        "first": None if first is None else as_adapter("first", first),
        "against": against,
    }
    held = {name: adapter for name, adapter in others.items() if adapter is not None}
    found = survey([as_adapter("now", now), *held.values()], keys, k)
    places = {name: i for i, name in enumerate(held, 1)}
    return _Reading(step, found, places).rows()


@dataclass(frozen=True, eq=False)
class _Reading:
    """One step's survey, and at which place each of the compared adapters stands."""

    step: int
    found: Survey
    places: Mapping[str, int]

    def rows(self) -> tuple[Measured, list[Measured]]:
        """The whole and the modules."""
        modules = self._modules()
        table = np.array([list(column) for column in zip(*modules.values(), strict=True)])
        rows = [
            Measured(self.step, str(key), *(_defined(value) for value in row))  # pyright: ignore[reportArgumentType]
            for key, row in zip(self.found.keys, table, strict=True)
        ]
        return self._whole(modules), rows

    def _modules(self) -> dict[str, Array]:
        found, missing = self.found, np.full(len(self.found.keys), np.nan)
        squares = found.inner[:, _NOW, _NOW]
        top = found.S[:, _NOW, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            stable = np.where(top > 0, squares / top**2, np.nan)
        other = self.places.get("against")
        sides = {
            side: missing if other is None else values["overlap"][:, _NOW, other]
            for side, values in found.measures.items()
        }
        chance = {
            side: np.array([overlap_moments(int(d), min(found.k, int(d)))[0] for d in widths])
            for side, widths in (("output", found.shapes[:, 0]), ("input", found.shapes[:, 1]))
        }
        start = self.places.get("start")
        return {
            "norm": np.sqrt(np.maximum(squares, 0.0)),
            "stable_rank": stable,
            "turn_previous": _degrees(self._cosines("previous")),
            "turn_first": _degrees(self._cosines("first")),
            "cosine_A_initial": missing if start is None else found.raw_cosine[:, _NOW, start],
            "cosine_against": self._cosines("against"),
            "overlap_input": sides["input"],
            "overlap_output": sides["output"],
            "chance_input": np.where(np.isnan(sides["input"]), np.nan, chance["input"]),
            "chance_output": np.where(np.isnan(sides["output"]), np.nan, chance["output"]),
        }

    def _whole(self, modules: Mapping[str, Array]) -> Measured:
        mean = {n: float(layers.mean(v, self.found.layers)) for n, v in modules.items()}
        whole = {
            "norm": float(np.sqrt(np.sum(modules["norm"] ** 2))),
            "turn_previous": _degrees(self._whole_cosine("previous")),
            "turn_first": _degrees(self._whole_cosine("first")),
            "cosine_against": self._whole_cosine("against"),
        }
        values: dict[str, Any] = {n: _defined(v) for n, v in (mean | whole).items()}
        return Measured(self.step, None, **values)

    def _cosines(self, name: str) -> Array:
        """Update cosine of each module with one of the others."""
        if (place := self.places.get(name)) is None:
            return np.full(len(self.found.keys), np.nan)
        inner = self.found.inner
        scale = np.sqrt(inner[:, _NOW, _NOW] * inner[:, place, place])
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(scale > 0, np.clip(inner[:, _NOW, place] / scale, -1, 1), np.nan)

    def _whole_cosine(self, name: str) -> float:
        """Update cosine of the whole, a module that one of them lacks being zero there."""
        if (place := self.places.get(name)) is None:
            return math.nan
        inner = np.nan_to_num(self.found.inner)
        shared = float(inner[:, _NOW, place].sum())
        scale = math.sqrt(float(inner[:, _NOW, _NOW].sum() * inner[:, place, place].sum()))
        return min(1.0, max(-1.0, shared / scale)) if scale > 0 else math.nan


def _degrees(cosine: Any) -> Any:
    return np.degrees(np.arccos(cosine))


def _defined(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
