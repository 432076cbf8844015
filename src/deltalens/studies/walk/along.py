"""A model at any position of a path."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager

from deltalens.connectivity.mixing import mixture
from deltalens.connectivity.paths import AdapterPath, base_of
from deltalens.core.protocols import MixingModel, Model, PointsModel

At = Callable[[float | None], AbstractContextManager[Model]]
"""The model at a position of the path; None is the base."""


@contextmanager
def on_path(model: Model, path: AdapterPath) -> Generator[At]:
    """The model at any position; factors are brought to it once if it can mix them."""
    if isinstance(model, PointsModel):
        yield model.at
        return
    if not isinstance(model, MixingModel):

        @contextmanager
        def adapted(t: float | None) -> Generator[Model]:
            with model.adapted(base_of(path.ends[1]) if t is None else path(t)):
                yield model

        yield adapted
        return
    ends, coefficients = mixture(path)
    with model.mixed(ends) as mix:

        @contextmanager
        def mixed(t: float | None) -> Generator[Model]:
            mix.set([0.0] * len(ends) if t is None else coefficients(t))
            yield model

        yield mixed
