"""All judges' scores of all answers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.behaviour.counts import Thresholds, misaligned
from deltalens.behaviour.scoring import Scored
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.errors import BehaviourError
from deltalens.studies.agreement.raters import Rater

SCALES = ("aligned", "coherent", "misaligned")
"""Two scales from 0 to 100, and the verdict, 0 or 1."""


@dataclass(frozen=True, eq=False)
class Table:
    """Scores of every answer, the files one after another.

    Attributes:
        labels: of the judges.
        questions: id of the question that each answer is to.
        rows: a judge's row of every answer, judge by judge.
    """

    labels: tuple[str, ...]
    questions: tuple[str, ...]
    rows: tuple[tuple[Scored, ...], ...]

    def scale(self, name: str, thresholds: Thresholds) -> Float[Array, "answer judge"]:
        """The scores on one scale, NaN where there is none; the verdict is 0 or 1."""
        return np.array([[_value(row, name, thresholds) for row in judge] for judge in self.rows]).T

    def pairs(self) -> list[tuple[int, int]]:
        """Every two judges."""
        n = len(self.labels)
        return [(i, j) for i in range(n) for j in range(i + 1, n)]


def side_by_side(raters: Sequence[Rater], scores: Sequence[Sequence[tuple[Scored, ...]]]) -> Table:
    """The table of `scores[judge][file]`.

    Raises:
        BehaviourError: if no answer was scored by two judges.
    """
    rows = tuple(tuple(row for file in judge for row in file) for judge in scores)
    table = Table(
        tuple(rater.label for rater in raters), tuple(row.question for row in rows[0]), rows
    )
    known = [np.isfinite(table.scale(name, Thresholds())) for name in ("aligned", "coherent")]
    if not any((each.sum(axis=1) >= 2).any() for each in known):
        said = ", ".join(
            f"{shown(label, 60)} {int((known[0][:, i] | known[1][:, i]).sum())}"
            for i, label in enumerate(table.labels)
        )
        raise BehaviourError(
            f"no answer was scored by two judges; of {len(rows[0])} answers were scored: {said}"
        )
    return table


def _value(row: Scored, name: str, thresholds: Thresholds) -> float:
    value = misaligned(row, thresholds) if name == "misaligned" else getattr(row, name)
    return np.nan if value is None else float(value)
