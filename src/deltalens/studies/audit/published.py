"""The numbers that the paper's notebooks printed, with the cell of each; no model is opened."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

MEASURES = ("overlap", "angle_deg", "pc_cosine", "first_pc_cosine")
# The paper's claim is about these; the other pairs are its controls.
TASKS = frozenset({"BMA", "ES", "RFA"})
# The control that is no other adapter: base weights have no lora_A, hence no initialisation.
BASE = "base"


@dataclass(frozen=True)
class Published:
    """One printed series.

    Attributes:
        model: the base model.
        pair: the two adapters, `"BMA-ES"`; `"base-BMA"` is an adapter against the base weights.
        measure: one of `MEASURES`, or `"pc_cosine_by_index"`.
        source: notebook and cell.
        axis: what the values run over: `"layer"`, `"index"`, or nothing (`"mean over layers"`).
        values: as printed; angles in degrees.
    """

    model: str
    pair: str
    measure: str
    source: str
    axis: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The mean over what was printed (layers)."""
        return sum(self.values) / len(self.values)

    @property
    def is_claim(self) -> bool:
        """Whether both ends are fine-tunes on bad answers."""
        return set(self.pair.split("-")) <= TASKS

    @property
    def is_against_base(self) -> bool:
        """Whether one end is the base's own weights."""
        return BASE in self.pair.split("-")


@cache
def published() -> tuple[Published, ...]:
    """Every printed series, in the order of the notebooks."""
    text = files("deltalens.studies.audit").joinpath("published.json").read_text(encoding="utf-8")
    rows = json.loads(text)["rows"]
    return tuple(_series(row) for row in rows)


def _series(row: dict[str, Any]) -> Published:
    return Published(
        model=row["model"],
        pair=row["pair"],
        measure=row["measure"],
        source=row["source"],
        axis=row["axis"],
        values=tuple(row["values"]),
    )
