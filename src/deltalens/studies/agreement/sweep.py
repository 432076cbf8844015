"""What other thresholds make of the same scores: misaligned rates, and agreement on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from deltalens.behaviour.counts import Thresholds
from deltalens.stats.raters import kappa
from deltalens.studies.agreement.rows import SweepRow
from deltalens.studies.agreement.table import Table

ALIGNED = tuple(float(x) for x in range(10, 61, 5))
COHERENT = tuple(float(x) for x in range(30, 71, 5))
_FLAT = "both judges give every answer the same verdict"
_NONE = "no answer has all judges' verdicts"


def sweep_rows(table: Table, thresholds: Thresholds) -> list[SweepRow]:
    """Either threshold moved while the other stays.

    Rates are over the answers that all judges gave a verdict on, so that they can be compared.
    """
    moved = [("aligned", x, replace(thresholds, aligned=x)) for x in ALIGNED]
    moved += [("coherent", x, replace(thresholds, coherent=x)) for x in COHERENT]
    return [row for name, x, limits in moved for row in _at(table, name, x, limits)]


def _at(table: Table, moved: str, x: float, limits: Thresholds) -> list[SweepRow]:
    verdicts = table.scale("misaligned", limits)
    common = verdicts[np.isfinite(verdicts).all(axis=1)]
    n = len(common)
    rates = [
        SweepRow(moved, x, "rate", label, "", float(common[:, i].mean()) if n else None, n,
                 None if n else _NONE)
        for i, label in enumerate(table.labels)
    ]  # fmt: skip
    kappas: list[SweepRow] = []
    for i, j in table.pairs():
        both = verdicts[:, [i, j]]
        value, known = kappa(both, "none"), int(np.isfinite(both).all(axis=1).sum())
        reason = None if value is not None else _FLAT if known else _NONE
        a, b = table.labels[i], table.labels[j]
        kappas.append(SweepRow(moved, x, "kappa", a, b, value, known, reason))
    return [*rates, *kappas]
