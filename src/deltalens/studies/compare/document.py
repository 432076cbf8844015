"""The JSON document of a comparison and its long tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltalens.core.shapes import Array
from deltalens.geometry import initialisation
from deltalens.geometry.spectrum import cut_quality
from deltalens.geometry.survey import Survey
from deltalens.studies.compare.corrections import Correction, corrections, smallest_p
from deltalens.studies.compare.pairs import defined
from deltalens.studies.compare.rows import (
    Moments,
    Pair,
    PairRow,
)
from deltalens.studies.compare.rungs import rungs
from deltalens.studies.compare.verdict import verdict


def pair_documents(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """The contract's objects; Holm's correction is over these pairs, a family a measure."""
    corrected = corrections(pairs)
    return [_pair(pair, each, len(pairs)) for pair, each in zip(pairs, corrected, strict=True)]


def _pair(pair: Pair, corrected: Mapping[str, Correction], family: int) -> dict[str, Any]:
    nulls = {name: None if isinstance(m, str) else _nulls(m) for name, m in pair.nulls.items()}
    reasons = {name: m for name, m in pair.nulls.items() if isinstance(m, str)}
    return {
        "a": pair.a,
        "b": pair.b,
        "init_similarity": pair.init_similarity,
        "row_space_overlap": pair.row_space_overlap,
        "shared_init": pair.shared_init,
        "n_shared_init": pair.n_shared_init,
        "n_partial_init": pair.n_partial_init,
        "n_no_init": pair.n_no_init,
        **pair.values,
        "by_init": pair.split,
        "nulls": nulls,
        "null_reasons": reasons,
        "null_used": dict(pair.null_used),
        "z": dict(pair.z),
        "p": dict(pair.p),
        "p_smallest": {name: smallest_p(pair, name) for name in pair.null_used},
        "p_holm": {
            **{name: each.p for name, each in corrected.items()},
            "family": f"update cosine of {family} pairs",
            "smallest": {name: each.smallest for name, each in corrected.items()},
        },
        "rungs": rungs(pair),
        "n_modules": pair.n_modules,
        "n_missing": pair.n_missing,
        "n_refused": pair.n_refused,
        "n_near_tie": pair.n_near_tie,
        "verdict": verdict(pair, corrected),
        "warnings": list(pair.warnings),
    }


def _nulls(moments: Mapping[str, Moments]) -> dict[str, Any]:
    return {
        name: {
            "mean": m.mean,
            "sd": defined(m.sd),
            "draws": m.draws,
            **({} if m.low is None else {"low": m.low, "high": m.high}),
        }
        for name, m in moments.items()
    }


def adapter_documents(s: Survey) -> list[dict[str, Any]]:
    """Each adapter's size and how clean its cut at k is."""
    ratio, gap = cut_quality(s.S, s.k)
    return [_adapter(s, i, ratio[:, i], gap[:, i]) for i in range(len(s.names))]


def _adapter(s: Survey, i: int, ratio: Array, gap: Array) -> dict[str, Any]:
    held = s.ranks[:, i] > 0
    usable = held & (s.numerical_rank[:, i] >= s.k)
    return {
        "name": s.names[i],
        "n_modules": int(held.sum()),
        "norm": defined(np.sqrt(np.nansum(s.inner[:, i, i]))),
        "ranks": sorted({int(r) for r in s.ranks[held, i]}),
        "n_refused": int(np.sum(held & ~usable)),
        "sigma_k_ratio": _middle(ratio[usable]),
        "gap_at_k": _middle(gap[usable]),
    }


def _middle(values: Array) -> float | None:
    """The upper median; `np.median` would import `numpy.ma`."""
    return defined(np.sort(values)[values.size // 2]) if values.size else None


def init_groups(s: Survey, init: Array) -> list[list[str]]:
    """Adapters linked by an initialisation shared in at least one module."""
    linked = (init == initialisation.SHARED).any(axis=0)
    return [[s.names[i] for i in group] for group in initialisation.groups(linked)]


def pair_rows(pairs: Sequence[Pair]) -> list[PairRow]:
    """`results/pairs.parquet`: one row a measure of a pair."""
    rows: list[PairRow] = []
    for pair in pairs:
        for measure, value in pair.values.items():
            null = pair.null_used.get(measure)
            moments = pair.nulls.get(null) if null else None
            m = moments.get(measure) if isinstance(moments, Mapping) else None
            rows.append(
                PairRow(
                    a=pair.a,
                    b=pair.b,
                    measure=measure,
                    k=pair.k,
                    value=value,
                    null=null,
                    mean=m.mean if m else None,
                    sd=m.sd if m else None,
                    z=pair.z[measure],
                    p=pair.p[measure],
                    shared_init=pair.shared_init,
                    n_modules=pair.n_modules,
                )
            )
    return rows
