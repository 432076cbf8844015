"""The typed rows that a comparison returns, and the names of its measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deltalens.core.subspace import Side

# Name in the document -> (side, name in the survey); angles are degrees there, radians here.
SUBSPACE_MEASURES: Mapping[str, tuple[Side, str]] = {
    "pc_cosine": ("input", "pc_cosine"),
    "angle_deg": ("input", "angle"),
    "overlap": ("input", "overlap"),
    "energy_overlap": ("input", "energy_overlap"),
    "output_pc_cosine": ("output", "pc_cosine"),
    "output_angle_deg": ("output", "angle"),
    "output_overlap": ("output", "overlap"),
    "output_energy_overlap": ("output", "energy_overlap"),
}
COSINES = ("cosine", "layer_cosine")
MEASURES = (*COSINES, *SUBSPACE_MEASURES)
WEIGHTED = "activation_cosine"  # where covariances were given
INPUT_SIDE = tuple(name for name, (side, _) in SUBSPACE_MEASURES.items() if side == "input")
# More alike means a smaller angle; every other measure grows.
SMALLER_IS_ALIKE = frozenset({"angle_deg", "output_angle_deg"})


def measured(pairs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The measures that these pairs' documents have, the activation-weighted cosine last."""
    weighted = any(pair.get(WEIGHTED) is not None for pair in pairs)
    return (*MEASURES, WEIGHTED) if weighted else MEASURES


@dataclass(frozen=True)
class Moments:
    """What a null gives for one measure of one pair.

    Attributes:
        mean: expectation under the null.
        sd: deviation under the null.
        draws: draws behind them, 0 for a closed form.
        p: `(1 + #{as alike}) / (draws + 1)` where the draws themselves were kept, else None.
        low: smallest value of a bank; None for the other nulls.
        high: largest value of a bank.
    """

    mean: float
    sd: float
    draws: int = 0
    p: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Pair:
    """One pair of adapters (or an adapter and the base), all measures, all nulls.

    `nulls` maps a null to its moments by measure, or to the reason why it cannot be given.
    `split` holds the input-side measures over the modules that share their initialisation and over
    those that do not, where a pair has both. `n_no_init` counts the modules where an update is
    dense and has no initialisation to compare.
    """

    a: str
    b: str
    init_similarity: float | None
    row_space_overlap: float | None
    shared_init: str
    n_shared_init: int
    n_partial_init: int
    n_no_init: int
    n_modules: int
    n_missing: int
    n_refused: int
    n_near_tie: int
    values: Mapping[str, float | None]
    nulls: Mapping[str, Mapping[str, Moments] | str]
    null_used: Mapping[str, str]
    z: Mapping[str, float | None]
    p: Mapping[str, float | None]
    split: Mapping[str, Mapping[str, float | None]]
    k: int
    seed_floor: float | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PairRow:
    """One row of `results/pairs.parquet`: a measure of a pair beside the null that applies."""

    a: str
    b: str
    measure: str
    k: int
    value: float | None
    null: str | None
    mean: float | None
    sd: float | None
    z: float | None
    p: float | None
    shared_init: str
    n_modules: int


@dataclass(frozen=True)
class ModuleRow:
    """One row of `results/modules.parquet`: a measure of a pair at one module."""

    a: str
    b: str
    layer: int | None
    module: str
    side: str
    measure: str
    k: int
    value: float | None
    null: str | None
    mean: float | None
    sd: float | None
    p: float | None


@dataclass(frozen=True)
class BankRow:
    """One row of `results/bank.parquet`: a measure between an adapter and a bank's member."""

    adapter: str
    member: str
    measure: str
    k: int
    value: float | None


@dataclass(frozen=True)
class SpectrumRow:
    """One row of `results/spectra.parquet`: one adapter's update at one module."""

    adapter: str
    layer: int | None
    module: str
    rank: int
    numerical_rank: int
    norm: float
    singular_values: tuple[float, ...]
    k: int
    sigma_k_ratio: float | None
    gap_at_k: float | None
    condition_A: float | None
    by_qr: bool
