"""Effects of a design on one measure: least squares over pairs, intervals over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Array, Bool, Float
from deltalens.stats.intervals import MIN_REPLICATES, ROUNDING
from deltalens.stats.normal import t_quantile
from deltalens.studies.design.regressors import Regressors

_NULL = 1e-8
INTERCEPT = "nothing shared"


@dataclass(frozen=True)
class Effect:
    """One term of one measure.

    Attributes:
        term: `same seed`, ..., `nothing shared` for the intercept, or for a factor of two terms
            their mean (`same harm`), in which what one label has with every partner cancels.
        estimate: in the units of the measure; None with the reason.
        standard_error: by the jackknife; None with the reason.
        df: of the t quantile.
        reason: why estimate or interval are missing.
    """

    term: str
    estimate: float | None
    standard_error: float | None = None
    df: float | None = None
    reason: str | None = None

    def interval(self, level: float = 0.95) -> tuple[float, float] | None:
        """`estimate +- t_df se`, or None."""
        if self.estimate is None or self.standard_error is None or self.df is None:
            return None
        half = t_quantile(level, self.df) * self.standard_error
        return self.estimate - half, self.estimate + half

    def p(self) -> float | None:
        """Two-sided p of an effect of 0; None without a standard error."""
        if self.estimate is None or not self.standard_error or self.df is None:
            return None
        from scipy.special import stdtr

        return float(2 * stdtr(self.df, -abs(self.estimate) / self.standard_error))


def effects(
    found: Regressors, y: Sequence[float | None], units: Sequence[str]
) -> tuple[Effect, ...]:
    """Least-squares effects with intervals that know that pairs share runs.

    Pairs are no samples: the jackknife deletes a unit (a task, or an adapter) with all its pairs
    and fits again, `se^2 = (n - 1) / n * sum_u (b_(-u) - b)^2`, with t(n - 1) quantiles (Arvesen
    1969; SCIENCE section 5). By simulation the 95 % intervals cover as docs/design.md says.

    Args:
        found: the model.
        y: one value a pair of `found.pairs`; None is missing: left out.
        units: the unit of each adapter.
    """
    known = np.array([v is not None and math.isfinite(v) for v in y])
    values = np.array([v if k else np.nan for v, k in zip(y, known.tolist(), strict=True)], float)
    names, C = _contrasts(found)
    if int(known.sum()) <= found.X.shape[1]:
        why = f"{int(known.sum())} pairs have a value; more than {found.X.shape[1]} are needed"
        return tuple(Effect(name, None, reason=why) for name in names)
    b, estimable = _fit(found.X, values, known, C)
    every = list(dict.fromkeys(units))
    changes: list[Array] = []
    lost: list[list[str]] = [[] for _ in names]
    for unit in every:
        kept = known & ~_touched(found, units, unit)
        without, still = _fit(found.X, values, kept, C)
        changes.append(without - b)
        for i in np.flatnonzero(~still):
            lost[int(i)].append(unit)
    size = float(np.abs(values[known]).max(initial=0.0))
    return tuple(
        _effect(name, float(b[i]), bool(estimable[i]), [c[i] for c in changes], lost[i], size)
        for i, name in enumerate(names)
    )


def _contrasts(found: Regressors) -> tuple[tuple[str, ...], Float[Array, "c t"]]:
    """What is reported: every coefficient, and their combinations that have a name of their own."""
    columns = (INTERCEPT, *found.terms)
    names, rows = [*columns], np.eye(len(columns)).tolist()
    for factor in dict.fromkeys(found.factors[term] for term in found.terms):
        both = found.terms_of(factor)
        if len(both) == 2:
            names.append(f"same {factor}")
            rows.append([float(name in both) / 2.0 for name in columns])
    return tuple(names), np.array(rows)


def _touched(found: Regressors, units: Sequence[str], unit: str) -> Bool[Array, " p"]:
    return np.array([unit in (units[i], units[j]) for i, j in found.pairs])


def _fit(
    X: Float[Array, "p t"],
    y: Float[Array, " p"],
    kept: Bool[Array, " p"],
    C: Float[Array, "c t"],
) -> tuple[Float[Array, " c"], Bool[Array, " c"]]:
    """Contrasts of minimum-norm least squares, and which of them the kept pairs determine."""
    if not kept.any():
        return np.zeros(len(C)), np.zeros(len(C), dtype=bool)
    # X holds zeros and ones: squaring its condition loses nothing, and few columns are left.
    values, V = np.linalg.eigh(X[kept].T @ X[kept])
    held = values > values[-1] * _NULL
    b = V[:, held] @ ((V[:, held].T @ (X[kept].T @ y[kept])) / values[held])
    return C @ b, np.abs(C @ V[:, ~held]).max(axis=1, initial=0.0) < _NULL


def _effect(
    name: str,
    estimate: float,
    estimable: bool,
    changes: Sequence[float],
    lost: Sequence[str],
    size: float,
) -> Effect:
    n = len(changes)
    if not estimable:
        return Effect(name, None, reason="pairs without a value leave it undetermined")
    if n < MIN_REPLICATES:
        why = f"n = {n} units: an interval needs at least {MIN_REPLICATES}"
        return Effect(name, estimate, reason=why)
    if lost:
        why = f"it rests on {lost[0]} alone: without it there is nothing to compare"
        return Effect(name, estimate, reason=why)
    total = math.fsum(change**2 for change in changes)
    if math.sqrt(total) <= ROUNDING * size:
        why = "leaving any unit out changes nothing: an interval needs some spread"
        return Effect(name, estimate, reason=why)
    return Effect(name, estimate, math.sqrt((n - 1) / n * total), n - 1.0)
