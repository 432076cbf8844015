"""Measures by layer, for every pair of a comparison in one pass over its modules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from deltalens.core.result import Result
from deltalens.studies.compare.rows import SUBSPACE_MEASURES, ModuleRow

LayerValues = Mapping[frozenset[str], Mapping[int, float]]
"""Pair -> layer -> mean over the layer's modules; layers without a value are missing."""


def layer_values(result: Result, measures: Sequence[str]) -> dict[str, LayerValues]:
    """Each measure of every pair in every layer.

    Args:
        result: of `compare`.
        measures: named as in the pairs; `cosine` means the layer's mean update cosine.
    """
    wanted = {_row_name(measure): measure for measure in measures}
    held: dict[str, dict[frozenset[str], dict[int, list[float]]]] = {m: {} for m in measures}
    rows: Sequence[ModuleRow] = result.tables["modules"]
    for row in rows:
        measure = wanted.get((row.side, row.measure))
        if measure is None or row.layer is None or row.value is None:
            continue
        layers = held[measure].setdefault(frozenset((row.a, row.b)), {})
        layers.setdefault(row.layer, []).append(row.value)
    return {
        measure: {
            pair: {layer: math.fsum(v) / len(v) for layer, v in layers.items()}
            for pair, layers in pairs.items()
        }
        for measure, pairs in held.items()
    }


def _row_name(measure: str) -> tuple[str, str]:
    """Side and name of a measure in the table of modules."""
    if measure not in SUBSPACE_MEASURES:
        return "both", "cosine"
    return SUBSPACE_MEASURES[measure][0], measure.removeprefix("output_")
