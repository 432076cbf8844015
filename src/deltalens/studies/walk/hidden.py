"""Features of the points of a walk against the line between those of its ends.

The hidden states of the two ends and of the base are kept on disk while the walk lasts; a point's
own are measured a batch at a time and dropped. In memory there is a batch of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from deltalens.connectivity.features import FeatureLinearity, LinearitySums
from deltalens.core.protocols import FeatureBatch
from deltalens.studies.walk.along import At
from deltalens.studies.walk.kept import Kept, keep, require_finite
from deltalens.studies.walk.tokens import Reading


class States(NamedTuple):
    """Hidden states of both ends and of the base."""

    start: Kept
    end: Kept
    base: Kept


class Ends:
    """Features of points, measured against those of the ends; these are read when first needed."""

    def __init__(
        self,
        at: At,
        reading: Callable[[], Reading],
        *,
        from_base: bool,
        scratch: Path | None = None,
    ) -> None:
        """Nothing is read yet.

        Args:
            at: gives the model at a position.
            reading: what it reads, asked for once.
            from_base: whether t = 0 is the base.
            scratch: folder for hidden states; None: where the system keeps temporary files.
        """
        self._at, self._ask = at, reading
        self._from_base, self._scratch = from_base, scratch

    def rows(self, t: float) -> tuple[FeatureLinearity, ...]:
        """The measures of every layer at t; the ends themselves are not run again."""
        if t in (0.0, 1.0):
            held = self.states.end if t else self.states.start
            return self._against(t, held.batches())
        self.states  # noqa: B018  # read before the model is at t
        with self._at(t) as here:
            return self._against(t, self.reading.of(here))

    def floor(self) -> tuple[float | None, ...]:
        """Normalised L2 between two runs of the end at t = 0, the second in other batches."""
        start, sums = self.states.start, None
        with self._at(0.0) as model:
            size = max(1, getattr(model, "batch_size", 2) // 2)
            for batch in self.reading.of(model, size):
                once = start.like(batch)
                more = LinearitySums.of(0.0, batch.hidden, once, once)
                sums = more if sums is None else sums + more
        return () if sums is None else tuple(row.l2 for row in sums.rows())

    @cached_property
    def reading(self) -> Reading:
        """What the model reads."""
        return self._ask()

    @cached_property
    def states(self) -> States:
        """Hidden states of both ends and of the base, on disk."""
        self.reading  # noqa: B018  # which may ask the model itself, so before it is anywhere
        start, end = self._keep(0.0), self._keep(1.0)
        return States(start, end, start if self._from_base else self._keep(None))

    def _keep(self, t: float | None) -> Kept:
        with self._at(t) as model:
            return keep(self.reading.of(model), self._scratch)

    def _against(self, t: float, batches: Iterator[FeatureBatch]) -> tuple[FeatureLinearity, ...]:
        sums: LinearitySums | None = None
        for batch in batches:
            require_finite(batch)
            line = [kept.like(batch) for kept in self.states]
            more = LinearitySums.of(t, batch.hidden, *line)
            sums = more if sums is None else sums + more
        return () if sums is None else tuple(sums.rows())
