"""The checkpoints of one run, in order of step: how its update turns and grows."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array, Float
from deltalens.geometry.survey import Survey
from deltalens.io.strict_json import absolute

_STEP = re.compile(r"(?:checkpoint|step|global_step)[-_]?([0-9]{1,12})\Z")


@dataclass(frozen=True)
class StepRow:
    """One checkpoint; cosines are of the whole update, None where one of them is zero.

    Attributes:
        adapter: its name.
        step: the number in its folder's name.
        norm: `|dW|_F` over all modules that every checkpoint holds.
        growth: norm over the last one's norm.
        cosine_first: with the first checkpoint.
        cosine_last: with the last one.
        turn_deg: angle to the checkpoint before it, in degrees; None for the first.
        path: length of the way so far, `sum |dW_i - dW_(i-1)|`, from the first checkpoint on.
    """

    adapter: str
    step: int
    norm: float
    growth: float | None
    cosine_first: float | None
    cosine_last: float | None
    turn_deg: float | None
    path: float


def step_of(path: str | Path) -> int | None:
    """The step in a checkpoint folder's name, or None."""
    match = _STEP.search(Path(path).name)
    return int(match[1]) if match else None


def is_one_run(adapters: Sequence[Adapter | str | Path]) -> bool:
    """Whether these are checkpoints of distinct steps in one folder."""
    paths = [Path(a) for a in adapters if not isinstance(a, Adapter)]
    if len(paths) < 2 or len(paths) != len(adapters):
        return False
    steps = [step_of(path) for path in paths]
    parents = {absolute(path).parent for path in paths}
    return None not in steps and len(set(steps)) == len(steps) and len(parents) == 1


def in_order(adapters: Sequence[Adapter | str | Path]) -> list[Adapter | str | Path]:
    """The checkpoints of one run by step."""
    return sorted(adapters, key=lambda a: step_of(str(a)) or 0)


def trajectory(s: Survey, steps: Sequence[int]) -> list[StepRow]:
    """One row a checkpoint, from the inner products of the survey alone.

    Args:
        s: the survey, checkpoints in order of step.
        steps: their steps.
    """
    inner = _whole(s)
    last = len(steps) - 1
    rows: list[StepRow] = []
    path = 0.0
    for i, step in enumerate(steps):
        cosine = None if i == 0 else _cosine(inner, i - 1, i)
        if i > 0:
            squared = inner[i, i] + inner[i - 1, i - 1] - 2 * inner[i - 1, i]
            path += math.sqrt(max(float(squared), 0.0))
        norm = math.sqrt(max(float(inner[i, i]), 0.0))
        end = math.sqrt(max(float(inner[last, last]), 0.0))
        rows.append(
            StepRow(
                adapter=s.names[i],
                step=step,
                norm=norm,
                growth=norm / end if end > 0 else None,
                cosine_first=_cosine(inner, 0, i),
                cosine_last=_cosine(inner, i, last),
                turn_deg=None if cosine is None else math.degrees(math.acos(cosine)),
                path=path,
            )
        )
    return rows


def trajectory_document(rows: Sequence[StepRow]) -> list[Mapping[str, Any]]:
    """The same as plain values."""
    return [asdict(row) for row in rows]


def _whole(s: Survey) -> Float[Array, "n n"]:
    """Inner products over the modules that every checkpoint holds."""
    held = np.flatnonzero((s.ranks > 0).all(axis=1))
    return s.inner[held].sum(axis=0)


def _cosine(inner: Float[Array, "n n"], i: int, j: int) -> float | None:
    product = float(np.sqrt(inner[i, i]) * np.sqrt(inner[j, j]))
    return max(-1.0, min(1.0, float(inner[i, j]) / product)) if product > 0 else None
