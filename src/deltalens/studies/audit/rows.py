"""The typed rows of the audit's tables."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ComparedRow:
    """One published (or measured) mean beside the range.

    Attributes:
        model: base model, or `"adapters"` for real files.
        pair: which two.
        measure: which measure.
        k: directions.
        value: mean over layers.
        n_layers: layers that were printed; 0 where only a mean was.
        low: lowest mean of unrelated updates of one seed; None where the pair shares no seed.
        high: highest.
        inside: whether the value is within the range.
        families: the families of hypotheses whose own range holds the value.
        chance: mean for subspaces without a common initialisation.
        source: where the value was printed, or the folder that it was measured on.
    """

    model: str
    pair: str
    measure: str
    k: int
    value: float | None
    n_layers: int
    low: float | None
    high: float | None
    inside: bool | None
    families: tuple[str, ...]
    chance: float
    source: str


@dataclass(frozen=True)
class SimulatedRow:
    """One measure under one hypothesis.

    `error` is the Monte Carlo error of `mean`; `sd` is how much that mean (over a layer's modules;
    over all modules for real files) differs between pairs.
    """

    model: str
    family: str
    hypothesis: str
    spectrum: str
    inputs: str | None
    q: int
    measure: str
    k: int
    mean: float
    error: float
    sd: float
    draws: int


@dataclass(frozen=True)
class LayerRow:
    """One published value of one layer, or of one index for `pc_cosine_by_index`."""

    model: str
    pair: str
    measure: str
    axis: str
    position: int
    value: float
    source: str
