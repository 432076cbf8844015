"""Ceiling: how much of what one task gives twice do two tasks share?

`(observed - null) / (ceiling - null)` means something only if all three are of one side and one
seed relation, and if the ceiling stands clear of its null. Across seeds a signed measure is hidden
by about r/d, in the pair and in the ceiling alike, and Spearman's correction takes it out:
`s_ij / sqrt(ceil_i ceil_j)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from deltalens.errors import GeometryError
from deltalens.geometry.initialisation import SharedInit
from deltalens.geometry.nulls import Undefined

CLEAR = 3.0  # standard errors by which a ceiling must exceed its null
PlaceSide = Literal["input", "output", "both"]


@dataclass(frozen=True)
class Placed:
    """A mean with everything that decides what it may be set beside.

    Attributes:
        name: how messages call it.
        value: the mean, None where undefined.
        standard_error: over runs or tasks; 0 for a closed form, None where unknown.
        shared_init: the pairs' initialisations: `"all"`, `"some"` or `"none"`.
        side: `"input"`, `"output"`, or `"both"` for the update cosine.
        null: the rung that a null comes from, empty for what was observed.
        gauge: `"training"`, or why the factors are not as training left them.
    """

    name: str
    value: float | None
    standard_error: float | None
    shared_init: SharedInit
    side: PlaceSide
    null: str = ""
    gauge: str = "training"


@dataclass(frozen=True)
class Corrected:
    """A share of the ceiling, with its standard error (delta method; None where unknown)."""

    value: float
    standard_error: float | None


def attained(observed: Placed, null: Placed, ceiling: Placed) -> Corrected | Undefined:
    """`f = (observed - null) / (ceiling - null)`.

    `se_f^2 = (se_obs^2 + f^2 se_ceil^2 + (1-f)^2 se_null^2) / (ceiling - null)^2`, the three taken
    as independent.

    Args:
        observed: the pairs in question.
        null: what pairs without the effect give.
        ceiling: what pairs of one and the same task give.

    Returns:
        The share, or `Undefined` where a value or an error is missing, or where the ceiling does
        not exceed the null by 3 standard errors.

    Raises:
        GeometryError: for a combination that means nothing: another side or seed relation, an
            output-side rotation, a rotation of factors that training did not leave so.
    """
    check_null(null)
    _require_one_place(observed, null)
    _require_one_place(observed, ceiling)
    if observed.value is None or null.value is None or ceiling.value is None:
        return Undefined(f"no value of {_missing(observed, null, ceiling)}")
    reach = ceiling.value - null.value
    too_near = _too_near(ceiling, reach, null.standard_error)
    if too_near:
        return Undefined(too_near)
    f = (observed.value - null.value) / reach
    parts = [
        observed.standard_error,
        _times(ceiling.standard_error, f),
        _times(null.standard_error, 1 - f),
    ]
    return Corrected(f, _combined(parts, 1 / reach))


def disattenuated(observed: Placed, ceiling_i: Placed, ceiling_j: Placed) -> Corrected | Undefined:
    """`s_ij / sqrt(ceil_i ceil_j)` of a signed measure across seeds, whose null is 0.

    `se^2 = se_s^2 / (ceil_i ceil_j) + value^2 ((se_i / ceil_i)^2 + (se_j / ceil_j)^2) / 4`.

    Args:
        observed: cosine of tasks i and j, from different initialisations.
        ceiling_i: cosine of two trainings on i's data, from different initialisations.
        ceiling_j: the same for j.

    Returns:
        The corrected value, or `Undefined` where one is missing or a ceiling does not exceed 0 by
        3 standard errors.

    Raises:
        GeometryError: for a measure of one side (its null is not 0), or for initialisations that
            are shared (nothing is hidden).
    """
    for each in (observed, ceiling_i, ceiling_j):
        if each.side != "both":
            raise GeometryError(
                f"{each.name} is a measure of the {each.side} side; only the signed update cosine "
                "has null 0 and can be divided by its ceiling"
            )
        if each.shared_init != "none":
            raise GeometryError(
                f"{each.name} shares its initialisation ({each.shared_init}); disattenuation is "
                "for pairs of different initialisations, and so are its ceilings"
            )
    if observed.value is None or ceiling_i.value is None or ceiling_j.value is None:
        return Undefined(f"no value of {_missing(observed, ceiling_i, ceiling_j)}")
    for each in (ceiling_i, ceiling_j):
        too_near = _too_near(each, each.value or 0.0, 0.0)
        if too_near:
            return Undefined(too_near)
    scale = 1 / math.sqrt(ceiling_i.value * ceiling_j.value)
    value = observed.value * scale
    parts = [
        _times(observed.standard_error, scale),
        _times(ceiling_i.standard_error, value / (2 * ceiling_i.value)),
        _times(ceiling_j.standard_error, value / (2 * ceiling_j.value)),
    ]
    return Corrected(value, _combined(parts, 1.0))


def check_null(null: Placed) -> None:
    """Refuse a null that says nothing of its side or of its files.

    Raises:
        GeometryError: for a rotation on the output side, or of rewritten factors.
    """
    if null.null != "rotation":
        return
    if null.side == "output":
        raise GeometryError(
            f"{null.name} is a rotation on the output side, where B O spans what B spans; "
            "haar or bank are allowed there"
        )
    if null.gauge != "training":
        raise GeometryError(
            f"{null.name} is a rotation of factors that are {null.gauge}; "
            "it needs lora_A as training left it"
        )


def _require_one_place(observed: Placed, other: Placed) -> None:
    if other.side != observed.side:
        raise GeometryError(
            f"{other.name} is of the {other.side} side and {observed.name} of the "
            f"{observed.side} side; one side is allowed"
        )
    if other.shared_init != observed.shared_init:
        raise GeometryError(
            f"{other.name} has shared_init {other.shared_init!r} and {observed.name} "
            f"{observed.shared_init!r}; one seed relation is allowed"
        )


def _too_near(ceiling: Placed, reach: float, null_error: float | None) -> str:
    error = _combined([ceiling.standard_error, null_error], 1.0)
    if error is None:
        return f"{ceiling.name} or its null has no standard error: too few runs"
    if reach <= CLEAR * error or reach <= 0:
        return (
            f"{ceiling.name} exceeds its null by {reach:.3g}, "
            f"which is not {CLEAR:g} standard errors of {error:.2g}"
        )
    return ""


def _missing(*means: Placed) -> str:
    return ", ".join(m.name for m in means if m.value is None)


def _times(error: float | None, factor: float) -> float | None:
    return None if error is None else error * abs(factor)


def _combined(errors: list[float | None], factor: float) -> float | None:
    known = [e for e in errors if e is not None]
    return math.hypot(*known) * abs(factor) if len(known) == len(errors) else None
