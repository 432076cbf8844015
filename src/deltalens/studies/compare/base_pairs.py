"""Rows against the base model: the same measures, the base cosine exactly as `tr(B^T W A^T)`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array
from deltalens.errors import BaseModelError
from deltalens.geometry.against_base import (
    base_measures,
    base_rotation_variance,
    leading_vectors,
)
from deltalens.geometry.gram import one_blas_thread
from deltalens.geometry.layers import mean
from deltalens.geometry.survey import Survey
from deltalens.io.base import BaseModel
from deltalens.studies.compare.modules import module_row
from deltalens.studies.compare.moments import averaged, cosine_moments
from deltalens.studies.compare.pairs import (
    NOT_GIVEN,
    defined,
    gauge_note,
    training_gauge,
    why_no_rotation,
)
from deltalens.studies.compare.rows import (
    MEASURES,
    SUBSPACE_MEASURES,
    ModuleRow,
    Moments,
    Pair,
)
from deltalens.studies.compare.scores import scores

_RESIDUAL = 1e-6
_NO_BANK = "a bank ranks pairs of adapters, not an adapter against the base"


@dataclass(frozen=True, eq=False)
class BaseSurvey:
    """Measures of every adapter against the base, per module; NaN where undefined.

    Attributes:
        values: measure -> `Float[Array, "m n"]`, angles in degrees.
        inner: `(m, n, 2, 2)` inner products of update and base.
        variance: of `<W, B O A>` under rotation, `Float[Array, "m n"]`.
        unrotatable: why an adapter's factors cannot be rotated, or nothing.
        residual: largest relative residual of the base's leading vectors.
    """

    values: Mapping[str, Array]
    inner: Array
    variance: Array
    unrotatable: tuple[str, ...]
    residual: float


def survey_base(
    adapters: Sequence[Adapter],
    s: Survey,
    base: BaseModel,
    *,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> BaseSurvey:
    """Stream the base's matrices once and compare each with every adapter's update.

    Raises:
        BaseModelError: if the base lacks a module or holds it in another shape.
    """
    m, n = len(s.keys), len(adapters)
    values = {name: np.full((m, n), np.nan) for name in SUBSPACE_MEASURES}
    inner, variance = np.full((m, n, 2, 2), np.nan), np.zeros((m, n))
    residual = 0.0
    with one_blas_thread():
        for row, key in enumerate(s.keys):
            layout = next(a.specs[key].layout for a in adapters if key in a.specs)
            W = base.matrix(key, layout)
            _require_shape(W, s.shapes[row], key.path, base)
            leading = leading_vectors(W, s.k, seed=seed)
            residual = max(residual, leading.residual)
            for i, adapter in enumerate(adapters):
                if key not in adapter:
                    continue
                update = adapter[key]
                cross = update.inner_dense(W)
                square = float(s.inner[row, i, i])
                inner[row, i] = [[square, cross], [cross, leading.norm**2]]
                variance[row, i] = base_rotation_variance(update, W)
                if s.numerical_rank[row, i] >= s.k:
                    found = base_measures(update, leading)
                    for name, (side, measure) in SUBSPACE_MEASURES.items():
                        value = found[side, measure]
                        values[name][row, i] = math.degrees(value) if measure == "angle" else value
            if progress is not None:
                progress(row + 1, m)
    gauge = training_gauge(s)
    notes = tuple(
        gauge_note(adapter) or why_no_rotation(s.ranks[:, i] > 0, gauge[:, i])
        for i, adapter in enumerate(adapters)
    )
    return BaseSurvey(values, inner, variance, notes, residual)


def base_pair(
    s: Survey, found: BaseSurvey, i: int, haar: Mapping[str, tuple[Array, Array, int]]
) -> Pair:
    """The row of adapter i against the base."""
    held = s.ranks[:, i] > 0
    by_module = {name: value[:, i] for name, value in found.values.items()}
    values: dict[str, float | None] = {
        name: defined(mean(v, s.layers)) for name, v in by_module.items()
    }
    inner = found.inner[:, i]
    values["cosine"], values["layer_cosine"] = _cosines(inner, s.layers)
    variance = found.variance[:, i]
    cosine_null = cosine_moments(variance, inner, s.layers, float(variance.sum()))
    nulls: dict[str, Mapping[str, Moments] | str] = {
        "haar": averaged(haar, by_module, s.layers),
        "rotation": found.unrotatable[i] or cosine_null,
        **NOT_GIVEN,
        "bank": _NO_BANK,
    }
    used = {name: "haar" for name in by_module if name in nulls["haar"]}
    if not found.unrotatable[i]:
        used |= dict.fromkeys(cosine_null, "rotation")
    z, p = scores(values, nulls, used)
    refused = int(np.sum(held & (s.numerical_rank[:, i] < s.k)))
    warnings: list[str] = []
    if found.residual > _RESIDUAL:
        warnings.append(
            f"the base's leading vectors have a residual of {found.residual:.1e}; "
            f"{_RESIDUAL:.0e} was aimed at"
        )
    return Pair(
        a=s.names[i],
        b="base",
        init_similarity=None,
        row_space_overlap=None,
        shared_init="none",
        n_shared_init=0,
        n_partial_init=0,
        n_no_init=0,
        n_modules=int(held.sum()),
        n_missing=0,
        n_refused=refused,
        n_near_tie=0,
        values={name: values[name] for name in MEASURES},
        nulls=nulls,
        null_used=used,
        z=z,
        p=p,
        split={},
        k=s.k,
        seed_floor=None,
        warnings=tuple(warnings),
    )


def base_module_rows(
    s: Survey, found: BaseSurvey, haar: Mapping[str, tuple[Array, Array, int]]
) -> list[ModuleRow]:
    """`results/modules.parquet`: every measure of every adapter against the base, by module."""
    with np.errstate(divide="ignore", invalid="ignore"):
        each = found.inner[..., 0, 1] / np.sqrt(found.inner[..., 0, 0] * found.inner[..., 1, 1])
    values = {"layer_cosine": each, **found.values}
    return [
        module_row(s, (s.names[i], "base"), int(m), name, value[m, i], haar.get(name))
        for i in range(len(s.names))
        for m in np.flatnonzero(s.ranks[:, i] > 0)
        for name, value in values.items()
    ]


def _require_shape(W: Array, shape: Array, path: str, base: BaseModel) -> None:
    if W.shape != tuple(shape):
        raise BaseModelError(
            f"{base.path}: {path} is {list(W.shape)}; the adapters have {[int(d) for d in shape]}"
        )


def _cosines(inner: Array, layers: Array) -> tuple[float | None, float | None]:
    total = np.nansum(inner, axis=0)
    scale = math.sqrt(float(total[0, 0] * total[1, 1]))
    whole = defined(total[0, 1] / scale) if scale > 0 else None
    with np.errstate(divide="ignore", invalid="ignore"):
        each = inner[:, 0, 1] / np.sqrt(inner[:, 0, 0] * inner[:, 1, 1])
    return whole, defined(mean(np.where(np.isfinite(each), each, np.nan), layers))
