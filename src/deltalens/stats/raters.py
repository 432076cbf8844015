"""Do judges agree? Kappa, Krippendorff's alpha and rank correlation.

Scores stand in a table of answers by judges, NaN where a judge gave none. Each measure is 1 for
judges that agree; kappa and rank correlation are 0 on average for scores that were dealt out at
random, and alpha is under 0 where judges differ in level. Each is None where it is not defined, as
where no score differs from another: agreement cannot be told from indifference.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from deltalens.core.shapes import Array, Float, Int
from deltalens.errors import OptionError

Weights = Literal["none", "linear", "quadratic"]
Statistic = Callable[[Array], float | None]
"""Of a table of answers by judges."""

_WEIGHTS = {"none": None, "linear": "linear", "quadratic": "quadratic"}


def binned(scores: Float[Array, "..."], *, width: float = 10.0, top: float = 100.0) -> Array:
    """Scores in classes of `width`: [0, 10), [10, 20), .. and [90, 100]; NaN stays NaN."""
    return np.minimum(np.floor(scores / width), np.ceil(top / width) - 1)


def kappa(classes: Float[Array, "answer judge"], weights: Weights = "quadratic") -> float | None:
    """Cohen's kappa of two judges over the answers that both scored.

    `1 - sum w_ij p_ij / sum w_ij p_i p_j` with w = 0 or 1, `|i - j|` or `(i - j)^2` (Cohen 1968),
    computed by statsmodels.

    Args:
        classes: whole numbers from 0, two columns; NaN is missing.
        weights: how far apart counts.

    Returns:
        Kappa, or None under two answers or where both judges put every answer in one class.

    Raises:
        OptionError: if there are not two columns.
    """
    if classes.shape[1] != 2:
        raise OptionError(f"kappa is of two judges; found {classes.shape[1]}")
    known = classes[np.isfinite(classes).all(axis=1)].astype(np.int64)
    if len(known) < 2 or np.ptp(known) == 0:
        return None
    if (np.ptp(known, axis=0) == 0).any():
        return 0.0  # exactly: what is seen is what chance gives
    from statsmodels.stats.inter_rater import cohens_kappa

    size = int(known.max()) + 1
    counts = np.bincount(known[:, 0] * size + known[:, 1], minlength=size * size)
    table = counts.reshape(size, size)
    found: Any = cohens_kappa(table, wt=_WEIGHTS[weights], return_results=False)
    return float(found)


def alpha(scores: Float[Array, "answer judge"]) -> float | None:
    """Krippendorff's alpha for numbers (interval metric), all judges at once, some missing.

    `1 - D_o / D_e`: the mean squared difference of two scores of one answer over that of any two
    scores, over answers with two scores or more, `D_o = sum_u m_u / (m_u - 1) * 2 s_u / n` with
    `s_u` the sum of squares about the answer's mean (Krippendorff 2011). For 0 and 1 this is the
    nominal alpha. In closed form, because a matrix of all pairs of values does not fit in memory.

    Returns:
        Alpha, or None without an answer that has two scores, or where all scores are equal.
    """
    m = np.isfinite(scores).sum(axis=1)
    kept = scores[m >= 2]
    if len(kept) == 0:
        return None
    m = m[m >= 2].astype(np.float64)
    mean = np.nansum(kept, axis=1) / m
    within = np.nansum((kept - mean[:, None]) ** 2, axis=1)
    n = m.sum()
    every = kept[np.isfinite(kept)]
    observed = float((2.0 * m * within / (m - 1.0)).sum() / n)
    expected = float(2.0 * n * ((every - every.mean()) ** 2).sum() / (n * (n - 1.0)))
    return 1.0 - observed / expected if np.ptp(every) > 0 else None


def rank_correlation(scores: Float[Array, "answer judge"]) -> float | None:
    """Spearman's rho of two judges; None under three answers, or where a judge gave one score."""
    known = scores[np.isfinite(scores).all(axis=1)]
    if len(known) < 3 or (np.ptp(known, axis=0) == 0).any():
        return None
    from scipy.stats import spearmanr

    found: Any = spearmanr(known[:, 0], known[:, 1])
    return float(found.statistic)


def mean_difference(scores: Float[Array, "answer judge"]) -> float | None:
    """The first judge's score minus the second's, on average; None without a common answer."""
    known = scores[np.isfinite(scores).all(axis=1)]
    return float((known[:, 0] - known[:, 1]).mean()) if len(known) else None


def scored_by(scores: Float[Array, "answer judge"]) -> Int[Array, "4"]:
    """Answers that both of two judges scored, the first alone, the second alone, and neither."""
    one, two = np.isfinite(scores).T
    return np.array(
        [(one & two).sum(), (one & ~two).sum(), (~one & two).sum(), (~one & ~two).sum()]
    )
