"""PC cosine by index: which of the leading directions agree, in each seed relation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from deltalens.core.adapter import Adapter
from deltalens.figures.curves import PathCurve, PathPanel, curves_figure
from deltalens.geometry.layers import layer_of, mean
from deltalens.geometry.pc_profile import pc_profile
from deltalens.studies.paper.relations import Related, Relation

_SHOWN: Mapping[Relation, tuple[str, int, bool]] = {
    "same seed": ("bad-bad, same seed", 0, False),
    "other seed": ("bad-bad, other seed", 0, True),
    "benign twin, same seed": ("bad-benign, same seed", 2, False),
    "random directions": ("random", 6, True),
}


@dataclass(frozen=True)
class PcRow:
    """`results/pcs.parquet`: one direction of one pair, mean over modules of a layer, then layers.

    Attributes:
        a: a bad-answer organism.
        b: the other one.
        relation: what they are a pair of.
        pc: index of the direction, from 1.
        value: `|v1_j . v2_j|`; None if undefined.
    """

    a: str
    b: str
    relation: str
    pc: int
    value: float | None


def pc_rows(adapters: Sequence[Adapter], related: Sequence[Related], k: int) -> list[PcRow]:
    """Every pair of the relations shown, direction by direction."""
    place = {adapter.name: i for i, adapter in enumerate(adapters)}
    keys = sorted(set.intersection(*(set(adapter.specs) for adapter in adapters)))
    profile = pc_profile(adapters, keys, k)
    layers = layer_of(keys)
    rows: list[PcRow] = []
    for pair in related:
        if pair.relation in _SHOWN:
            each = profile[:, place[pair.a], place[pair.b]]
            values = [float(mean(each[:, j], layers)) for j in range(k)]
            rows += [
                PcRow(pair.a, pair.b, pair.relation, j + 1, v if np.isfinite(v) else None)
                for j, v in enumerate(values)
            ]
    return rows


def pc_figure(rows: Sequence[PcRow]) -> Figure:
    """A curve a relation along the index of the direction, mean over its pairs."""
    curves: list[PathCurve] = []
    for relation, (text, colour, dashed) in _SHOWN.items():
        held = [(r.pc, r.value) for r in rows if r.relation == relation and r.value is not None]
        index = sorted({pc for pc, _ in held})
        means = [float(np.mean([value for pc, value in held if pc == j])) for j in index]
        curves.append(
            PathCurve(
                text,
                tuple(float(j) for j in index),
                tuple(means),
                family=colour,
                dashed=dashed,
            )
        )
    panel = PathPanel(
        "Index-matched PC cosine, direction by direction",
        "index of the direction",
        "|v1 . v2|, input side",
        tuple(curves),
    )
    text = "Mean over pairs, modules and layers. Near ties of singular values exchange directions."
    return curves_figure((panel,), small_print=text, height=2.9)
