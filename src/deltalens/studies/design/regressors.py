"""From what two adapters were trained with to the regressors of their similarity.

`y_ab = b0 + b_seed [same seed] + b_task [same task] + b_harmful [both harmful]
+ b_harmless [both harmless] + b_style [same style] + e_ab`

Harm has two indicators, each against the mixed pairs (one harmful, one harmless): what two harmful
adapters share need not be what two harmless ones share, and one `same harm` would mix the two. A
style that is there or not (two levels) is treated alike; of three and more there is one indicator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from deltalens.core.shapes import Array, Float

Levels = Mapping[str, Sequence[str]]
MODEL = (
    "y = b0 + b [same seed] + b [same task] + b [both harmful] + b [both harmless] + b [same style]"
)
_PAIRED = ("harm", "style")


@dataclass(frozen=True, eq=False)
class Regressors:
    """The linear model of a design.

    Attributes:
        pairs: indices of the adapters, `i < j`.
        terms: names of the columns after the first, which is 1.
        factors: term -> the factor that it belongs to, for all terms, constant ones included.
        X: the intercept and an indicator a term, `Float[Array, "pairs terms_and_one"]`.
        constant: terms that are the same for every pair, with the reason why they have no effect.
    """

    pairs: tuple[tuple[int, int], ...]
    terms: tuple[str, ...]
    factors: Mapping[str, str]
    X: Float[Array, "p t"]
    constant: Mapping[str, str]

    def terms_of(self, factor: str) -> tuple[str, ...]:
        """The terms of a factor that vary."""
        return tuple(term for term in self.terms if self.factors[term] == factor)

    def rank(self) -> int:
        """Rank of X; under its width, effects cannot be told apart."""
        return int(np.linalg.matrix_rank(self.X))


def regressors(levels: Levels) -> Regressors:
    """The regressors of all pairs of a table; a term that never varies is left out, with why."""
    n = len(next(iter(levels.values())))
    pairs = tuple(combinations(range(n), 2))
    columns: dict[str, list[float]] = {}
    constant: dict[str, str] = {}
    factors: dict[str, str] = {}
    for factor, each in levels.items():
        for term, level in _terms(factor, each).items():
            factors[term] = factor
            column = [float(each[i] == each[j] and level in (None, each[i])) for i, j in pairs]
            if len(set(column)) > 1:
                columns[term] = column
            else:
                constant[term] = _why_constant(term, column[0])
    X = np.array([[1.0] * len(pairs), *columns.values()], dtype=np.float64).T
    return Regressors(pairs, tuple(columns), factors, X, constant)


def _terms(factor: str, levels: Sequence[str]) -> dict[str, str | None]:
    """Term -> the level that both must have, or None where any common one will do."""
    if factor == "harm":
        return {"both harmful": "harmful", "both harmless": "harmless"}
    found = sorted(set(levels))
    if factor in _PAIRED and len(found) == 2:
        return {f"both {factor} {level}": level for level in found}
    return {f"same {factor}": None}


def _why_constant(term: str, value: float) -> str:
    if value:
        return f"every pair is {term}: an effect needs pairs that are not"
    return f"no pair is {term}: an effect needs at least one such pair"
