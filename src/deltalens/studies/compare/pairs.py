"""From per-module arrays to one row a pair: values, nulls, the null that applies, z and p."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.shapes import Array, Bool
from deltalens.core.text import shown
from deltalens.geometry import initialisation
from deltalens.geometry.cosine import cosines
from deltalens.geometry.layers import mean
from deltalens.geometry.nulls import rotation
from deltalens.geometry.spectrum import cut_quality
from deltalens.geometry.survey import Survey
from deltalens.studies.compare.bank import few_members
from deltalens.studies.compare.moments import (
    RotationDraws,
    averaged,
    cosine_moments,
    initial_groups,
    rotation_moments,
)
from deltalens.studies.compare.rows import (
    COSINES,
    INPUT_SIDE,
    MEASURES,
    SUBSPACE_MEASURES,
    Moments,
    Pair,
)
from deltalens.studies.compare.scores import scores

_NEAR_TIE = 0.05
NOT_GIVEN = {
    "activation": "needs input covariances of the base model, which were not given",
    "bank": "needs a bank of unrelated adapters of the same initialisation, which was not given",
}


@dataclass(frozen=True, eq=False)
class Context:
    """What all pairs of a survey share."""

    survey: Survey
    init: Array
    gauge: Bool[Array, "m n"]
    repeated: list[list[list[int]]]
    haar: Mapping[str, tuple[Array, Array, int]]
    drawn: RotationDraws | None
    gauge_notes: tuple[str, ...]
    activation: Mapping[tuple[int, int], Mapping[str, Moments] | str]
    bank: Mapping[tuple[int, int], Mapping[str, Moments] | str]


def context(
    s: Survey,
    by_module: Mapping[str, tuple[Array, Array, int]],
    drawn: RotationDraws | None,
    gauge_notes: tuple[str, ...],
    activation: Mapping[tuple[int, int], Mapping[str, Moments] | str],
    bank: Mapping[tuple[int, int], Mapping[str, Moments] | str],
) -> Context:
    """Classify initialisations and gauges once for all pairs."""
    d_in = s.shapes[:, 1]
    return Context(
        survey=s,
        init=initialisation.classify(s.raw_cosine, s.row_overlap, d_in, s.ranks),
        gauge=training_gauge(s) | (s.ranks == 0),
        repeated=initial_groups(s),
        haar=by_module,
        drawn=drawn,
        gauge_notes=gauge_notes,
        activation=activation,
        bank=bank,
    )


def training_gauge(s: Survey) -> Bool[Array, "m n"]:
    """Which factors are as training left them; see `initialisation.training_gauge`."""
    return initialisation.training_gauge(s.spread_A, s.row_correlation, s.shapes[:, 1], s.ranks)


def module_values(s: Survey, i: int, j: int) -> dict[str, Array]:
    """Every measure of a pair at every module; NaN where it is undefined or missing."""
    found = {"layer_cosine": cosines(s.inner)[:, i, j]}
    for name, (side, measure) in SUBSPACE_MEASURES.items():
        value = s.measures[side][measure]
        each = value[:, i, j]
        if measure == "energy_overlap":
            each = (value[:, i, j] + value[:, j, i]) / 2
        found[name] = np.degrees(each) if measure == "angle" else each
    return found


def build_pair(c: Context, i: int, j: int) -> Pair:
    """Everything that is said of adapters i and j."""
    s = c.survey
    common = s.common[:, i, j]
    by_module = module_values(s, i, j)
    values = {name: defined(mean(v, s.layers)) for name, v in by_module.items()}
    values["cosine"] = defined(cosines(_total(s, common, i, j))[0, 1])
    codes = c.init[:, i, j]
    shared, n_shared, _ = initialisation.summary(codes)
    n_modules = int(common.sum())  # dense updates are compared, though they tell no start
    partial = int(np.sum(codes == initialisation.PARTIAL))
    untold = int(np.sum(codes == initialisation.UNTOLD))
    nulls = _nulls(c, i, j, by_module, values)
    used = _used(nulls, shared, partial + untold)
    z, p = scores(values, nulls, used)
    refused = common & ~((s.numerical_rank[:, i] >= s.k) & (s.numerical_rank[:, j] >= s.k))
    gaps = cut_quality(s.S[:, [i, j]], s.k)[1].min(axis=1)
    return Pair(
        a=s.names[i],
        b=s.names[j],
        init_similarity=defined(mean(s.raw_cosine[:, i, j], s.layers)),
        row_space_overlap=defined(mean(s.row_overlap[:, i, j], s.layers)),
        shared_init=shared,
        n_shared_init=n_shared,
        n_partial_init=partial,
        n_no_init=untold,
        n_modules=n_modules,
        n_missing=int(np.sum((s.ranks[:, [i, j]] > 0).any(axis=1) & ~common)),
        n_refused=int(refused.sum()),
        n_near_tie=int(np.sum(common & ~refused & (gaps < _NEAR_TIE))),
        values={name: values[name] for name in MEASURES},
        nulls=nulls,
        null_used=used,
        z=z,
        p=p,
        split=_split(s, by_module, codes) if shared == "some" else {},
        k=s.k,
        seed_floor=_seed_floor(s, i, j, common),
        warnings=(
            *_warnings(s, i, j, int(refused.sum()), n_modules, codes),
            *_few_in_bank(nulls["bank"]),
        ),
    )


def defined(value: Array | float) -> float | None:
    """A plain number, or None where it is undefined."""
    number = float(value)
    return number if math.isfinite(number) else None


def _total(s: Survey, common: Array, i: int, j: int) -> Array:
    return s.inner[common][:, [i, j]][:, :, [i, j]].sum(axis=0)


def _nulls(
    c: Context, i: int, j: int, by_module: Mapping[str, Array], values: Mapping[str, float | None]
) -> dict[str, Mapping[str, Moments] | str]:
    s = c.survey
    inner = s.inner[:, [i, j]][:, :, [i, j]]
    inner = np.where(s.common[:, i, j][:, None, None], inner, np.nan)
    turned = np.where(s.common[:, i, j], s.haar_variance[:, i, j], 0.0)
    found: dict[str, Mapping[str, Moments] | str] = {
        "haar": {
            **cosine_moments(turned, inner, s.layers, float(turned.sum())),
            **averaged(c.haar, by_module, s.layers),
        },
        "rotation": _rotation(c, i, j, inner, values),
        "activation": c.activation.get((i, j), NOT_GIVEN["activation"]),
        "bank": c.bank.get((i, j), NOT_GIVEN["bank"]),
    }
    return found


def _rotation(
    c: Context, i: int, j: int, inner: Array, values: Mapping[str, float | None]
) -> Mapping[str, Moments] | str:
    s = c.survey
    common = s.common[:, i, j]
    reasons = [
        *(note for note in (c.gauge_notes[i], c.gauge_notes[j]) if note),
        why_no_rotation(common, c.gauge[:, i] & c.gauge[:, j]),
    ]
    if reasons[0]:
        return reasons[0]
    squares = np.where(common[:, None, None], s.rotation_squares[:, [i, j]][:, :, [i, j]], 0.0)
    ranks = s.ranks[:, [i, j]]
    repeated = [c.repeated[i], c.repeated[j]]
    whole = float(rotation.inner_variance(squares, ranks, repeated)[0, 1])
    each = np.maximum(
        squares[:, 0, 1] / np.maximum(ranks[:, 1], 1), squares[:, 1, 0] / np.maximum(ranks[:, 0], 1)
    )
    found = cosine_moments(each, inner, s.layers, whole)
    if c.drawn is not None and (i, j) in c.drawn.pairs:
        found |= rotation_moments(c.drawn, (i, j), values)
    return found


def gauge_note(adapter: Adapter) -> str:
    """Why an adapter's factors cannot be rotated, or nothing."""
    odd = {spec.gauge for spec in adapter.specs.values()} - {"training"}
    return f"{shown(adapter.name)} is {sorted(odd)[0]}: nothing is left to rotate" if odd else ""


