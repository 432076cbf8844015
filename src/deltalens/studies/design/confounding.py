"""Designs in which two factors cannot be told apart, and the adapter that would separate them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, product

import numpy as np

from deltalens.errors import OptionError
from deltalens.studies.design.regressors import (
    Levels,
    Regressors,
    regressors,
)

_FULL_RANK = 1e-8
NEW = "another task"


def require_separable(levels: Levels, source: str) -> Regressors:
    """The regressors of a design, whose effects can all be estimated.

    Raises:
        OptionError: if regressors are linearly dependent, naming the factors and an adapter that
            would separate them; or if nothing varies.
    """
    found = regressors(levels)
    if not found.terms:
        why = "; ".join(found.constant.values())
        raise OptionError(f"{source}: nothing varies between pairs ({why})")
    if not _lacking(found):
        return found
    one, two = confounded(found)
    adapter = separator(levels, one, two)
    cure = (
        f"an adapter with {_described(adapter)} would separate them"
        if adapter
        else "no one further adapter of these levels would separate them: more are needed"
    )
    raise OptionError(f"{source}: {one} and {two} are confounded: {cure}")


def confounded(found: Regressors) -> tuple[str, str]:
    """Two factors whose regressors are linearly dependent, with the intercept.

    Where no two alone are, the first two of those that the dependence involves.
    """
    factors = list(dict.fromkeys(found.factors[term] for term in found.terms))
    for one, two in combinations(factors, 2):
        if not _full(found, (one, two)):
            return one, two
    weights = np.abs(np.linalg.svd(found.X)[2][-1][1:])
    involved = [t for t, w in zip(found.terms, weights, strict=True) if w > _FULL_RANK]
    named = list(dict.fromkeys(found.factors[term] for term in involved))
    return named[0], named[-1]


def separator(levels: Levels, one: str, two: str) -> dict[str, str] | None:
    """Levels of one further adapter with which `one` and `two` can be told apart, or None.

    Runs of a task that is there come first, then a new task with levels that are there.
    """
    lacking = _lacking(regressors(levels))
    for candidate in _candidates(levels):
        longer = {factor: (*each, candidate[factor]) for factor, each in levels.items()}
        found = regressors(longer)
        apart = _full(found, (one, two)) and _both_vary(found, one, two)
        if apart and _lacking(found) < lacking:
            return candidate
    return None


def _candidates(levels: Levels) -> Iterator[dict[str, str]]:
    bound = [factor for factor in levels if factor != "seed"]
    rows = list(dict.fromkeys(zip(*(levels[factor] for factor in bound), strict=True)))
    seeds = _values(levels, "seed")
    there = set(zip(*levels.values(), strict=True))
    for row, seed in product(rows, seeds):
        candidate = _ordered(levels, {**dict(zip(bound, row, strict=True)), "seed": seed})
        if tuple(candidate.values()) not in there:
            yield candidate
    every = {**{f: _values(levels, f) for f in levels}, "task": [*_values(levels, "task"), NEW]}
    # A task comes with its harm and its style: only a new one is free of both.
    for values in product(*(every[factor] if factor != "task" else [NEW] for factor in levels)):
        yield dict(zip(levels, values, strict=True))


def _values(levels: Levels, factor: str) -> list[str]:
    return list(dict.fromkeys(levels.get(factor, ("",))))


def _ordered(levels: Levels, values: Mapping[str, str]) -> dict[str, str]:
    return {factor: values[factor] for factor in levels}


def _lacking(found: Regressors) -> int:
    return found.X.shape[1] - found.rank()


def _full(found: Regressors, factors: Sequence[str]) -> bool:
    """Whether the regressors of these factors and the intercept are independent."""
    columns = [0, *(i + 1 for i, t in enumerate(found.terms) if found.factors[t] in factors)]
    X = found.X[:, columns]
    return int(np.linalg.matrix_rank(X)) == X.shape[1]


def _both_vary(found: Regressors, one: str, two: str) -> bool:
    return all(found.terms_of(factor) for factor in (one, two))


def _described(adapter: Mapping[str, str]) -> str:
    return ", ".join(NEW if v == NEW else f"{factor} {v}" for factor, v in adapter.items())
