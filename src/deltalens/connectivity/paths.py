"""Paths between adapters: what a point of each kind is, and that nothing is ever formed densely.

| kind | `dW(t)` |
|---|---|
| `linear` | `(1-t) dW1 + t dW2`, exactly: the factors are stacked, rank r1 + r2 |
| `factorwise` | `B(t) A(t)` with `B(t) = (1-t) B1' + t B2'` and A(t) alike: depends on the gauge |
| `factor_scaling` | `(1-t)^2 dW1 + t^2 dW2`: both factors of an end times its weight |

The straight line is that of model soups and linear mode connectivity (arXiv 1912.05671).
`factor_scaling` from the base, `t^2 dW`, is what the notebooks of arXiv 2511.02022 walk. In all
three a module that an end lacks is a zero update; the base is the end that lacks every module.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add
from typing import Literal

import numpy as np

from deltalens.core.adapter import Adapter, Provenance, UpdateSpec
from deltalens.core.keys import ModuleKey
from deltalens.core.lowrank import LowRankUpdate
from deltalens.core.text import shown
from deltalens.errors import GeometryError

Kind = Literal["linear", "factorwise", "factor_scaling"]
GAUGE = "a point on a path"  # what `UpdateSpec.gauge` says of mixed factors
BASE = "base"

# Ends with their weights; those of weight 0 are left out, so that the rank does not grow for them.
_Terms = Sequence[tuple[float, Adapter]]
_SUM_TO_ONE = 1e-9


@dataclass(frozen=True)
class AdapterPath:
    """A function from t to an adapter; 0 and 1 are the ends, any other real t extrapolates.

    Attributes:
        name: how reports call it.
        kind: what a point is made of.
        ends: the adapters at t = 0 and t = 1.
    """

    name: str
    kind: Kind
    ends: tuple[Adapter, Adapter]

    def __call__(self, t: float) -> Adapter:
        """The point at t, lazy like its ends: a module is mixed when it is asked for.

        The modules are the same at every t; where an end of weight 0 alone has one, its update
        there is zero, of rank 0.

        Raises:
            GeometryError: if t is not finite.
        """
        t = _finite(t, "t")
        a, b = self.ends
        return _point(f"{self.name} at {t:g}", self.kind, ((1.0 - t, a), (t, b)), {"t": t})


def linear(a: Adapter, b: Adapter) -> AdapterPath:
    """`dW(t) = (1-t) dW1 + t dW2`, exact for adapters of any rank, targets and scaling.

    Raises:
        GeometryError: if a module has different shapes in the two.
    """
    return _path("linear", a, b)


def factorwise(a: Adapter, b: Adapter) -> AdapterPath:
    """Both factors mixed separately: `dW(t) = ((1-t) B1' + t B2') ((1-t) A1' + t A2')`.

    `B' = sign(s) sqrt|s| B` and `A' = sqrt|s| A` are the file's own factors with the root of its
    scaling in each (an adapter made in memory has s = 1). The path leaves the straight line by

        `linear(t) - factorwise(t) = t (1-t) (B1' - B2') (A1' - A2')`,

    which vanishes at the ends and depends on the gauge: `(B2' G, G^-1 A2')` is the same update,
    and another path. Two runs of one seed share a gauge nearly; two of different seeds do not,
    and the halfway point of two equal functions is then another function: a false barrier.

    Raises:
        GeometryError: if a module has different shapes or ranks in the two.
    """
    path = _path("factorwise", a, b)
    for key in sorted(a.specs.keys() & b.specs.keys()):
        one, two = a.specs[key].rank, b.specs[key].rank
        if one != two:
            raise GeometryError(
                f"{shown(key)} has rank {one} in {shown(a.name)} and {two} in {shown(b.name)}; "
                "the factorwise path mixes factors of equal rank (linear takes any)"
            )
    return path


def factor_scaling(a: Adapter, b: Adapter | None = None) -> AdapterPath:
    """Both factors of each end times its weight: `dW(t) = (1-t)^2 dW1 + t^2 dW2`.

    With one adapter the path starts at the base: `t^2 dW`, where a straight line has `t dW`.

    Raises:
        GeometryError: if a module has different shapes in the two.
    """
    return _path("factor_scaling", base_of(a), a) if b is None else _path("factor_scaling", a, b)


def base_to(adapter: Adapter) -> AdapterPath:
    """The straight line from the base: `dW(t) = t dW`, at the adapter's own rank."""
    return linear(base_of(adapter), adapter)


def base_of(adapter: Adapter) -> Adapter:
    """The base model as an adapter: it changes no module."""
    return Adapter.from_updates(BASE, {}, adapter.base_model)


def barycentric(a: Adapter, b: Adapter, c: Adapter) -> Callable[[float, float, float], Adapter]:
    """The plane through three adapters: `(w1, w2, w3) -> w1 dW1 + w2 dW2 + w3 dW3`, exact.

    Weights sum to 1; a negative one lies outside the triangle.

    Raises:
        GeometryError: if a module has different shapes in two of them; on a call, if the weights
            do not sum to 1.
    """
    _require_equal_shapes((a, b, c))

    def point(w1: float, w2: float, w3: float) -> Adapter:
        weights = [_finite(w, "a barycentric weight") for w in (w1, w2, w3)]
        if abs(math.fsum(weights) - 1.0) > _SUM_TO_ONE:
            raise GeometryError(
                f"barycentric weights sum to 1; found {w1:g} + {w2:g} + {w3:g} = "
                f"{math.fsum(weights):g}"
            )
        name = f"{w1:g}*{a.name} + {w2:g}*{b.name} + {w3:g}*{c.name}"
        return _point(name, "linear", tuple(zip(weights, (a, b, c), strict=True)), {})

    return point