def why_no_rotation(held: Array, gauge: Array) -> str:
    """Why factors that training did not leave so cannot be rotated, or nothing."""
    bad = held & ~gauge
    if not bad.any():
        return ""
    return (
        f"lora_A is not in the training gauge in {int(bad.sum())} of {int(held.sum())} "
        "modules (moved far, merged, compressed or rewritten): nothing is left to rotate"
    )


def _used(
    nulls: Mapping[str, Mapping[str, Moments] | str], shared: str, unclear: int
) -> dict[str, str]:
    """The null that applies to each measure: the strongest rung that the pair allows.

    A bank comes first for every measure: it is the only rung that supports a claim. Else
    input-side measures take Haar only where no module shares its initialisation; where all do, the
    rotation describes them (with draws). Output-side measures take Haar, which is too weak to
    support a claim. The cosine takes the activation-matched rotation, the rotation, else Haar for
    different initialisations.
    """
    unrelated = shared == "none" and unclear == 0
    found: dict[str, str] = {}
    for name in MEASURES:
        order = ["haar"]
        if name in COSINES:
            order = ["activation", "rotation", *(["haar"] if unrelated else [])]
        elif name in INPUT_SIDE:
            order = ["haar"] if unrelated else (["rotation"] if shared == "all" else [])
        for null in ("bank", *order):
            moments = nulls[null]
            if not isinstance(moments, str) and name in moments:
                found[name] = null
                break
    return found


