"""`calibrate`: level and power of every rung, coverage of every interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deltalens.core.result import Result
from deltalens.errors import OptionError
from deltalens.io.provenance import versions
from deltalens.studies.calibration.coverage import coverage_rows
from deltalens.studies.calibration.labels import label_rows
from deltalens.studies.calibration.rows import CoverageRow, LabelRow, LevelRow
from deltalens.studies.calibration.simulated import simulated_rows
from deltalens.studies.calibration.trained import trained_rows
from deltalens.studies.calibration.truths import Sizes

PAIRS = 1000
_SAY: Callable[[str], None] = lambda _: None  # noqa: E731


@dataclass(frozen=True)
class Calibration:
    """Everything that was measured; `labels` follow from `levels` by the rule."""

    levels: tuple[LevelRow, ...]
    labels: tuple[LabelRow, ...]
    coverage: tuple[CoverageRow, ...]
    settings: dict[str, Any]

    def result(self) -> Result:
        """As a `Result` with tables `levels`, `labels` and `coverage`."""
        tables = {"levels": self.levels, "labels": self.labels, "coverage": self.coverage}
        document = {"settings": self.settings, **tables}
        provenance = {"settings": self.settings, "versions": versions()}
        return Result("calibration", document, tables, provenance)


def calibrate(
    *,
    pairs: int = PAIRS,
    seed: int = 0,
    organisms: Path | None = None,
    covariances: Path | None = None,
    say: Callable[[str], None] = _SAY,
) -> Calibration:
    """Try every rung in every world.

    Args:
        pairs: simulated pairs a world, at least 20; twice as many replicas for each interval.
        seed: of every draw.
        organisms: folder of trained organisms; without it world (c) is not tried.
        covariances: of their base.
        say: told what is being done.

    Raises:
        OptionError: for an impossible option.
        AdapterError: for organisms that cannot be read.
    """
    if pairs < 20:
        raise OptionError(f"--pairs must be 20 or more; found {pairs}")
    if seed < 0:
        raise OptionError(f"--seed must be 0 or more; found {seed}")
    trained: list[LevelRow] = []
    if organisms is not None:
        trained = trained_rows(organisms, covariances, seed=seed, say=say)
    levels = (*simulated_rows(pairs, seed=seed, say=say), *trained)
    say("intervals")
    settings = {
        "pairs": pairs,
        "seed": seed,
        "organisms": organisms and organisms.name,
        "sizes": Sizes(),
    }
    coverage = tuple(coverage_rows(2 * pairs, seed=seed))
    return Calibration(levels, tuple(label_rows(levels)), coverage, settings)
