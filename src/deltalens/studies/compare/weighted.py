"""The activation-weighted cosine and the activation-matched rotation of each pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from deltalens.core.adapter import Adapter
from deltalens.core.keys import ModuleKey
from deltalens.core.moment import InputMoment
from deltalens.core.shapes import Array, Float
from deltalens.core.text import shown
from deltalens.geometry.cosine import cosines
from deltalens.geometry.layers import mean
from deltalens.geometry.nulls import activation, rotation
from deltalens.geometry.survey import Survey
from deltalens.geometry.weighted import blocks, inner_products, spectrum
from deltalens.io.covariances import Covariances, open_covariances
from deltalens.io.initial import InitialFactors
from deltalens.studies.compare.activation import Beside, Ends, Start
from deltalens.studies.compare.covariance_base import require_base, require_widths
from deltalens.studies.compare.moments import cosine_moments, initial_groups
from deltalens.studies.compare.pairs import defined, gauge_note, training_gauge, why_no_rotation
from deltalens.studies.compare.rows import Moments

_HELD = 2  # moments in memory: k, q and v are not neighbours in the order of modules


@dataclass(frozen=True, eq=False)
class _Weighted:
    """Per module what the covariances give; NaN where they lack it.

    `inner` is `<dW_i, dW_j>_C`, `squares` and `energy` are those of `activation.Turned`,
    `effective_rank` and `largest_share` speak of C.
    """

    inner: Float[Array, "m n n"]
    squares: Float[Array, "2 m n n"]
    energy: Float[Array, "2 m n"]
    effective_rank: Float[Array, " m"]
    largest_share: Float[Array, " m"]


def weigh(
    adapters: Sequence[Adapter],
    starts: Sequence[Start],
    s: Survey,
    ends: Sequence[Ends],
    path: Path,
    base: Path | None,
    say: Callable[[str], None],
) -> Beside:
    """Everything that a covariance file adds; see `activation.beside`.

    Raises:
        BaseModelError: if the file cannot be read, or is of another base.
    """
    held = open_covariances(path)
    require_base(held, adapters, base)
    covered = np.array([str(key) in held for key in s.keys])
    require_widths(held, s, covered)
    say(f"inputs of {int(covered.sum())} modules weighed by {shown(path)}")
    found = _measure(adapters, starts, s, held, covered)
    repeated = initial_groups(s)
    gauge = training_gauge(s) | (s.ranks == 0)
    nulls = {pair: _null(adapters, s, found, covered, gauge, repeated, pair) for pair in ends}
    fields = {pair: _fields(s, found, covered, starts, pair) for pair in ends}
    return Beside(nulls, fields, {"covariances": _document(held, found)}, _warnings(held, found))


def _measure(
    adapters: Sequence[Adapter],
    starts: Sequence[Start],
    s: Survey,
    held: Covariances,
    covered: Array,
) -> _Weighted:
    n, m = len(adapters), len(s.keys)
    found = _Weighted(
        *(np.full(shape, np.nan) for shape in ((m, n, n), (2, m, n, n), (2, m, n), (m,), (m,)))
    )

    @lru_cache(maxsize=_HELD)
    def moment(name: str) -> InputMoment:
        return held.moment(name)

    for row in np.flatnonzero(covered):
        key = s.keys[row]
        C = moment(held.input_of[str(key)])
        if not C.trace() > 0:
            continue  # inputs that were all 0 weigh nothing: the module stays undefined
        each = blocks(adapters, key, C)
        found.inner[row] = inner_products(each)
        initial = [_initial(a, start, key) for a, start in zip(adapters, starts, strict=True)]
        turned = activation.turn(each, initial, C)
        found.squares[:, row], found.energy[:, row] = turned.squares, turned.energy
        of = spectrum(C)
        found.effective_rank[row], found.largest_share[row] = of.effective_rank, of.largest_share
    return found


def _initial(adapter: Adapter, start: Start, key: ModuleKey) -> Array | None:
    """A0 where training left it, else lora_A as it is: it hardly moves."""
    if key not in adapter.specs:
        return None
    return start.A(key) if isinstance(start, InitialFactors) else adapter[key].A


def _null(
    adapters: Sequence[Adapter],
    s: Survey,
    found: _Weighted,
    covered: Array,
    gauge: Array,
    repeated: list[list[list[int]]],
    pair: Ends,
) -> Mapping[str, Moments] | str:
    i, j = pair
    common = s.common[:, i, j]
    reason = next(filter(None, (gauge_note(adapters[i]), gauge_note(adapters[j]))), "")
    reason = reason or why_no_rotation(common, gauge[:, i] & gauge[:, j])
    reason = reason or _uncovered(common, covered)
    each = found.squares[:, :, [i, j]][:, :, :, [i, j]]
    singular = common & np.isnan(each).any(axis=(0, 2, 3))
    if not reason and singular.any():
        reason = (
            f"the inputs do not fill the initial rows in {int(singular.sum())} of "
            f"{int(common.sum())} modules (A0 C^q A0^T is singular)"
        )
    if reason:
        return reason
    return _larger([_moments(s, squares, repeated, pair) for squares in each])


def _uncovered(common: Array, covered: Array) -> str:
    missing = int((common & ~covered).sum())
    if not missing:
        return ""
    return f"the covariances lack {missing} of {int(common.sum())} modules"


def _moments(
    s: Survey, squares: Float[Array, "m 2 2"], repeated: list[list[list[int]]], pair: Ends
) -> dict[str, Moments]:
    i, j = pair
    common, ranks = s.common[:, i, j], s.ranks[:, [i, j]]
    squares = np.where(common[:, None, None], squares, 0.0)
    inner = np.where(common[:, None, None], s.inner[:, [i, j]][:, :, [i, j]], np.nan)
    whole = float(rotation.inner_variance(squares, ranks, [repeated[i], repeated[j]])[0, 1])
    width = np.maximum(ranks, 1)
    variance = np.maximum(squares[:, 0, 1] / width[:, 1], squares[:, 1, 0] / width[:, 0])
    return cosine_moments(variance, inner, s.layers, whole)


def _larger(powers: Sequence[Mapping[str, Moments]]) -> dict[str, Moments]:
    """Of q = 1 and q = 2 the larger deviation: the larger p of any positive cosine."""
    one, two = powers
    return {name: max(m, two[name], key=lambda found: found.sd) for name, m in one.items()}


def _fields(
    s: Survey, found: _Weighted, covered: Array, starts: Sequence[Start], pair: Ends
) -> dict[str, Any]:
    i, j = pair
    common = s.common[:, i, j]
    inner = found.inner[:, [i, j]][:, :, [i, j]]
    reason = _uncovered(common, covered)
    known = [isinstance(starts[e], InitialFactors) for e in pair]
    whole = math.nan if reason else float(cosines(np.nansum(inner[common], axis=0))[0, 1])
    layers = mean(cosines(inner)[:, 0, 1], s.layers)
    return {
        "activation_cosine": defined(whole),
        "activation_layer_cosine": None if reason else defined(layers),
        "activation_reason": reason or None,
        "activation_norm_ratio": _norm_ratio(s, found, common, pair),
        "activation_start": "initial_lora_A" if all(known) else "lora_A as stored",
    }


def _norm_ratio(s: Survey, found: _Weighted, common: Array, pair: Ends) -> dict[str, float | None]:
    """`E |rotated dW|^2 / |dW|^2` for each q, the larger of both updates; 1 where H0 holds."""
    norms = np.array([s.inner[common, e, e].sum() for e in pair])
    energy = found.energy[:, common][:, :, list(pair)].sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (energy / norms).max(axis=1)
    return {f"q{q}": defined(ratio[n]) for n, q in enumerate(activation.POWERS)}


def _document(held: Covariances, found: _Weighted) -> dict[str, Any]:
    info = held.info
    return {
        "model": info.model,
        "texts": info.texts,
        "kind": info.kind,
        "centred": info.centred,
        "rank": info.rank,
        "n_tokens": info.n_tokens,
        "effective_rank_is": "participation ratio (tr C)^2 / |C|_F^2",
        "effective_rank": _extremes(found.effective_rank),
        "largest_share": _extremes(found.largest_share),
    }


def _extremes(values: Array) -> dict[str, float | None]:
    known = np.sort(values[~np.isnan(values)])
    if known.size == 0:
        return {"smallest": None, "middle": None, "largest": None}
    return {
        "smallest": float(known[0]),
        "middle": float(known[known.size // 2]),
        "largest": float(known[-1]),
    }


def _warnings(held: Covariances, found: _Weighted) -> tuple[str, ...]:
    info = held.info
    lines: list[str] = []
    if info.kind == "diagonal":
        lines.append(
            "the covariances are diagonal: inputs are taken as uncorrelated, so the "
            "activation-matched rotation is an approximation and describes"
        )
    if info.kind == "low-rank" and info.captured:
        lines.append(
            f"the covariances are of rank {info.rank} with a diagonal rest: at worst "
            f"{min(info.captured.values()):.0%} of an input's energy is in the exact part"
        )
    share = _extremes(found.largest_share)["largest"]
    if share is not None and share > 0.5:
        lines.append(
            f"one direction holds {share:.0%} of an input's energy: the activation-weighted "
            "cosine of such a module is that direction's"
        )
    return tuple(lines)
