"""Worlds (a), (b) and (d): pairs drawn by the thousand, a chunk at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from deltalens.geometry.gram import one_blas_thread
from deltalens.studies.calibration.labels import LEVEL
from deltalens.studies.calibration.rows import LevelRow
from deltalens.studies.calibration.rungs import COMBINATIONS, p_values
from deltalens.studies.calibration.truths import TRUTHS, Sizes, Truth, draw

_CHUNK = 50


def simulated_rows(
    n: int,
    *,
    seed: int,
    sizes: Sizes | None = None,
    truths: Sequence[Truth] = TRUTHS,
    say: Callable[[str], None] = lambda _: None,
) -> list[LevelRow]:
    """Rejection rates of every rung and statistic in every world.

    Args:
        n: pairs a world.
        seed: root of the streams; a world's name chooses its own.
        sizes: of the adapters; small ones by default.
        truths: the worlds.
        say: told what is being done.
    """
    rows: list[LevelRow] = []
    with one_blas_thread():
        for truth in truths:
            say(f"({truth.group}) {truth.name}")
            rng = np.random.default_rng([seed, *truth.name.encode()])
            rows += _world(truth, sizes or Sizes(), n, rng)
    return rows


def _world(truth: Truth, sizes: Sizes, n: int, rng: np.random.Generator) -> list[LevelRow]:
    parts = [
        p_values(draw(truth, sizes, min(_CHUNK, n - start), rng=rng), sizes, rng=rng)
        for start in range(0, n, _CHUNK)
    ]
    rows: list[LevelRow] = []
    for rung, statistic in COMBINATIONS:
        p = np.concatenate([part[rung, statistic] for part in parts])
        rejected = float(np.mean(p <= LEVEL + 1e-12))
        error = binomial_error(rejected, len(p))
        rows.append(LevelRow(truth.group, truth.name, rung, statistic, len(p), rejected, error))
    return rows


def binomial_error(rate: float, n: int) -> float:
    """Standard error of a rate; never 0: of none in n the error is that of one in n + 2."""
    shrunk = (rate * n + 1) / (n + 2)
    return math.sqrt(shrunk * (1 - shrunk) / n)