def _split(
    s: Survey, by_module: Mapping[str, Array], codes: Array
) -> dict[str, Mapping[str, float | None]]:
    found: dict[str, Mapping[str, float | None]] = {}
    for label, code in (
        ("shared", initialisation.SHARED),
        ("different", initialisation.DIFFERENT),
        ("partial", initialisation.PARTIAL),
        ("none to compare", initialisation.UNTOLD),
    ):
        rows = codes == code
        if rows.any():
            found[label] = {
                name: defined(mean(by_module[name][rows], s.layers[rows])) for name in INPUT_SIDE
            }
    return found


def _seed_floor(s: Survey, i: int, j: int, common: Array) -> float | None:
    """`k / r`: the expected overlap of unrelated k-subspaces of one shared r-dimensional space."""
    width = s.ranks[:, [i, j]].max(axis=1).astype(float)
    return defined(mean(np.where(common, s.k / np.maximum(width, 1), np.nan), s.layers))


def _few_in_bank(bank: Mapping[str, Moments] | str) -> tuple[str, ...]:
    if isinstance(bank, str):
        return ()
    note = few_members(min(moments.draws for moments in bank.values()))
    return (note,) if note else ()


def _warnings(
    s: Survey, i: int, j: int, refused: int, n_modules: int, codes: Array
) -> tuple[str, ...]:
    found: list[str] = []
    if refused:
        found.append(
            f"k = {s.k} is above the numerical rank in {refused} of {n_modules} modules, "
            "which are left out of the subspace measures"
        )
    for adapter in (i, j):
        zero = (s.inner[:, adapter, adapter] == 0) & (s.ranks[:, adapter] > 0)
        if zero.any():
            found.append(
                f"{s.names[adapter]} is zero (untrained) in {int(zero.sum())} of {n_modules} "
                "modules, where its cosine and directions are undefined"
            )
    partial = int(np.sum(codes == initialisation.PARTIAL))
    if partial:
        found.append(
            f"the initialisation is neither shared nor different in {partial} of {n_modules} "
            "modules (moved, or shared in part): no null applies to their input side"
        )
    untold = int(np.sum(codes == initialisation.UNTOLD))
    if untold:
        found.append(
            f"an update is dense in {untold} of {n_modules} modules and has no initialisation to "
            "compare: no null applies to their input side"
        )
    apart = initialisation.rewritten(s.raw_cosine, s.row_overlap)[:, i, j]
    moved = int(np.sum(apart & (codes == initialisation.SHARED)))
    if moved:
        found.append(
            f"row spaces agree but lora_A does not in {moved} modules: "
            "the factors were rewritten after training"
        )
    return tuple(found)