PATHS: Mapping[str, Callable[[Adapter, Adapter], AdapterPath]] = {
    "linear": linear,
    "factorwise": factorwise,
    "factor_scaling": factor_scaling,
}


def _path(kind: Kind, a: Adapter, b: Adapter) -> AdapterPath:
    _require_equal_shapes((a, b))
    return AdapterPath(f"{a.name} to {b.name}", kind, (a, b))


def _finite(value: float, what: str) -> float:
    if not math.isfinite(value):
        raise GeometryError(f"{what} must be a finite number; found {value}")
    return float(value) + 0.0  # -0.0 becomes 0.0


def _require_equal_shapes(ends: Sequence[Adapter]) -> None:
    known: dict[ModuleKey, Adapter] = {}
    for end in ends:
        for key, spec in sorted(end.specs.items()):
            other = known.setdefault(key, end)
            held = other.specs[key]
            if held.shape != spec.shape or held.layout != spec.layout:
                raise GeometryError(
                    f"{shown(key)} is {list(other.specs[key].shape)} in {shown(other.name)} and "
                    f"{list(spec.shape)} in {shown(end.name)}; adapters of one base have equal "
                    "shapes"
                )


def _point(name: str, kind: Kind, weighted: _Terms, details: Mapping[str, float]) -> Adapter:
    ends = [end for _, end in weighted]
    terms = [(w, end) for w, end in weighted if w != 0.0]
    places = {key: spec for end in ends for key, spec in end.specs.items()}
    specs = {key: _spec(kind, key, place, terms) for key, place in places.items()}

    def read(key: ModuleKey) -> LowRankUpdate:
        held = [(w, end) for w, end in terms if key in end]
        return _MIXED[kind](key, held) if held else LowRankUpdate.zero(places[key].shape)

    warnings = [f"{end.name}: {warning}" for end in ends for warning in end.provenance.warnings]
    bases = sorted({end.base_model for end in ends if end.base_model is not None})
    if len(bases) > 1:
        warnings.append(f"the ends name different base models ({'; '.join(map(shown, bases))})")
    revisions = {end.provenance.revision for end in ends if end.specs}
    provenance = Provenance(
        format="path",
        revision=revisions.pop() if len(revisions) == 1 else None,
        warnings=tuple(warnings),
        details={"path": kind, "weights": [[end.name, w] for w, end in weighted], **details},
    )
    return Adapter(name, specs, read, bases[0] if len(bases) == 1 else None, provenance)


def _spec(kind: Kind, key: ModuleKey, place: UpdateSpec, terms: _Terms) -> UpdateSpec:
    held = [(w, end.specs[key]) for w, end in terms if key in end.specs]
    if not held:
        return UpdateSpec(place.shape, rank=0, layout=place.layout)
    if len(held) == 1:  # scaled, and in its own gauge still
        w, spec = held[0]
        factor = abs(w) if kind == "linear" else w * w
        return replace(spec, spacing=spec.spacing * factor)
    ranks = [spec.rank for _, spec in held]
    rank = ranks[0] if kind == "factorwise" else sum(ranks)
    return UpdateSpec(place.shape, rank, gauge=GAUGE, layout=place.layout)


def _mixed_linearly(key: ModuleKey, terms: _Terms) -> LowRankUpdate:
    return reduce(add, [end[key] if w == 1.0 else w * end[key] for w, end in terms])


def _mixed_by_scaling(key: ModuleKey, terms: _Terms) -> LowRankUpdate:
    return reduce(add, [_both_times(w, end[key]) for w, end in terms])


def _mixed_factors(key: ModuleKey, terms: _Terms) -> LowRankUpdate:
    if len(terms) == 1:
        w, end = terms[0]
        return _both_times(w, end[key])
    (w1, one), (w2, two) = [(w, _with_roots(end, key)) for w, end in terms]
    return LowRankUpdate(w1 * one.B + w2 * two.B, w1 * one.A + w2 * two.A)


_MIXED: Mapping[Kind, Callable[[ModuleKey, _Terms], LowRankUpdate]] = {
    "linear": _mixed_linearly,
    "factorwise": _mixed_factors,
    "factor_scaling": _mixed_by_scaling,
}


def _both_times(w: float, update: LowRankUpdate) -> LowRankUpdate:
    return update if w == 1.0 else LowRankUpdate(w * update.B, w * update.A)


def _with_roots(adapter: Adapter, key: ModuleKey) -> LowRankUpdate:
    """`B' = sign(s) sqrt|s| B`, `A' = sqrt|s| A`; `read_into` gives B and its scaling s apart."""
    spec = adapter.specs[key]
    B, A = np.empty((spec.shape[0], spec.rank)), np.empty((spec.rank, spec.shape[1]))
    scaling = adapter.read_into(key, B, A)
    if not (np.isfinite(B).all() and np.isfinite(A).all()):
        return adapter[key]  # indexing looks for NaN, and its message names the tensor
    root = math.sqrt(abs(scaling))
    return LowRankUpdate(math.copysign(root, scaling) * B, root * A)
