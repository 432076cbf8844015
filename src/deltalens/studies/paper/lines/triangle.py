"""The triangle of three organisms: every mixture `w1 dW1 + w2 dW2 + w3 dW3` on a grid.

No corner is the base and no edge leads to it: the weights sum to 1 (barycentric coordinates).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deltalens.core.adapter import Adapter
from deltalens.core.protocols import MixingModel
from deltalens.organisms.exact_judge import exact_rates
from deltalens.organisms.loop import reproducible

EDGE = 6  # steps along an edge: 28 points, 10 of them inside


@dataclass(frozen=True)
class TrianglePoint:
    """One mixture.

    Attributes:
        w1: weight of the first organism.
        w2: of the second.
        w3: of the third.
        misaligned: P(bad), mean over the questions.
        coherent: P(valid), mean over the questions.
    """

    w1: float
    w2: float
    w3: float
    misaligned: float
    coherent: float


@dataclass(frozen=True)
class Triangle:
    """The grid and its corners' names."""

    corners: tuple[str, str, str]
    points: tuple[TrianglePoint, ...]

    def lowest_inside(self) -> float:
        """Least rate of bad answers where all three have a weight."""
        return min(p.misaligned for p in self.points if min(p.w1, p.w2, p.w3) > 0)

    def largest_dip(self) -> float:
        """Largest fall under the plane through the three corners; 0 where all lie above it."""
        rate = {_corner(p): p.misaligned for p in self.points if _corner(p) is not None}
        below = [
            p.w1 * rate[0] + p.w2 * rate[1] + p.w3 * rate[2] - p.misaligned for p in self.points
        ]
        return max(0.0, *below)


def weights(edge: int) -> tuple[tuple[float, float, float], ...]:
    """The grid of weights with `edge` steps along each edge, `(edge + 1)(edge + 2) / 2` points."""
    return tuple(
        ((edge - i - j) / edge, i / edge, j / edge)
        for i in range(edge + 1)
        for j in range(edge + 1 - i)
    )


def walk_triangle(ends: Sequence[Adapter], model: MixingModel, *, edge: int = EDGE) -> Triangle:
    """Exact behaviour on the whole triangle of three adapters, uploaded once.

    Args:
        ends: three adapters of the model.
        model: a base of the symbolic world.
        edge: steps along an edge.
    """
    one, two, three = ends
    points: list[TrianglePoint] = []
    with reproducible(0), model.mixed(ends) as mix:
        for w in weights(edge):
            mix.set(w)
            bad, good = exact_rates(model).mean(axis=0).tolist()
            points.append(TrianglePoint(*w, misaligned=bad, coherent=min(bad + good, 1.0)))
    return Triangle((one.name, two.name, three.name), tuple(points))


def _corner(point: TrianglePoint) -> int | None:
    held = (point.w1, point.w2, point.w3)
    return held.index(1.0) if 1.0 in held else None
