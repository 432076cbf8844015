"""From simulated modules to what a layer's mean would be, and its range over the hypotheses."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.shapes import Float
from deltalens.geometry.gram import one_blas_thread
from deltalens.studies.audit.hypotheses import Hypothesis, hypotheses
from deltalens.studies.audit.published import MEASURES
from deltalens.studies.audit.shapes import LayerModule
from deltalens.studies.audit.simulate import Cuts, Draws, simulate

# Deviations by which a value may leave the range of means and still not be outside.
TOLERANCE = 3.0


@dataclass(frozen=True)
class Simulated:
    """What one hypothesis gives for the mean over the modules of a layer.

    Attributes:
        hypothesis: what was assumed.
        mean: of each measure.
        error: standard error of `mean` (Monte Carlo).
        sd: deviation of the mean over these modules between independent pairs.
        curve: PC cosine by index.
    """

    hypothesis: Hypothesis
    mean: Mapping[str, float]
    error: Mapping[str, float]
    sd: Mapping[str, float]
    curve: tuple[float, ...]


@dataclass(frozen=True)
class Range:
    """The lowest and the highest mean among hypotheses, and who gives them.

    Errors are those of the simulation; `low_sd` and `high_sd` say how far a single pair's value is
    from its mean.
    """

    measure: str
    low: float
    high: float
    low_error: float
    high_error: float
    low_sd: float
    high_sd: float
    low_from: str
    high_from: str

    def holds(self, value: float) -> bool:
        """Whether the value is inside, or within three deviations of one end."""
        low = self.low - TOLERANCE * math.hypot(self.low_error, self.low_sd)
        return low <= value <= self.high + TOLERANCE * math.hypot(self.high_error, self.high_sd)


def simulate_layer(
    modules: Sequence[LayerModule],
    cuts: Cuts,
    draws: int,
    *,
    seed: int,
    cases: Sequence[Hypothesis] | None = None,
    spectra: Sequence[Float[np.ndarray, "draws 2 r"]] | None = None,
    weights: Float[np.ndarray, " m"] | None = None,
) -> tuple[Simulated, ...]:
    """Every hypothesis at every module of a layer, averaged over the layer.

    Args:
        modules: of one layer, or of a whole model: the mean is over all of them.
        cuts: how many directions.
        draws: pairs per module and hypothesis, at least 2.
        seed: root of the streams; a module's place chooses its stream.
        cases: hypotheses, all by default.
        spectra: for each module the singular values of B in real files.
        weights: of the modules in the mean; by their counts unless given.
    """
    cases = hypotheses() if cases is None else cases
    with one_blas_thread():
        found = [
            simulate(
                module,
                cases,
                cuts,
                draws,
                rng=np.random.default_rng([seed, place]),
                spectra=None if spectra is None else spectra[place],
            )
            for place, module in enumerate(modules)
        ]
    counts = np.array([module.count for module in modules], dtype=float)
    share = counts / counts.sum() if weights is None else weights
    return tuple(_summary(case, h, found, share, counts) for h, case in enumerate(cases))


def _summary(
    case: Hypothesis,
    h: int,
    found: Sequence[Draws],
    weights: Float[np.ndarray, " m"],
    counts: Float[np.ndarray, " m"],
) -> Simulated:
    draws = found[0].measures.shape[1]
    mean = sum(w * f.measures[h].mean(axis=0) for w, f in zip(weights, found, strict=True))
    variances = [f.measures[h].var(axis=0, ddof=1) for f in found]
    of_mean = sum(w**2 * v / draws for w, v in zip(weights, variances, strict=True))
    # A layer holds `count` independent modules of a kind.
    of_pair = sum(w**2 * v / n for w, v, n in zip(weights, variances, counts, strict=True))
    curve = sum(w * f.curve[h] for w, f in zip(weights, found, strict=True))
    return Simulated(
        hypothesis=case,
        mean=_named(mean),
        error=_named(np.sqrt(of_mean)),
        sd=_named(np.sqrt(of_pair)),
        curve=tuple(np.asarray(curve).tolist()),
    )


def _named(values: object) -> dict[str, float]:
    return dict(zip(MEASURES, np.asarray(values, dtype=float).tolist(), strict=True))


def range_of(measure: str, found: Iterable[Simulated], layers: int = 1) -> Range:
    """The range of a measure over these hypotheses.

    Args:
        measure: which.
        found: the hypotheses.
        layers: independent layers that a value is the mean of.
    """
    ordered = sorted(found, key=lambda s: s.mean[measure])
    low, high = ordered[0], ordered[-1]
    return Range(
        measure,
        low.mean[measure],
        high.mean[measure],
        low.error[measure],
        high.error[measure],
        low.sd[measure] / math.sqrt(layers),
        high.sd[measure] / math.sqrt(layers),
        str(low.hypothesis),
        str(high.hypothesis),
    )


def nearest(values: Mapping[str, float], found: Sequence[Simulated]) -> tuple[Simulated, float]:
    """The hypothesis that comes nearest to all values at once, and how near.

    The distance is the largest over measures of `|simulated - value|`, in units of the width of
    that measure's range.
    """
    widths = {m: (r := range_of(m, found)).high - r.low for m in values}

    def distance(one: Simulated) -> float:
        return max(abs(one.mean[m] - v) / widths[m] for m, v in values.items())

    best = min(found, key=distance)
    return best, distance(best)
